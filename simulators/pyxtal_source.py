"""Random crystals by PyXtal (Fredericks et al., Comput. Phys. Commun. 261 (2021) 107810).

The recipe of arXiv:2604.23811: elements whose PyXtal radii are all known, at least one orbit on the
general position, and a crystal counts only if spglib finds the intended extinction group at a tight
tolerance. Some tens a second; `WyckoffSource` makes thousands.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from eg_agent.errors import BadInput, MissingExtra
from eg_agent.symmetry import groups
from simulators.crystal import DEFAULT_B_ISO, Crystal
from simulators.crystal_source import ATTEMPTS, TIGHT, found_group, generator
from simulators.structures import reduced_formula
from simulators.wyckoff.tables import tables

#: Radii that an element needs in PyXtal's table.
_RADII = ("covalent_radius", "vdw_radius", "metallic_radius")


class PyXtalSource:
    """Crystals of all extinction groups in turn by chance, or of the given ones.

    extinction_groups: numbers 1-99 to draw from (none: all). most_atoms: aimed-at bound on the atoms
    of the primitive cell beside the general orbit.
    """

    def __init__(self, extinction_groups: tuple[int, ...] | None = None, *, most_atoms: int = 60) -> None:
        chosen = extinction_groups or tuple(range(1, len(groups()) + 1))
        wrong = [g for g in chosen if not 1 <= g <= len(groups())]
        if wrong:
            raise BadInput(f"extinction group {wrong[0]} is not between 1 and {len(groups())}.")
        self._groups = chosen
        self._most = most_atoms

    def crystal(self, seed: int, index: int) -> Crystal:
        """See `CrystalSource`; raises BadInput when 50 attempts gave none of the group."""
        rng = generator(seed, index)
        group = int(rng.choice(self._groups))
        members = groups()[group - 1].space_groups
        for attempt in range(ATTEMPTS):
            number = int(rng.choice(members))
            crystal = _attempt(number, rng, self._most, orbits=1 + attempt // 3)
            if crystal is not None and crystal.group == group and found_group(crystal, TIGHT) == group:
                return crystal
        raise BadInput(f"PyXtal gave no crystal of extinction group {group} in {ATTEMPTS} attempts.")


@cache
def complete_elements() -> tuple[str, ...]:
    """Symbols of the elements with all of PyXtal's radii and a scattering factor."""
    try:
        from pyxtal.database.element import Element
    except ImportError:
        raise MissingExtra("random crystals by PyXtal", "train") from None
    import gemmi

    found = []
    for number in range(1, 93):
        element = gemmi.Element(number)
        entry = Element(element.name)
        if all(getattr(entry, name) for name in _RADII) and element.it92 is not None:
            found.append(element.name)
    return tuple(found)


def _attempt(number: int, rng: np.random.Generator, most: int, orbits: int) -> Crystal | None:
    """One crystal of a space group with general orbits of its first element; none where PyXtal fails."""
    from pyxtal import pyxtal
    from pyxtal.msg import Comp_CompatibilityError

    t = tables()
    first = int(t.first[number - 1])
    centring = int(t.centring_count[number - 1])
    general = int(t.orbit_size[first])
    needed = max(int(t.needed[first]), min(orbits, 3))
    letter = f"{general * centring}{chr(int(t.letter[first]))}"
    count = int(rng.integers(1, 4))
    elements = [str(e) for e in rng.choice(complete_elements(), size=count, replace=False)]
    special = np.unique(t.orbit_size[first : int(t.first[number])])
    sizes = [general * needed]
    for _ in elements[1:]:
        room = max(1, most // max(general, 1))
        sizes.append(int(rng.choice(special)) * int(rng.integers(1, min(room, 4) + 1)))
    made: Any = pyxtal()
    try:
        made.from_random(
            3,
            number,
            elements,
            [n * centring for n in sizes],
            sites=[[letter] * needed, *([None] * (count - 1))],
            random_state=rng,
        )
    except (Comp_CompatibilityError, RuntimeError, ValueError, ZeroDivisionError, IndexError):
        return None  # compositions that no choice of positions can hold
    if not made.valid or not any(len(s.wp.ops) == general * centring for s in made.atom_sites):
        return None
    amounts = {element: float(n) for element, n in zip(elements, sizes)}
    cell = tuple(float(v) for v in made.lattice.get_para(degree=True))
    sites = made.atom_sites
    return Crystal(
        cell=cell,  # pyright: ignore[reportArgumentType]
        operations=t.operations(number),
        elements=tuple(str(s.specie) for s in sites),
        fractional=np.array([np.asarray(s.position, dtype=np.float64).ravel()[:3] for s in sites]),
        occupancy=np.ones(len(sites)),
        b_iso=np.full(len(sites), DEFAULT_B_ISO),
        space_group=number,
        name=f"pyxtal {number}",
        formula=reduced_formula(amounts),
    )
