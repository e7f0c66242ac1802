"""pdCIF as refinement programs and diffractometers write it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eg_agent.errors import BadPattern
from eg_agent.patterns import check, read

Data = tuple[np.ndarray, np.ndarray]


def loop(*columns: tuple[str, list[str]]) -> str:
    rows = "\n".join(" ".join(row) for row in zip(*(values for _, values in columns)))
    return "loop_\n" + "\n".join(tag for tag, _ in columns) + "\n" + rows + "\n"


def texts(values: np.ndarray, form: str = "{:g}") -> list[str]:
    return [form.format(v) for v in values]


def write(path: Path, body: str, head: str = "_diffrn_radiation_wavelength 1.5406\n") -> Path:
    path.write_text("data_corundum\n" + head + body, encoding="utf-8")
    return path


def test_counts_with_a_column_of_angles(tmp_path: Path, counts: Data) -> None:
    x, y = counts
    body = loop(("_pd_meas_2theta_scan", texts(x, "{:.4f}")), ("_pd_meas_counts_total", texts(y)))
    found = check(read(write(tmp_path / "a.cif", "_pd_meas_step_count_time 2.5\n" + body)))
    np.testing.assert_allclose(found.two_theta, x, atol=1e-9)
    np.testing.assert_array_equal(found.intensity, y)
    assert found.raw_counts
    assert found.counting_time is not None
    assert np.all(found.counting_time == 2.5)
    assert found.radiation.wavelengths == (1.5406,)
    assert found.source.format == "pdcif"


@pytest.mark.parametrize("stem", ["_pd_meas_2theta_range", "_pd_proc_2theta_range"])
def test_a_range_with_a_step(tmp_path: Path, counts: Data, stem: str) -> None:
    x, y = counts
    head = f"{stem}_min {x[0]:g}\n{stem}_max {x[-1]:g}\n{stem}_inc 0.02\n"
    found = read(write(tmp_path / "a.cif", head + loop(("_pd_proc_intensity_total", texts(y)))))
    np.testing.assert_allclose(found.two_theta, x, atol=1e-9)
    # whole numbers that the file does not call counts, with Poisson's noise: taken as such, and noted
    assert found.raw_counts
    assert any("Poisson" in note for note in found.source.notes)


def test_a_doublet_and_its_weights_in_a_block_of_its_own(tmp_path: Path, counts: Data) -> None:
    x, y = counts
    pattern = loop(("_pd_meas_2theta_scan", texts(x, "{:.4f}")), ("_pd_meas_counts_total", texts(y)))
    lit = (
        "data_instrument\n_diffrn_radiation_probe x-ray\nloop_\n_diffrn_radiation_wavelength_id\n"
        "_diffrn_radiation_wavelength\n_diffrn_radiation_wavelength_wt\n1 1.540596 1.0\n2 1.544493 0.48\n"
    )
    found = read(write(tmp_path / "a.cif", pattern + lit, head=""))
    assert found.radiation.wavelengths == (1.540596, 1.544493)
    assert found.radiation.ratio == 0.48


def test_neutrons(tmp_path: Path, counts: Data) -> None:
    x, y = counts
    body = loop(("_pd_meas_2theta_scan", texts(x, "{:.4f}")), ("_pd_meas_counts_total", texts(y)))
    head = "_diffrn_radiation_probe neutron\n_diffrn_radiation_wavelength 1.909\n"
    assert read(write(tmp_path / "a.cif", body, head)).radiation.kind == "neutron"


def test_standard_errors_in_parentheses_columns_and_weights(tmp_path: Path, counts: Data) -> None:
    x, y = counts
    angles = ("_pd_meas_2theta_scan", texts(x, "{:.4f}"))
    scaled, errors = y / 8.0, np.sqrt(y) / 8.0
    written = [f"{v:.3f}({round(e * 1000):d})" for v, e in zip(scaled, errors)]
    found = read(write(tmp_path / "a.cif", loop(angles, ("_pd_meas_intensity_total", written))))
    np.testing.assert_allclose(found.sigma, errors, atol=6e-4)
    assert not found.raw_counts
    column = ("_pd_meas_intensity_total_su", texts(errors, "{:.6f}"))
    body = loop(angles, ("_pd_meas_intensity_total", texts(scaled, "{:.6f}")), column)
    np.testing.assert_allclose(read(write(tmp_path / "b.cif", body)).sigma, errors, atol=1e-6)
    weight = ("_pd_proc_ls_weight", texts(1.0 / errors**2, "{:.8g}"))
    body = loop(angles, ("_pd_proc_intensity_total", texts(scaled, "{:.6f}")), weight)
    np.testing.assert_allclose(read(write(tmp_path / "c.cif", body)).sigma, errors, rtol=1e-6)


def test_points_that_the_file_leaves_out(tmp_path: Path, counts: Data) -> None:
    x, y = counts
    values = texts(y)
    values[100:160] = ["."] * 60
    body = loop(("_pd_meas_2theta_scan", texts(x, "{:.4f}")), ("_pd_meas_counts_total", values))
    found = read(write(tmp_path / "a.cif", body))
    assert len(found) == x.size - 60
    assert any("60 points" in note for note in found.source.notes)


@pytest.mark.parametrize(("tag", "factor"), [("_pd_proc_d_spacing", 1.0), ("_pd_proc_recip_len_Q", 0.0)])
def test_d_and_q(tmp_path: Path, counts: Data, tag: str, factor: float) -> None:
    x, y = counts
    d = 1.5406 / (2.0 * np.sin(np.radians(x / 2.0)))
    axis = d if factor else 2.0 * np.pi / d
    body = loop((tag, texts(axis, "{:.9f}")), ("_pd_proc_intensity_total", texts(y)))
    found = read(write(tmp_path / "a.cif", body))
    np.testing.assert_allclose(found.two_theta, x, atol=1e-4)
    np.testing.assert_array_equal(found.intensity, y)


def test_no_wavelength_no_pattern_no_cif(tmp_path: Path, counts: Data) -> None:
    x, y = counts
    body = loop(("_pd_meas_2theta_scan", texts(x, "{:.4f}")), ("_pd_meas_counts_total", texts(y)))
    with pytest.raises(BadPattern, match="does not state a wavelength"):
        read(write(tmp_path / "a.cif", body, head=""))
    with pytest.raises(BadPattern, match="holds no powder pattern"):
        read(write(tmp_path / "b.cif", "_cell_length_a 4.2\n"))
    (tmp_path / "c.cif").write_text("this is no cif")
    with pytest.raises(BadPattern, match="not a valid CIF"):
        read(tmp_path / "c.cif")
