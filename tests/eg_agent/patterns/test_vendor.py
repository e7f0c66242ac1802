"""Vendors' files: angles, counts, times and wavelengths as the file states them."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from eg_agent.errors import BadInput, BadPattern, MissingExtra
from eg_agent.patterns import check, read

Data = tuple[np.ndarray, np.ndarray]
Writer = Callable[..., Path]
fairmat = pytest.mark.skipif(find_spec("fairmat_readers_xrd") is None, reason="needs eg-agent[lab]")
pytestmark = fairmat


def test_xrdml(tmp_path: Path, counts: Data, write_xrdml: Writer) -> None:
    x, y = counts
    found = read(write_xrdml(tmp_path / "a.xrdml", x, y))
    np.testing.assert_allclose(found.two_theta, x, atol=1e-7)
    np.testing.assert_array_equal(found.intensity, y)
    assert found.radiation.wavelengths == (1.540598, 1.544426)
    assert found.radiation.ratio == 0.5
    assert found.raw_counts
    assert found.counting_time is not None
    assert found.counting_time[0] == 39.27
    assert found.geometry == "bragg-brentano"
    assert (found.source.format, found.source.sample) == ("xrdml", "corundum")
    check(found)


def test_xrdml_behind_a_monochromator_is_kalpha1_alone(
    tmp_path: Path, counts: Data, write_xrdml: Writer
) -> None:
    optics = '<monochromator id="2" name="Johansson"/>'
    path = write_xrdml(tmp_path / "a.xrdml", *counts, intended="K-Alpha 1", optics=optics)
    assert read(path).radiation.wavelengths == (1.540598,)
    # "K-Alpha 1" without a monochromator only says which line d-spacings are computed with
    path = write_xrdml(tmp_path / "b.xrdml", *counts, intended="K-Alpha 1")
    assert read(path).radiation.wavelengths == (1.540598, 1.544426)


def test_xrdml_attenuated_counts_are_corrected_and_not_raw(
    tmp_path: Path, counts: Data, write_xrdml: Writer
) -> None:
    x, y = counts
    factors = np.where(y > 1000, 100.0, 1.0)
    extra = f"<beamAttenuationFactors>{' '.join(f'{v:g}' for v in factors)}</beamAttenuationFactors>"
    found = read(write_xrdml(tmp_path / "a.xrdml", x, y, element="counts", extra=extra))
    np.testing.assert_allclose(found.intensity, y * factors)
    assert not found.raw_counts
    assert any("attenuator" in note for note in found.source.notes)


def test_xrdml_of_another_axis_or_of_several_scans_is_refused(
    tmp_path: Path, counts: Data, write_xrdml: Writer
) -> None:
    with pytest.raises(BadPattern, match="export a"):
        read(write_xrdml(tmp_path / "a.xrdml", *counts, axis="Phi"))
    with pytest.raises(BadPattern, match="2 scans"):
        read(write_xrdml(tmp_path / "b.xrdml", *counts, scans=2))


def test_rasx(tmp_path: Path, counts: Data, write_rasx: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = counts
    found = read(write_rasx(tmp_path / "a.rasx", x, y))
    np.testing.assert_allclose(found.two_theta, x, atol=1e-9)
    np.testing.assert_array_equal(found.intensity, y)
    assert found.radiation.wavelengths == (1.788965, 1.79285)
    assert found.raw_counts
    assert found.counting_time is not None
    assert found.counting_time[0] == pytest.approx(0.02 / 2.0 * 60.0)  # 0.02 degrees at 2 degrees a minute
    assert found.source.sample == "corundum"
    assert capsys.readouterr().out == ""  # the library prints about attributes it does not know


def test_rasx_attenuator_and_rates(tmp_path: Path, counts: Data, write_rasx: Writer) -> None:
    x, y = counts
    factor = np.where(x > 30, 8.5, 1.0)
    found = read(write_rasx(tmp_path / "a.rasx", x, y, factor=factor))
    np.testing.assert_allclose(found.intensity, y * factor)
    assert not found.raw_counts
    rate = read(write_rasx(tmp_path / "b.rasx", x, y / 7.0, unit="cps"))
    assert not rate.raw_counts
    # counts a second that are whole numbers once multiplied by the time are counts again
    time = 0.02 / 2.0 * 60.0
    whole = read(write_rasx(tmp_path / "c.rasx", x, 5.0 * y, unit="cps"))
    np.testing.assert_array_equal(whole.intensity, np.round(5.0 * y * time))
    assert whole.raw_counts


def test_brml(tmp_path: Path, counts: Data, write_brml: Writer) -> None:
    x, y = counts
    found = read(write_brml(tmp_path / "a.brml", x, y))
    np.testing.assert_allclose(found.two_theta, x, atol=1e-5)
    np.testing.assert_array_equal(found.intensity, y)
    assert found.radiation.wavelengths == (1.5406, 1.54439)
    assert found.raw_counts
    assert found.counting_time is not None
    assert found.counting_time[0] == 0.5


def test_raw_version_3(tmp_path: Path, counts: Data, write_raw3: Writer) -> None:
    pytest.importorskip("geddes")
    x, y = counts
    path = write_raw3(tmp_path / "a.raw", x, y)
    if find_spec("xylib") is not None:
        found = read(path)
        assert found.radiation.wavelengths == (1.5406, 1.54439)
        assert found.counting_time is not None
        assert found.counting_time[0] == 2.0
    else:
        with pytest.raises(BadPattern, match="wavelength"):
            read(path)
        found = read(path, wavelength=1.5406, wavelength2=1.54439)
    np.testing.assert_allclose(found.two_theta, x, atol=1e-5)
    np.testing.assert_array_equal(found.intensity, y)
    assert found.raw_counts


def test_raw_version_4(tmp_path: Path, counts: Data, write_raw4: Writer) -> None:
    x, y = counts
    found = read(write_raw4(tmp_path / "a.raw", x, y))
    np.testing.assert_allclose(found.two_theta, x, atol=1e-9)
    np.testing.assert_array_equal(found.intensity, y)
    assert found.radiation.wavelength == pytest.approx(0.70932, abs=1e-4)  # the anode is Mo
    assert any("anode" in note for note in found.source.notes)
    assert found.raw_counts


def test_raw_version_4_of_another_layout_is_refused(tmp_path: Path, counts: Data, write_raw4: Writer) -> None:
    path = write_raw4(tmp_path / "a.raw", *counts, shift=24)
    with pytest.raises(BadPattern, match=r"export the scan as \.xy"):
        read(path, wavelength=1.5406)


@pytest.mark.parametrize("name", ["a.xrdml", "a.brml", "a.rasx", "a.raw"])
def test_garbage_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x00\x01 not a measurement \xff" * 20)
    with pytest.raises(BadPattern, match="could not be read") as caught:
        read(path, wavelength=1.5406)
    assert "\n" not in str(caught.value)


def test_an_archive_without_a_scan_is_refused(tmp_path: Path) -> None:
    for name in ("a.brml", "a.rasx"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("readme.txt", "nothing here")
        with pytest.raises(BadPattern, match="could not be read"):
            read(tmp_path / name)


def test_without_the_readers_the_message_names_the_extra(
    tmp_path: Path, counts: Data, write_xrdml: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("fairmat_readers_xrd", "geddes", "xylib"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"eg-agent\[lab\]"):
        read(write_xrdml(tmp_path / "a.xrdml", *counts))


def test_other_formats_go_through_xylib_where_it_is_installed(tmp_path: Path) -> None:
    """Philips UDF, as text: a header, then intensities alone."""
    y = np.random.default_rng(0).poisson(200.0, 801).astype(int)
    head = "SampleIdent,s,/\nDataAngleRange,  10.0000, 26.0000,/\nScanStepSize,    0.020,/\nRawScan\n"
    rows = "\n".join(",".join(f"{v:8d}" for v in y[i : i + 8]) for i in range(0, y.size, 8))
    path = tmp_path / "a.udf"
    path.write_text(head + rows + "/\n")
    if find_spec("xylib") is None:
        with pytest.raises(BadInput, match="only xylib-py reads"):
            read(path, wavelength=1.5406)
        return
    found = read(path, wavelength=1.5406)
    np.testing.assert_allclose(found.two_theta[[0, -1]], [10.0, 26.0], atol=1e-6)
    np.testing.assert_array_equal(found.intensity, y)
