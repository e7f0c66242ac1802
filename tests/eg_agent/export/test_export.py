"""Exported files, read back by gemmi and by the definitions of GSAS-II and TOPAS."""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path

import gemmi
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eg_agent.errors import BadInput
from eg_agent.export import FittedPattern, export
from eg_agent.export.files import file_name
from eg_agent.export.gsas2 import axial, instrument_parameters, script, xye
from eg_agent.export.pdcif import cif, with_error
from eg_agent.export.topas import topas_input
from eg_agent.patterns import read

MADE = {62: "P n m a", 167: "R -3 c", 14: "P 1 21/n 1"}


def number(text: str) -> float:
    """The value of a CIF number with or without a standard error."""
    return gemmi.cif.as_number(text)


@pytest.fixture(scope="module")
def block(fitted: FittedPattern) -> gemmi.cif.Block:
    return gemmi.cif.read_string(cif(fitted)).sole_block()


def test_the_cif_holds_the_cell_and_the_space_group(fitted: FittedPattern, block: gemmi.cif.Block) -> None:
    structure = gemmi.make_small_structure_from_block(block)
    assert structure.cell.parameters == pytest.approx(fitted.cell, abs=0.01)
    assert structure.spacegroup is not None
    assert structure.spacegroup.number == fitted.space_group.number
    assert structure.spacegroup.xhm().startswith(MADE[fitted.space_group.number])
    everything = gemmi.GroupOps(
        [gemmi.Op(gemmi.cif.as_string(v)) for v in block.find_values("_space_group_symop_operation_xyz")]
    )
    assert everything == gemmi.SpaceGroup(MADE[fitted.space_group.number]).operations()


def test_the_cif_holds_the_pattern_point_by_point(fitted: FittedPattern, block: gemmi.cif.Block) -> None:
    table = block.find(["_pd_meas_2theta_scan", "_pd_meas_counts_total", "_pd_calc_intensity_total"])
    assert len(table) == len(fitted.pattern)
    measured = np.array([[number(row[0]), number(row[1])] for row in table])
    assert np.allclose(measured[:, 0], fitted.pattern.two_theta, atol=1e-5)
    assert np.allclose(measured[:, 1], fitted.pattern.intensity)
    # the R factor that is written follows from the points that are written
    calculated = np.array([number(row[2]) for row in table])
    weight = np.array([number(v) for v in block.find_values("_pd_proc_ls_weight")])
    inside = np.isfinite(calculated)
    assert not weight[~inside].any()
    residual = np.sum(weight[inside] * (measured[inside, 1] - calculated[inside]) ** 2)
    rwp = math.sqrt(residual / np.sum(weight[inside] * measured[inside, 1] ** 2))
    assert rwp == pytest.approx(number(block.find_value("_pd_proc_ls_prof_wR_factor")), rel=0.1)


def test_the_cif_lists_allowed_reflections_only_and_all_of_them(
    fitted: FittedPattern, block: gemmi.cif.Block
) -> None:
    tags = ["_refln_index_h", "_refln_index_k", "_refln_index_l", "_refln_d_spacing", "_pd_refln_peak_id"]
    rows = block.find([*tags, "_refln_symmetry_multiplicity"])
    group = gemmi.SpaceGroup(MADE[fitted.space_group.number])
    cell = gemmi.UnitCell(*fitted.cell)
    hkl = np.array([[int(v) for v in list(row)[:3]] for row in rows])
    operations = group.operations()
    assert not any(operations.is_systematically_absent(list(h)) for h in hkl.tolist())
    d = np.array([number(row[3]) for row in rows])
    assert d == pytest.approx(cell.calculate_d_array(hkl.astype(np.int32)), rel=1e-5)
    expected = gemmi.make_miller_array(cell, group, float(d.min()) * 1.0001, float(d.max()) * 1.0001)
    assert {tuple(h) for h in np.asarray(expected).tolist()} <= {tuple(h) for h in hkl.tolist()}
    peaks = set(block.find_values("_pd_peak_id"))
    assert {row[4] for row in rows} == peaks


def test_multiplicities_are_those_of_the_laue_class(fitted: FittedPattern) -> None:
    operations = gemmi.SpaceGroup(MADE[fitted.space_group.number]).operations()
    for reflection in fitted.reflections:
        images = {tuple(op.apply_to_hkl(list(reflection.hkl))) for op in operations.sym_ops}
        orbit = images | {tuple(-v for v in h) for h in images}
        assert reflection.multiplicity == len(orbit)


def test_the_product_reads_its_own_cif(fitted: FittedPattern, tmp_path: Path) -> None:
    path = tmp_path / "again.cif"
    path.write_text(cif(fitted), encoding="utf-8")
    again = read(path)
    assert np.allclose(again.two_theta, fitted.pattern.two_theta, atol=1e-5)
    assert np.allclose(again.intensity, fitted.pattern.intensity)
    assert again.radiation.wavelength == pytest.approx(fitted.wavelengths[0], abs=1e-5)


def instprm(text: str) -> dict[str, str]:
    """As GSAS-II reads the file: comment lines start with #, others are KEY:VALUE."""
    pairs = [line.split(":", 1) for line in text.splitlines() if not line.startswith("#")]
    return {key.strip(): value.strip() for key, value in pairs}


