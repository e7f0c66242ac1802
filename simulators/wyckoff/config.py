"""What random crystals look like: the distributions of the Wyckoff sampler and where they come from."""

from __future__ import annotations

from dataclasses import dataclass

from eg_agent.errors import BadInput
from eg_agent.symmetry import groups

#: Sites of an asymmetric unit at the most, and how many of them lie on drawn special positions.
MOST_SITES = 60
SPECIAL_SITES = 8


@dataclass(frozen=True)
class WyckoffConfig:
    """Distributions of random crystals.

    group_weight: 99 weights of the extinction groups, or none for equal ones; the members of a group
        are equally likely.
    atoms_median, atoms_sigma: log-normal number of atoms in the primitive cell. Over real structures, the
        99 groups weighted alike, half minerals (AMCSD) and half Materials Project (whose published sets
        end at 52 atoms), the median is 20 and the standard deviation of the logarithm 1.0; 5 and 95 %
        have 4 and 120 atoms and primitive cells of 67 and 2050 angstrom^3. The sampler gives a median of
        20, 6 and 120 atoms, and 96 and 2600 angstrom^3, since the aim is rounded up to whole orbits
        (tests/simulators/wyckoff/test_source.py compares them).
    most_atoms: bound on general orbits in the primitive cell (what shows the symmetry is always placed):
        99 % of the same structures.
    special_anchor: share of crystals of 12 or more operations whose symmetry shows in a special
        position; the others, as those of low symmetry, have a general one.
    elements: weights of 1 to 5 elements. Materials Project: 0.7, 18, 51, 24 and 6 %.
    alloys, organic: shares of crystals without anions (40 % there, many of them hypothetical) and of
        crystals of light atoms in general positions.
    organic_sites: range of non-hydrogen atoms in the asymmetric unit of the latter.
    volume_sigma: standard deviation of ln of the volume (0.146, see `elements`).
    ratio_sigma: of ln of the ratios of the cell edges. b_iso: range in angstrom^2, for inorganic crystals.
    candidates: places tried for each site. attempts: whole crystals tried before the cell is widened
        until the atoms keep their least distances.
    """

    group_weight: tuple[float, ...] | None = None
    space_groups: tuple[int, ...] | None = None
    atoms_median: float = 16.0
    atoms_sigma: float = 0.95
    most_atoms: int = 200
    special_anchor: float = 0.5
    elements: tuple[float, ...] = (0.02, 0.18, 0.50, 0.24, 0.06)
    alloys: float = 0.25
    organic: float = 0.05
    organic_sites: tuple[int, int] = (8, 40)
    volume_sigma: float = 0.12
    ratio_sigma: float = 0.3
    b_iso: tuple[float, float] = (0.3, 1.2)
    organic_b_iso: tuple[float, float] = (2.0, 5.0)
    candidates: int = 8
    attempts: int = 2

    def __post_init__(self) -> None:
        if self.group_weight is not None and (
            len(self.group_weight) != len(groups())
            or min(self.group_weight) < 0
            or not sum(self.group_weight)
        ):
            raise BadInput(f"group_weight needs {len(groups())} weights of 0 or more, at least one above 0.")
        if self.space_groups is not None:
            wrong = [n for n in self.space_groups if not 1 <= n <= 230]
            if wrong or not self.space_groups:
                raise BadInput(f"space_groups {self.space_groups}: give one or more numbers from 1 to 230.")
        if not (self.atoms_median >= 1 and self.most_atoms >= 1 and self.atoms_sigma >= 0):
            raise BadInput("atoms_median and most_atoms must be 1 or more, atoms_sigma 0 or more.")
        if len(self.elements) != 5 or min(self.elements) < 0 or not sum(self.elements) > 0:
            raise BadInput("elements needs five weights, of 1 to 5 elements.")
        if not (self.alloys >= 0 and self.organic >= 0 and self.alloys + self.organic <= 1):
            raise BadInput("alloys and organic are shares: give 0 to 1 together.")
        if not 1 <= self.organic_sites[0] <= self.organic_sites[1] <= MOST_SITES:
            raise BadInput(f"organic_sites {self.organic_sites} must lie within 1 to {MOST_SITES}.")
        for name in ("b_iso", "organic_b_iso"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise BadInput(f"{name} {low:g} to {high:g} is no range: give low and high, 0 or more.")
        if self.candidates < 1 or self.attempts < 1:
            raise BadInput("candidates and attempts must be at least 1.")
