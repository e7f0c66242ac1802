"""Every row of the reference tables: groups, both codes, the graph, the space groups' subgroups."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from eg_agent import symmetry
from eg_agent.symmetry.tables import tables


def _json(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_every_row_of_the_group_table(symmetry_tables: Path) -> None:
    with (symmetry_tables / "extinction_groups.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(symmetry.groups()) == 99
    for row, group in zip(rows, symmetry.groups()):
        assert group.number == int(row["number"])
        assert group.crystal_system == row["crystal_system"]
        assert group.lattice == row["lattice"]
        assert group.symbol == row["extinction_symbol"]
        assert set(group.equivalent_symbols) == set(row["equivalent_symbols"].split("; "))
        assert list(group.space_groups) == [int(n) for n in row["space_groups"].split()]


@pytest.mark.parametrize(
    ("file", "names_key", "names", "codes"),
    [
        ("published_codes37.json", "features", symmetry.PUBLISHED_BITS, symmetry.published_codes),
        ("condition_codes37.json", "bits", symmetry.CONDITION_BITS, symmetry.condition_codes),
    ],
)
def test_every_code(symmetry_tables: Path, file: str, names_key: str, names: Any, codes: Any) -> None:
    reference = _json(symmetry_tables, file)
    assert list(names) == reference[names_key]
    assert codes().shape == (99, 37)
    ours = {str(i + 1): "".join(map(str, row)) for i, row in enumerate(codes())}
    assert ours == reference["codes"]


def test_every_edge(symmetry_tables: Path) -> None:
    reference = {(parent, child) for parent, child in _json(symmetry_tables, "subgroup_graph.json")["edges"]}
    assert len(reference) == 374
    assert set(symmetry.edges()) == reference
    assert len(symmetry.edges()) == 374


def test_maximal_t_subgroups_of_every_space_group(symmetry_tables: Path) -> None:
    key = "maximal_t_subgroups_of_space_groups"
    reference = {int(k): sorted(v) for k, v in _json(symmetry_tables, "subgroup_graph.json")[key].items()}
    assert dict(enumerate(tables()["maximal_t_subgroups"], start=1)) == reference
