"""The generated file is what the operators say, and importing the package stays cheap."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest

from eg_agent.symmetry.derive import crystal_system
from eg_agent.symmetry.generate import as_text, derive_tables
from eg_agent.symmetry.operators import GRID, of_space_group
from eg_agent.symmetry.subgroups import maximal_subgroups, maximal_t_subgroups

pytestmark = pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")  # spglib's own


def test_tables_json_is_what_the_operators_give() -> None:
    stored = files("eg_agent.symmetry").joinpath("tables.json").read_text(encoding="utf-8")
    assert as_text(derive_tables()) == stored, "run: python -m eg_agent.symmetry.generate"


def test_import_loads_nothing_heavy() -> None:
    program = (
        "import sys, eg_agent.symmetry as s; s.settings_of_lattice('oP'); "
        "print(*sorted({m.split('.')[0] for m in sys.modules}))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {
        "torch",
        "ray",
        "bluesky",
        "tiled",
        "matplotlib",
        "pandas",
        "scipy",
        "spglib",
        "pyxtal",
        "pymatgen",
    }
    assert heavy.isdisjoint(loaded.stdout.split())


# Numbers of maximal subgroups of point groups, counted from the diagrams of Hahn & Klapper,
# International Tables A (2005), figure 10.1.3.2, conjugates counted one by one.
@pytest.mark.parametrize(
    ("space_group", "count"),
    [(1, 0), (2, 1), (10, 3), (47, 7), (75, 1), (123, 7), (143, 1), (164, 6), (195, 5), (207, 8), (221, 10)],
)
def test_number_of_maximal_subgroups_of_point_groups(space_group: int, count: int) -> None:
    assert len(maximal_subgroups(of_space_group(space_group).point_group)) == count


@pytest.mark.parametrize("space_group", [14, 62, 88, 136, 161, 194, 205, 213, 227, 230])
def test_a_t_subgroup_forbids_nothing_more(space_group: int) -> None:
    operators = of_space_group(space_group)
    point_group = operators.point_group
    for subgroup in maximal_subgroups(point_group):
        chosen = point_group[sorted(subgroup)]
        keep = (operators.rotations[:, None] == chosen[None]).all(axis=(2, 3)).any(axis=1)
        fewer = operators.where(keep).absent(GRID)
        assert not (fewer & ~operators.absent(GRID)).any()


def test_maximal_t_subgroups_against_pyxtal() -> None:
    group_module = pytest.importorskip("pyxtal.symmetry")
    missing = []
    for number in range(3, 231):
        table = group_module.Group(number, quick=False).get_max_t_subgroup()
        theirs = set(table["subgroup"]) - {number}
        ours = set(maximal_t_subgroups(number))
        assert theirs <= ours, f"{crystal_system(number)} {number}"
        missing += [(number, sub) for sub in ours - theirs]
    # pyxtal's table is known to lack I 4 2 2 -> F 2 2 2.
    assert missing == [(97, 22)]


def test_rules_are_few_and_enough() -> None:
    rng = np.random.default_rng(0)
    hkl = rng.integers(-60, 60, size=(4000, 3))
    hkl[::3, 0] = 0
    hkl[1::5, 1] = hkl[1::5, 0]
    for number in range(1, 231):
        operators = of_space_group(number)
        rules = operators.rules()
        assert len(rules) <= 16
        np.testing.assert_array_equal(rules.absent(hkl), operators.absent(hkl))
