"""The packaged tables against gemmi, spglib and PyXtal."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from simulators.crystal import TRANSLATION_DENOMINATOR
from simulators.wyckoff.tables import BOXES, MOST_INDEX, multiplicities, tables


@pytest.mark.parametrize("number", range(1, 231))
def test_multiplicities_agree_with_gemmi(number):
    """One reflection of each orbit, as often as the orbit is large, none that the centring forbids."""
    found = multiplicities()
    kind = int(found.box[number - 1])
    table = found.table[kind][found.row[number - 1]]
    group = tables().operations(number).gemmi_ops()
    space_group = gemmi.find_spacegroup_by_ops(group)
    assert space_group is not None
    assert space_group.number == number
    asu = gemmi.ReciprocalAsu(space_group)
    reach = 4
    axes = [range(-reach if negative else 0, reach + 1) for negative in BOXES[kind]]
    offsets = [MOST_INDEX if negative else 0 for negative in BOXES[kind]]
    rotations = {tuple(np.array(op.rot).ravel()) for op in group.sym_ops}
    images = np.array([np.reshape(r, (3, 3)) // gemmi.Op.DEN for r in rotations])
    images = np.concatenate([images, -images])
    centring = [np.array(t) for t in group.cen_ops]
    for h in axes[0]:
        for k in axes[1]:
            for l_ in axes[2]:
                hkl = np.array([h, k, l_])
                value = table[h + offsets[0], k + offsets[1], l_ + offsets[2]]
                allowed = all(hkl @ t % gemmi.Op.DEN == 0 for t in centring)
                if not hkl.any() or not allowed or not asu.is_in([h, k, l_]):
                    assert value == 0
                else:
                    assert value == len({tuple(v) for v in (hkl @ images).tolist()})


@pytest.mark.parametrize("number", range(1, 231))
def test_orbits_are_whole_and_have_no_doubles(number):
    t = tables()
    operations = t.operations(number)
    rotations = operations.rotations
    shifts = operations.translations / TRANSLATION_DENOMINATOR
    vectors = t.centring[number - 1, : t.centring_count[number - 1]] / TRANSLATION_DENOMINATOR
    for row in range(t.first[number - 1], t.first[number]):
        u = np.random.default_rng(row).random(3)
        site = t.shape[row] @ u + t.origin[row] / TRANSLATION_DENOMINATOR
        members = t.orbit[row, : t.orbit_size[row]]
        mine = t.rotation[number - 1, members] @ site
        mine = mine + t.translation[number - 1, members] / TRANSLATION_DENOMINATOR
        assert np.allclose(mine[0], site)
        mine = _unique((mine[:, None] + vectors).reshape(-1, 3))
        assert len(mine) == int(t.orbit_size[row]) * len(vectors)
        assert mine == _unique(rotations @ site + shifts)


def _unique(points: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(v) for v in (np.rint(points * 1e6).astype(int) % 1_000_000).tolist()}


@pytest.mark.parametrize("number", [1, 5, 19, 62, 99, 148, 166, 194, 205, 227, 230])
def test_positions_are_those_of_pyxtal(number):
    from pyxtal.symmetry import Group

    t = tables()
    rows = range(t.first[number - 1], t.first[number])
    theirs = Group(number).Wyckoff_positions
    ours = [(chr(t.letter[r]), int(t.orbit_size[r]) * int(t.centring_count[number - 1])) for r in rows]
    assert ours == [(p.letter, p.multiplicity) for p in theirs]
    assert [int(t.freedom[r]) for r in rows] == [p.get_dof() for p in theirs]


def test_every_group_shows_its_symmetry_in_general_orbits():
    t = tables()
    assert (t.needed[t.first[:-1]] > 0).all()
    assert (t.needed[t.first[:-1]] <= 3).all()
