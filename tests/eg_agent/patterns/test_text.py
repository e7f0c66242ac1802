"""Columns of numbers, in the forms that people and programs write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.errors import BadInput, BadPattern
from eg_agent.patterns import Pattern, Radiation, Source, check, d_of_two_theta, read, write_xye

X = 10.0 + 0.02 * np.arange(3001)


def signal(x: np.ndarray = X) -> np.ndarray:
    y = (
        50.0
        + 900.0 * np.exp(-0.5 * ((x - 31.0) / 0.06) ** 2)
        + 300.0 * np.exp(-0.5 * ((x - 52.0) / 0.08) ** 2)
    )
    return np.random.default_rng(2).poisson(y).astype(float)


def table(*columns: np.ndarray, separator: str = " ", comma: bool = False) -> str:
    lines = [separator.join(f"{v:.6g}" for v in row) for row in zip(*columns)]
    text = "\n".join(lines) + "\n"
    return text.replace(".", ",") if comma else text


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("name", "separator", "comma", "header"),
    [
        ("a.xy", " ", False, ""),
        ("a.xy", "   ", False, "# a comment\n! another\n"),
        ("a.dat", "\t", False, "Sample measured on Monday 16 March\n\n"),
        ("a.csv", ",", False, "2theta,intensity\n"),
        ("a.csv", ", ", False, "Angle (deg), Counts\n"),
        ("a.csv", ";", False, "'2-Theta';'Int'\n"),
        ("a.csv", ";", True, "Winkel;Intensität\n"),
        ("a.txt", "\t", True, ""),
        ("a.asc", " ", True, "; DIFFRAC\n"),
    ],
)
def test_separators_decimal_commas_and_headers(
    tmp_path: Path, name: str, separator: str, comma: bool, header: str
) -> None:
    path = write(tmp_path / name, header + table(X, signal(), separator=separator, comma=comma))
    found = read(path, wavelength=1.5406)
    np.testing.assert_allclose(found.two_theta, X, atol=1e-4)
    np.testing.assert_allclose(found.intensity, signal(), rtol=1e-5)
    assert check(found).source.format == "text"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.xy", "# Prüfkörper\n" + table(X, signal()), encoding)
    assert len(read(path, wavelength=1.5406)) == X.size


@pytest.mark.parametrize(
    ("header", "wavelengths"),
    [
        ("# wavelength 0.7093", (0.7093,)),
        ("# lambda = 1.5406", (1.5406,)),
        ("# Wavelength (A): 0.4592", (0.4592,)),
        ("# Wavelength: 4.592e-11 m", (0.4592,)),  # pyFAI writes metres
        ("# wavelength = 0.04592 nm", (0.4592,)),
        ("# WAVELENGTH (nm): 0.04592", (0.4592,)),
        ("Wavelength = 0,4592", (0.4592,)),
        ("# energy: 27.0 keV", (0.459201,)),
        ("# beam energy = 27000 eV", (0.459201,)),
        ("Anode material,Co", (1.788996, 1.792835)),
        ("_WL1=1.540600\n_WL2=1.544390\n_WLRATIO=0.5", (1.5406, 1.54439)),
        ('*HW_XG_WAVE_LENGTH_ALPHA1 "1.540593"\n*HW_XG_WAVE_LENGTH_ALPHA2 "1.544414"', (1.540593, 1.544414)),
        ("K-Alpha1 wavelength,1.540598\nK-Alpha2 wavelength,1.544426", (1.540598, 1.544426)),
        ("# K-beta wavelength 1.392250\n# K-alpha1 wavelength 1.540598", (1.540598,)),
        ("# wavelength: 1 A", (1.0,)),
    ],
)
def test_wavelengths_that_headers_state(tmp_path: Path, header: str, wavelengths: tuple[float, ...]) -> None:
    found = read(write(tmp_path / "a.xy", header + "\n" + table(X, signal())))
    assert found.radiation.wavelengths == pytest.approx(wavelengths, rel=1e-5)


def test_no_wavelength_is_an_error_and_never_cu(tmp_path: Path) -> None:
    for header in ("", "# measured at 25.4 C\n", "# lambda scan 3\n", "# Cu sample holder\n"):
        with pytest.raises(BadPattern, match=r"does not state a wavelength.*--wavelength"):
            read(write(tmp_path / "a.xy", header + table(X, signal())))


def test_the_argument_takes_precedence_and_a_contradiction_is_noted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xy", "# wavelength 1.5406\n" + table(X, signal()))
    found = read(path, wavelength=0.7093)
    assert found.radiation.wavelengths == (0.7093,)
    assert any("file states 1.5406" in note for note in found.source.notes)
    # within half a percent there is nothing to say
    assert not any("file states" in note for note in read(path, wavelength=1.5418).source.notes)
    doublet = "# wavelength 1.540598\n# wavelength2 1.544426\n"
    path = write(tmp_path / "b.xy", doublet + table(X, signal()))
    assert read(path, wavelength=1.5406).radiation.wavelengths == (1.540598, 1.544426)
    assert read(path, wavelength=1.5, wavelength2=1.504).radiation.wavelengths == (1.5, 1.504)
    with pytest.raises(BadInput, match="K-alpha1 first"):
        read(path, wavelength2=1.544)
    with pytest.raises(BadInput, match="angstrom"):
        read(path, wavelength=-1.0)


def test_standard_errors_and_what_is_no_standard_error(tmp_path: Path) -> None:
    y = signal()
    found = read(write(tmp_path / "a.xye", table(X, y, np.sqrt(y))), wavelength=1.5406)
    np.testing.assert_allclose(found.sigma, np.sqrt(y), rtol=1e-5)
    assert found.raw_counts
    corrected = read(write(tmp_path / "b.xye", table(X, y, 3.0 * np.sqrt(y))), wavelength=1.5406)
    assert corrected.sigma is not None
    assert not corrected.raw_counts
    calculated = read(write(tmp_path / "c.dat", table(X, y, y + 200.0)), wavelength=1.5406)
    assert calculated.sigma is None
    named = "# 2theta I_obs I_calc esd\n"
    found = read(write(tmp_path / "d.dat", named + table(X, y, y + 1, np.sqrt(y))), wavelength=1.5406)
    np.testing.assert_allclose(found.sigma, np.sqrt(y), rtol=1e-5)


def test_counts_are_recognised_by_name_or_by_their_noise(tmp_path: Path) -> None:
    y = signal()
    named = read(write(tmp_path / "a.csv", "2theta,counts\n" + table(X, y, separator=",")), wavelength=1.5406)
    assert named.raw_counts
    noisy = read(write(tmp_path / "b.xy", table(X, y)), wavelength=1.5406)
    assert noisy.raw_counts
    assert any("times Poisson" in note for note in noisy.source.notes)
    for other in (10.0 * y, np.round(y / 10.0), y / 3.0, y - y.mean()):
        assert not read(write(tmp_path / "c.xy", table(X, other)), wavelength=1.5406).raw_counts


def test_counts_a_second_are_not_counts_unless_the_time_is_known(tmp_path: Path) -> None:
    y = signal()
    path = write(tmp_path / "a.csv", "2theta,cps\n" + table(X, y / 4.0, separator=","))
    alone = read(path, wavelength=1.5406)
    assert not alone.raw_counts
    path = write(tmp_path / "b.csv", "time per step: 4 s\n2theta,cps\n" + table(X, y / 4.0, separator=","))
    timed = read(path, wavelength=1.5406)
    np.testing.assert_array_equal(timed.intensity, y)
    assert timed.raw_counts
    assert timed.counting_time is not None
    assert timed.counting_time[0] == 4.0
    assert any("multiplied by the counting time" in note for note in timed.source.notes)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Q (1/A)", lambda d: 2 * np.pi / d),
        ("q_A^-1", lambda d: 2 * np.pi / d),
        ("q_nm^-1", lambda d: 20 * np.pi / d),
        ("Q(nm-1)", lambda d: 20 * np.pi / d),
        ("d (A)", lambda d: d),
        ("d-spacing", lambda d: d),
    ],
)
def test_an_axis_that_says_q_or_d_is_converted(tmp_path: Path, name: str, values: object) -> None:
    axis = values(d_of_two_theta(X, 0.8))  # type: ignore[operator]
    rows = "\n".join(f"{a:.9f} {b:g}" for a, b in zip(axis, signal()))
    found = read(write(tmp_path / "a.dat", f"# wavelength 0.8\n# {name}  intensity\n{rows}\n"))
    np.testing.assert_allclose(found.two_theta, X, atol=1e-4)
    np.testing.assert_array_equal(found.intensity, signal())
    assert any("converted to 2-theta" in note for note in found.source.notes)


def test_an_axis_that_cannot_be_two_theta_is_refused_with_what_to_do(tmp_path: Path) -> None:
    y, d = signal(), d_of_two_theta(X, 1.5406)
    cases = {
        "looks like Q": table(2 * np.pi / d, y),
        "looks like d": "\n".join(f"{a:.6f} {b:g}" for a, b in zip(d, y)),
        "cannot be 2-theta": table(20.0 * X, y),
        "called theta": "# theta intensity\n" + table(X / 2.0, y),
        "not 2-theta, Q or d": "# energy_keV intensity\n" + table(X, y),
    }
    for message, text in cases.items():
        with pytest.raises(BadPattern, match=message):
            read(write(tmp_path / "a.xy", text), wavelength=1.5406)


def test_a_short_wavelength_pattern_below_15_degrees_is_no_q(tmp_path: Path) -> None:
    x = 0.5 + 0.005 * np.arange(2500)
    assert len(read(write(tmp_path / "a.xy", table(x, signal(x * 4))), wavelength=0.1671)) == 2500


def test_descending_angles_are_reversed_and_noted(tmp_path: Path) -> None:
    found = read(write(tmp_path / "a.xy", table(X[::-1], signal()[::-1])), wavelength=1.5406)
    np.testing.assert_allclose(found.two_theta, X, atol=1e-4)
    assert any("reversed" in note for note in found.source.notes)


def test_start_step_end(tmp_path: Path) -> None:
    y = signal()
    rows = "\n".join("".join(f"{v:8.0f}" for v in y[i : i + 10]) for i in range(0, y.size, 10))
    for head in ("   10.00    0.02   70.00  corundum\n", "a title\n 10.0 0.02 70.0\n"):
        found = read(write(tmp_path / "a.dat", head + rows + "\n"), wavelength=1.5406)
        np.testing.assert_allclose(found.two_theta, X, atol=1e-9)
        np.testing.assert_array_equal(found.intensity, y)


def test_fit2d_chi(tmp_path: Path) -> None:
    text = f"a.tif: integration\n 2-Theta Angle (Degrees)\n Intensity\n     {X.size}\n" + table(X, signal())
    assert len(read(write(tmp_path / "a.chi", text), wavelength=0.5)) == X.size
    text = text.replace("2-Theta Angle (Degrees)", "Q (Inverse Angstroms)")
    q = 4 * np.pi * np.sin(np.radians(X / 2)) / 0.5
    rows = "\n".join(f"{a:.8f} {b:g}" for a, b in zip(q, signal()))
    text = text[: text.index(table(X, signal()))] + rows
    np.testing.assert_allclose(read(write(tmp_path / "b.chi", text), wavelength=0.5).two_theta, X, atol=1e-5)


def test_nan_in_a_file_reaches_the_check(tmp_path: Path) -> None:
    text = table(X, signal()).replace("10.04 ", "10.04 nan #", 1)
    with pytest.raises(BadPattern, match="NaN"):
        check(read(write(tmp_path / "a.xy", text), wavelength=1.5406))


@pytest.mark.parametrize(
    "content", [b"", b"nothing here\n", b"1\n2\n3\n", b"\x00\x01\x02binary\x00", b"<html>404</html>"]
)
def test_files_without_a_table_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.xy"
    path.write_bytes(content)
    with pytest.raises(BadPattern, match=r"no table of numbers|binary"):
        read(path, wavelength=1.5406)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    for path in (tmp_path / "none.xy", tmp_path):
        with pytest.raises(BadInput, match="not a file"):
            read(path, wavelength=1.5406)


@settings(max_examples=30, deadline=None)
@given(data=st.binary(max_size=400))
def test_no_bytes_make_it_crash(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "a.xy"
    path.write_bytes(data)
    message = ""
    try:
        read(path, wavelength=1.5406)
    except (BadPattern, BadInput) as error:
        message = str(error)
    assert len(message.splitlines()) <= 1


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(2, 60),
    seed=st.integers(0, 10**6),
    two=st.booleans(),
    raw=st.booleans(),
    time=st.sampled_from(["none", "one", "many"]),
)
def test_written_patterns_read_back(
    tmp_path_factory: pytest.TempPathFactory, n: int, seed: int, two: bool, raw: bool, time: str
) -> None:
    rng = np.random.default_rng(seed)
    x = 20.0 + np.cumsum(rng.uniform(0.01, 0.5, n))
    pattern = Pattern(
        x,
        rng.poisson(50, n).astype(float) if raw else rng.normal(0.0, 100.0, n),
        Radiation(1.540593, 1.544427 if two else None),
        sigma=None if raw else rng.uniform(0.1, 2.0, n),
        counting_time={"none": None, "one": np.full(n, 2.5), "many": rng.uniform(1, 9, n)}[time],
        raw_counts=raw,
        source=Source(sample="corundum 1"),
    )
    found = read(write_xye(pattern, tmp_path_factory.mktemp("xye") / "a.xye"))
    np.testing.assert_allclose(found.two_theta, pattern.two_theta, rtol=1e-9)
    np.testing.assert_allclose(found.intensity, pattern.intensity, rtol=1e-9)
    assert found.radiation.wavelengths == pytest.approx(pattern.radiation.wavelengths, abs=1e-8)
    assert found.raw_counts == raw
    assert found.source.sample == "corundum 1"
    if pattern.counting_time is None:
        assert found.counting_time is None
    else:
        np.testing.assert_allclose(found.counting_time, pattern.counting_time, rtol=1e-8)
    if pattern.sigma is not None:
        np.testing.assert_allclose(found.sigma, pattern.sigma, rtol=1e-8)
