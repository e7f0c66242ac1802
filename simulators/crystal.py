"""`Crystal`: a structure as symmetry operations and an asymmetric unit, with its extinction group.

The operations are those of the setting in which cell and coordinates are given, so any setting of
any space group works, and a pattern never depends on which one was chosen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import gemmi
import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.symmetry import group_of_space_group

#: Denominator of translations: all translations of the 530 Hall settings are multiples of 1/24.
TRANSLATION_DENOMINATOR = 24
#: Two images of a site nearer than this (angstrom) are one atom on a special position.
SPECIAL_POSITION_TOLERANCE = 0.1
#: Isotropic displacement parameter where a structure gives none (angstrom^2): near the median of
#: inorganic structures at room temperature.
DEFAULT_B_ISO = 0.5


@dataclass(frozen=True, eq=False)
class Operations:
    """The operations of a space group in one setting, centring included.

    rotations: int [n, 3, 3] acting on fractional coordinates (x' = R x + t).
    translations: int [n, 3] in twenty-fourths of a cell edge, each in 0..23.
    """

    rotations: npt.NDArray[np.int64]
    translations: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rotations)

    @cached_property
    def laue_rotations(self) -> npt.NDArray[np.int64]:
        """Distinct rotations up to sign, int [m, 3, 3]: with Friedel's law these are the Laue class."""
        sign = np.where(_first_nonzero(self.rotations) < 0, -1, 1)
        return np.unique(self.rotations * sign[:, None, None], axis=0)

    @cached_property
    def centring(self) -> npt.NDArray[np.int64]:
        """Centring translations other than zero, int [c, 3] in twenty-fourths."""
        pure = (self.rotations == np.eye(3, dtype=np.int64)).all(axis=(1, 2))
        shifts = self.translations[pure]
        return shifts[shifts.any(axis=1)]

    @cached_property
    def cosets(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """One operation for each rotation: rotations [k, 3, 3] and translations [k, 3]."""
        _, first = np.unique(self.rotations, axis=0, return_index=True)
        return self.rotations[first], self.translations[first]

    @cached_property
    def space_group(self) -> int:
        """Space-group number 1-230 of these operations, in whatever setting; 0 when gemmi knows none."""
        found = gemmi.find_spacegroup_by_ops(self.gemmi_ops())
        if found is None:  # a setting outside gemmi's table: classify by the type of the operations
            import spglib

            kind = spglib.get_spacegroup_type_from_symmetry(
                self.rotations.astype(np.intc), self.translations / TRANSLATION_DENOMINATOR
            )
            return 0 if kind is None else int(kind.number)
        return int(found.number)

    def gemmi_ops(self) -> gemmi.GroupOps:
        """The same operations as gemmi's type."""
        ops = []
        for rotation, translation in zip(self.rotations, self.translations):
            op = gemmi.Op()
            op.rot = [[int(v) * gemmi.Op.DEN for v in row] for row in rotation]
            op.tran = [int(v) * gemmi.Op.DEN // TRANSLATION_DENOMINATOR for v in translation]
            ops.append(op)
        return gemmi.GroupOps(ops)


def _first_nonzero(rotations: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    flat = rotations.reshape(len(rotations), -1)
    return np.take_along_axis(flat, (flat != 0).argmax(axis=1)[:, None], axis=1)[:, 0]


def _operations(rotations: npt.ArrayLike, translations: npt.ArrayLike) -> Operations:
    shift = np.rint(np.asarray(translations, dtype=np.float64) * TRANSLATION_DENOMINATOR)
    return Operations(
        np.ascontiguousarray(rotations, dtype=np.int64), shift.astype(np.int64) % TRANSLATION_DENOMINATOR
    )


@lru_cache(maxsize=600)
def operations_from_hall(hall_number: int) -> Operations:
    """Operations of one of the 530 settings, by spglib's Hall number (1-530)."""
    import spglib

    if not 1 <= hall_number <= 530:
        raise BadInput(f"Hall number {hall_number} is not between 1 and 530.")
    found = spglib.get_symmetry_from_database(hall_number)
    if found is None:
        raise BadInput(f"spglib has no setting with Hall number {hall_number}.")
    return _operations(found["rotations"], found["translations"])


@lru_cache(maxsize=4096)
def operations_from_triplets(triplets: str) -> Operations:
    """Operations from "x,y,z;-x,y+1/2,-z;..." (all of them, or generators: the group is completed)."""
    ops = [gemmi.Op(t) for t in triplets.split(";")]
    group = gemmi.GroupOps(ops)
    group.add_missing_elements()
    full = list(group)
    rotations = [[[v // gemmi.Op.DEN for v in row] for row in op.rot] for op in full]
    return _operations(rotations, [[v / gemmi.Op.DEN for v in op.tran] for op in full])


@dataclass(frozen=True, eq=False)
class Crystal:
    """A crystal structure: cell, symmetry operations, and the sites of its asymmetric unit.

    cell: a, b, c in angstrom, alpha, beta, gamma in degrees.
    operations: of the setting used, centring included.
    elements: [n] symbols of neutral atoms ("Fe"); a mixed site is several entries at one position.
    fractional: [n, 3] fractional coordinates.
    occupancy: [n] of each entry, 0 to 1.
    b_iso: [n] isotropic displacement parameters, angstrom^2.
    space_group: 1-230. group: extinction group 1-99 that it belongs to.
    """

    cell: tuple[float, float, float, float, float, float]
    operations: Operations
    elements: tuple[str, ...]
    fractional: npt.NDArray[np.float64]
    occupancy: npt.NDArray[np.float64]
    b_iso: npt.NDArray[np.float64]
    space_group: int
    name: str = ""
    formula: str = ""
    group: int = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.elements)
        shapes = (self.fractional.shape, self.occupancy.shape, self.b_iso.shape)
        if shapes != ((count, 3), (count,), (count,)):
            raise BadInput(f"{self.name or 'crystal'}: {count} elements, but arrays of shapes {shapes}.")
        if not count:
            raise BadInput(f"{self.name or 'crystal'} has no atoms: give at least one site.")
        check_cell(self.cell, self.operations, self.name or "crystal")
        unknown = sorted({e for e in self.elements if gemmi.Element(e).atomic_number == 0})
        if unknown:
            raise BadInput(
                f"{self.name or 'crystal'}: {', '.join(map(repr, unknown))} is no chemical element: "
                "give symbols such as 'Fe'."
            )
        if not np.isfinite(self.fractional).all():
            raise BadInput(f"{self.name or 'crystal'} has coordinates that are not numbers.")
        object.__setattr__(self, "group", group_of_space_group(self.space_group))

    @property
    def volume(self) -> float:
        """Volume of the cell, angstrom^3."""
        return float(np.sqrt(np.linalg.det(metric(self.cell))))

    @cached_property
    def stabilisers(self) -> npt.NDArray[np.int64]:
        """[n] order of each site's symmetry group: 1 on the general position."""
        return stabiliser_orders(self.cell, self.operations, self.fractional)

    def orbit(self, site: int) -> npt.NDArray[np.float64]:
        """All images of one site in the cell, fractional coordinates [m, 3] in 0..1."""
        return _distinct(_images(self.operations, self.fractional[site : site + 1])[0], metric(self.cell))

    def expanded(self) -> tuple[npt.NDArray[np.float64], list[str], npt.NDArray[np.float64]]:
        """All atoms of the cell: fractional coordinates [k, 3] in 0..1, elements [k], occupancies [k]."""
        positions, elements, occupancies = [], [], []
        for site, (element, occupancy) in enumerate(zip(self.elements, self.occupancy)):
            orbit = self.orbit(site)
            positions.append(orbit)
            elements.extend([element] * len(orbit))
            occupancies.extend([float(occupancy)] * len(orbit))
        return np.concatenate(positions), elements, np.array(occupancies)


def metric(cell: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Metric tensor [3, 3] of a cell, angstrom^2."""
    a, b, c, alpha, beta, gamma = cell
    ca, cb, cg = np.cos(np.radians([alpha, beta, gamma]))
    return np.array(
        [
            [a * a, a * b * cg, a * c * cb],
            [a * b * cg, b * b, b * c * ca],
            [a * c * cb, b * c * ca, c * c],
        ]
    )


def check_cell(cell: tuple[float, ...], operations: Operations, name: str) -> None:
    """Raise BadInput unless the cell is a cell, and the rotations keep its metric within 1 %."""
    if len(cell) != 6 or not np.isfinite(cell).all() or min(cell) <= 0:
        raise BadInput(f"{name}: the cell {cell} needs three positive edges and three positive angles.")
    g = metric(cell)
    if np.linalg.det(g) <= 1e-6 * g[0, 0] * g[1, 1] * g[2, 2]:
        raise BadInput(f"{name}: no cell has the angles {cell[3]:g}, {cell[4]:g}, {cell[5]:g}.")
    turned = np.einsum("nji,jk,nkl->nil", operations.rotations, g, operations.rotations)
    scale = np.sqrt(np.outer(g.diagonal(), g.diagonal()))
    if (np.abs(turned - g) / scale).max() > 0.01:
        raise BadInput(
            f"{name}: the cell {tuple(round(v, 4) for v in cell)} does not fit the symmetry operations: "
            "give the cell in the setting of the space group."
        )


def _images(operations: Operations, fractional: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Images of sites [s, 3] under all operations, [s, n, 3], not wrapped."""
    rotated = np.einsum("nij,sj->sni", operations.rotations.astype(np.float64), fractional)
    return rotated + operations.translations / TRANSLATION_DENOMINATOR


def stabiliser_orders(
    cell: tuple[float, ...], operations: Operations, fractional: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """[s] number of operations that leave each site in place, within SPECIAL_POSITION_TOLERANCE."""
    delta = _images(operations, fractional) - fractional[:, None, :]
    delta -= np.rint(delta)
    squared = np.einsum("sni,ij,snj->sn", delta, metric(cell), delta)
    return (squared < SPECIAL_POSITION_TOLERANCE**2).sum(axis=1)


def _distinct(points: npt.NDArray[np.float64], g: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    points = points % 1.0
    delta = points[:, None] - points[None]
    delta -= np.rint(delta)
    near = np.einsum("mni,ij,mnj->mn", delta, g, delta) < SPECIAL_POSITION_TOLERANCE**2
    return points[near.argmax(axis=1) == np.arange(len(points))]
