"""Reflection conditions as congruences: testing them, and saying them in words.

A condition is "in this zone of reciprocal space, this linear form of h, k, l is a multiple of m".
Everything else (symbols, 37-bit codes, the words of `eg-agent groups N`) is read from such tests on
absences that come from symmetry operators.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from eg_agent.symmetry.operators import GRID, BoolArray

#: Zones by name: h, k, l are zero or tied together as the name says. Hexagonal zones have four indices.
ZONES: dict[str, BoolArray] = {
    "hkl": np.ones(len(GRID), dtype=bool),
    "0kl": GRID[:, 0] == 0,
    "h0l": GRID[:, 1] == 0,
    "hk0": GRID[:, 2] == 0,
    "hhl": GRID[:, 0] == GRID[:, 1],
    "h-h0l": GRID[:, 0] == -GRID[:, 1],
    "hh-2hl": GRID[:, 0] == GRID[:, 1],
    "h00": (GRID[:, 1] == 0) & (GRID[:, 2] == 0),
    "0k0": (GRID[:, 0] == 0) & (GRID[:, 2] == 0),
    "00l": (GRID[:, 0] == 0) & (GRID[:, 1] == 0),
}

#: Linear forms by name, as coefficients of h, k, l.
FORMS: dict[str, tuple[int, int, int]] = {
    "h": (1, 0, 0),
    "k": (0, 1, 0),
    "l": (0, 0, 1),
    "h+k": (1, 1, 0),
    "h+l": (1, 0, 1),
    "k+l": (0, 1, 1),
    "h+k+l": (1, 1, 1),
    "2h+l": (2, 0, 1),
    "-h+k+l": (-1, 1, 1),
}

_VALUES = {name: GRID @ np.array(form) for name, form in FORMS.items()}

# What may be said of each zone, single indices before sums.
_FORMS_OF_ZONE: dict[str, tuple[str, ...]] = {
    "hkl": ("h+k+l", "h+k", "h+l", "k+l", "-h+k+l"),
    "0kl": ("k", "l", "k+l"),
    "h0l": ("h", "l", "h+l"),
    "hk0": ("h", "k", "h+k"),
    "hhl": ("l", "2h+l"),
    "h-h0l": ("l",),
    "hh-2hl": ("l",),
    "h00": ("h",),
    "0k0": ("k",),
    "00l": ("l",),
}

# Zones in the order of International Tables; those equivalent to an earlier one are left out.
_SAID: dict[str, tuple[str, ...]] = {
    "triclinic": ("hkl",),
    "monoclinic": ("hkl", "0kl", "h0l", "hk0", "h00", "0k0", "00l"),
    "orthorhombic": ("hkl", "0kl", "h0l", "hk0", "h00", "0k0", "00l"),
    "tetragonal": ("hkl", "hk0", "0kl", "hhl", "00l", "0k0"),
    "trigonal/hexagonal": ("hkl", "h-h0l", "hh-2hl", "00l"),
    "cubic": ("hkl", "0kl", "hhl", "00l"),
}


@dataclass(frozen=True, eq=False)
class Conditions:
    """Tests of reflection conditions on the absences of one setting.

    absences: bool [len(GRID)], absent reflections of `operators.GRID`.
    """

    absences: BoolArray

    @cached_property
    def _present(self) -> BoolArray:
        return ~self.absences

    def holds(self, zone: str, form: str, modulus: int) -> bool:
        """Whether every reflection that is present in `zone` has `form` a multiple of `modulus`."""
        values = _VALUES[form][ZONES[zone] & self._present]
        return not (values % modulus).any()

    def modulus(self, zone: str, form: str) -> int:
        """The largest m of 1, 2, 3, 4, 6 for which `holds(zone, form, m)`."""
        return next(m for m in (6, 4, 3, 2, 1) if self.holds(zone, form, m))

    def words(self, crystal_system: str) -> tuple[str, ...]:
        """Conditions in words, e.g. ("0kl: k+l=2n", "h00: h=2n"), none implied by those before it.

        Cubic and tetragonal zones stand for those equivalent to them; `crystal_system` is one of the
        values of `ExtinctionGroup.crystal_system`.
        """
        implied = np.zeros(len(GRID), dtype=bool)
        said: list[str] = []
        for zone in _SAID[crystal_system]:
            before = implied.copy()
            chosen: dict[int, list[str]] = {}
            for form in _FORMS_OF_ZONE[zone]:
                m = self.modulus(zone, form)
                if form == "-h+k+l" and m != 3:  # said of the obverse R lattice only
                    continue
                explains = ZONES[zone] & (_VALUES[form] % m != 0)
                # Both of "k, l = 2n" are said although one may follow from the other and the centring;
                # a sum that follows from what was said of its terms is not.
                known = implied if len(form) > 1 and zone != "hkl" else before
                if (explains & ~known).any():
                    chosen.setdefault(m, []).append(form)
                    implied |= explains
            if chosen:
                parts = [f"{', '.join(forms)}={m}n" for m, forms in chosen.items()]
                said.append(f"{zone}: {'; '.join(parts)}")
        return tuple(said)
