"""Space groups in the axes of a fit, against gemmi's operators."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from eg_agent.identify.space_groups import in_axes
from eg_agent.symmetry import group, settings


@pytest.mark.parametrize("number", [4, 6, 17, 18, 32, 54, 75, 97])
def test_the_operators_in_these_axes_forbid_what_the_symbol_says(number: int) -> None:
    hkl = np.array([(h, k, l) for h in range(-3, 4) for k in range(-3, 4) for l in range(-3, 4) if (h, k, l) != (0, 0, 0)])  # noqa: E501, E741  # fmt: skip
    for setting in settings(number)[:4]:
        found = in_axes(number, setting.symbol)
        assert tuple(entry.number for entry in found) == group(number).space_groups
        for entry in found:
            own = gemmi.get_spacegroup_reference_setting(entry.number).operations()
            own.change_basis_forward(gemmi.Op(entry.transformation))
            named = gemmi.find_spacegroup_by_name(entry.symbol, 90, 90 if setting.lattice != "hR" else 120)
            assert named is not None
            assert named.number == entry.number
            absent = np.array([own.is_systematically_absent(row.tolist()) for row in hkl])
            np.testing.assert_array_equal(absent, setting.absent(hkl))


def test_a_symbol_without_an_origin_choice_means_the_standard_one() -> None:
    """Pmmn in other axes is its axes turned, not moved to the other origin, which the symbol does not say."""
    (found,) = [entry for entry in in_axes(12, "P - n -") if entry.number == 59]
    assert (found.symbol, found.transformation) == ("P m n m", "y,z,x")


def test_without_a_fit_the_axes_are_standard() -> None:
    for entry in in_axes(75):
        assert entry.transformation == "x,y,z"
