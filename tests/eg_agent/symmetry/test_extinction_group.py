"""The list of the 99, and facts that are not in any of our tables."""

from __future__ import annotations

from collections import Counter

import gemmi
import numpy as np
import pytest

from eg_agent import symmetry
from eg_agent.errors import BadInput
from eg_agent.symmetry import extinction_group
from eg_agent.symmetry.derive import extinction_groups, settings_of_space_group
from eg_agent.symmetry.operators import GRID


def test_each_space_group_is_in_one_group() -> None:
    members = [sg for group in symmetry.groups() for sg in group.space_groups]
    assert sorted(members) == list(range(1, 231))
    for group in symmetry.groups():
        for sg in group.space_groups:
            assert symmetry.group_of_space_group(sg) == group.number


def test_counts_by_crystal_system() -> None:
    # International Tables A, table 1.6.4: numbers of extinction symbols up to axis permutation.
    assert Counter(group.crystal_system for group in symmetry.groups()) == {
        "monoclinic": 6,
        "orthorhombic": 33,
        "tetragonal": 31,
        "trigonal/hexagonal": 10,
        "cubic": 18,
        "triclinic": 1,
    }


@pytest.mark.parametrize(
    ("space_group", "symbol", "bravais"),
    [
        (2, "P -", "aP"),
        (14, "P 1 21/c 1", "mP"),
        (15, "C 1 c 1", "mC"),
        (62, "P n a -", "oP"),
        (64, "C - c (ab)", "oC"),
        (70, "F d d d", "oF"),
        (88, "I 41/a - -", "tI"),
        (136, "P - n -", "tP"),
        (166, "R - - -", "hR"),
        (194, "P - - c", "hP"),
        (205, "P a - -", "cP"),
        (227, "F d - -", "cF"),
        (230, "I a - d", "cI"),
    ],
)
def test_symbols_of_well_known_space_groups(space_group: int, symbol: str, bravais: str) -> None:
    group = symmetry.group(symmetry.group_of_space_group(space_group))
    assert (group.symbol, group.bravais) == (symbol, bravais)


def test_two_pairs_of_groups_have_the_same_absences() -> None:
    seen: dict[tuple[str, bytes], list[int]] = {}
    for group in symmetry.groups():
        absences = symmetry.settings(group.number)[0].absent(GRID).tobytes()
        seen.setdefault((group.crystal_system, absences), []).append(group.number)
    assert sorted(v for v in seen.values() if len(v) > 1) == [[72, 78], [82, 83]]


def test_all_space_groups_of_a_group_share_their_absences() -> None:
    for members in extinction_groups():
        patterns = {
            frozenset(s.operators.absent(GRID).tobytes() for s in settings_of_space_group(sg))
            for sg in members
        }
        assert len(patterns) == 1


def test_space_group_symbols_name_the_space_groups() -> None:
    for group in symmetry.groups():
        names = symmetry.space_group_symbols(group.number)
        found = [gemmi.find_spacegroup_by_name(name) for name in names]
        assert [sg.number for sg in found if sg] == list(group.space_groups)


@pytest.mark.parametrize("number", [0, -1, 100])
def test_no_such_group(number: int) -> None:
    with pytest.raises(BadInput, match="1 to 99"):
        symmetry.group(number)
    with pytest.raises(BadInput, match="1 to 99"):
        symmetry.children(number)


@pytest.mark.parametrize("number", [0, 231])
def test_no_such_space_group(number: int) -> None:
    with pytest.raises(BadInput, match="1 to 230"):
        symmetry.group_of_space_group(number)


def test_codes_are_unique_and_read_only() -> None:
    assert len({row.tobytes() for row in symmetry.condition_codes()}) == extinction_group.N_GROUPS
    assert len({row.tobytes() for row in symmetry.published_codes()}) == extinction_group.N_GROUPS
    for codes in (symmetry.published_codes(), symmetry.condition_codes()):
        assert codes.dtype == np.uint8
        with pytest.raises(ValueError, match="read-only"):
            codes[0, 0] = 1