def test_gsas_widths_are_ours(fitted: FittedPattern) -> None:
    found = instprm(instrument_parameters(fitted))
    assert found["Type"] == "PXC"
    assert float(found["Lam1"]) == pytest.approx(1.540593)
    assert float(found["Zero"]) == pytest.approx(fitted.zero, abs=1e-5)
    theta = np.radians(np.linspace(5.0, 40.0, 8))
    # GSASIIpwd.getgamFW: sigma^2 = U tan^2 + V tan + W in centideg^2, gamma = X / cos + Y tan in centideg
    u, v, w, x, y = (float(found[name]) for name in "UVWXY")
    gauss = np.sqrt(8 * np.log(2) * (u * np.tan(theta) ** 2 + v * np.tan(theta) + w)) / 100
    lorentz = (x / np.cos(theta) + y * np.tan(theta)) / 100
    shape = fitted.shape
    ours = np.sqrt(shape.u * np.tan(theta) ** 2 + shape.v * np.tan(theta) + shape.w)
    assert gauss == pytest.approx(ours, rel=1e-3)
    assert lorentz == pytest.approx(shape.x / np.cos(theta) + shape.y * np.tan(theta), abs=1e-5)


def test_gsas_data_are_three_columns(fitted: FittedPattern) -> None:
    rows = np.array([[float(v) for v in line.split()] for line in xye(fitted).splitlines()])
    assert rows.shape == (len(fitted.pattern), 3)
    assert np.allclose(rows[:, 1], fitted.pattern.intensity)
    assert (rows[:, 2] > 0).all()


def test_the_gsas_script_is_python_and_names_files_that_exist(fitted: FittedPattern, tmp_path: Path) -> None:
    written = {path.name for path in export(fitted, tmp_path)}
    text = (tmp_path / f"{file_name(fitted.name)}_gsas2.py").read_text("utf-8")
    tree = ast.parse(text)
    used = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    data = {name for name in used if name.endswith((".xye", ".instprm")) and "\n" not in name}
    assert data
    assert data <= written
    call = next(
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr == "add_phase"
    )
    given_to = {k.arg: k.value for k in call.keywords}
    group = gemmi.find_spacegroup_by_name(ast.literal_eval(given_to["spacegroup"]))
    assert group is not None
    assert group.number == fitted.space_group.number
    assert ast.literal_eval(given_to["cell"]) == pytest.approx(list(fitted.cell), abs=1e-5)


def test_topas_blocks_close_and_hold_the_reflections(fitted: FittedPattern) -> None:
    text = topas_input(fitted, "sample")
    assert text.count("{") == text.count("}") == 1
    assert text.count("(") == text.count(")")
    table = re.search(r"load hkl_m_d_th2 I\s*\{(.*)\}", text, re.S)
    assert table is not None
    rows = [line.split() for line in table.group(1).strip().splitlines()]
    assert len(rows) == len(fitted.reflections)
    assert all(len(row) == 8 and row[6] == "@" for row in rows)
    # reflections of one peak share its intensity: the sum is that of the fit
    total = sum(float(row[7]) for row in rows)
    assert total == pytest.approx(sum(p.intensity for p in fitted.peaks), rel=1e-3)
    symbol = re.search(r'space_group "([^"]+)"', text)
    assert symbol is not None
    group = gemmi.find_spacegroup_by_name(symbol.group(1).replace("_", " ").replace(":", " :"))
    assert group is not None
    assert group.number == fitted.space_group.number


def test_topas_ties_what_symmetry_ties(fitted: FittedPattern) -> None:
    text = topas_input(fitted, "sample")
    free = re.findall(r"^    (a|b|c|al|be|ga) @", text, re.M)
    wanted = {62: ["a", "b", "c"], 167: ["a", "c"], 14: ["a", "b", "c", "be"]}
    assert free == wanted[fitted.space_group.number]
    if fitted.space_group.number == 167:
        assert "b = Get(a);" in text


def test_axial_divergence_is_inverted(fitted: FittedPattern) -> None:
    assert math.degrees(axial(fitted) ** 2 / 2) == pytest.approx(fitted.shape.axial, abs=1e-9)


def test_all_files_or_none(fitted: FittedPattern, tmp_path: Path) -> None:
    written = export(fitted, tmp_path / "new")
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == sorted(p.name for p in written)
    assert {p.suffix for p in written} == {".cif", ".xye", ".instprm", ".py", ".inp"}
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(BadInput, match="give another folder"):
        export(fitted, blocked)
    assert blocked.read_text() == "not a folder"


def test_script_says_no_path_of_this_machine(fitted: FittedPattern) -> None:
    assert "/" not in script(fitted, "sample").replace("here / ", "").replace(fitted.space_group.symbol, "")


@given(st.floats(1e-3, 1e3), st.floats(1e-5, 10.0))
def test_errors_stand_in_the_last_places(value: float, error: float) -> None:
    text = with_error(value, error)
    assert number(text) == pytest.approx(value, abs=0.6 * error)
    bare, last = re.fullmatch(r"(-?[\d.]+)\((\d+)\)", text).groups()  # type: ignore[union-attr]
    places = len(bare.partition(".")[2])
    assert int(last) * 10.0**-places == pytest.approx(error, rel=0.26)
    assert 1 <= int(last) <= 19


def test_a_name_that_programs_take() -> None:
    assert file_name("CaCO₃ (40 °C)/run 2") == "CaCO_40_C_run_2"
    assert file_name("...") == "pattern"
