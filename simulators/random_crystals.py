"""Random crystals of a given space group, for groups that real structures hardly fill.

At least one orbit is on the general position, so that the whole space group shows (arXiv:2604.23811
accepts its PyXtal crystals by the same rule); other orbits may sit on special positions, found as
fixed points of random operations. Cells have realistic volumes (10-25 angstrom^3 an atom in
inorganic crystals; about 18 angstrom^3 a non-hydrogen atom in molecular ones: Kempster and Lipson,
Acta Cryst. B28 (1972) 3674) and atoms keep apart, loosely.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from simulators.crystal import (
    TRANSLATION_DENOMINATOR,
    Crystal,
    Operations,
    metric,
    operations_from_hall,
    stabiliser_orders,
)
from simulators.structures import reduced_formula

Style = Literal["inorganic", "molecular"]

#: Cations and anions of inorganic structures with rough relative frequencies in structure databases
#: (oxides and main-group and first-row metals lead); only the order of magnitude matters here.
_CATIONS: dict[str, float] = {
    "Li": 3, "Na": 5, "K": 5, "Mg": 5, "Ca": 6, "Sr": 4, "Ba": 5, "Al": 6, "Si": 8, "P": 6, "B": 3, "Ti": 4,
    "V": 3, "Cr": 2, "Mn": 4, "Fe": 6, "Co": 3, "Ni": 3, "Cu": 5, "Zn": 4, "Ga": 2, "Ge": 3, "As": 3, "Y": 2,
    "Zr": 2, "Nb": 2, "Mo": 2, "Pd": 1, "Ag": 2, "Cd": 2, "In": 2, "Sn": 2, "Sb": 3, "Te": 2, "La": 2,
    "Ce": 1, "Nd": 1, "Gd": 1, "Yb": 1, "W": 1, "Pt": 1, "Au": 1, "Hg": 1, "Tl": 1, "Pb": 3, "Bi": 2, "U": 1,
}  # fmt: skip
_ANIONS: dict[str, float] = {"O": 55, "S": 10, "Se": 6, "F": 8, "Cl": 8, "Br": 4, "I": 3, "N": 4, "H": 2}
_METALS = ("Zn", "Cu", "Co", "Ni", "Fe", "Mn", "Cd", "Zr", "Pd", "Ag", "Pt")


@lru_cache(maxsize=1)
def _first_hall() -> dict[int, int]:
    """First Hall number of each space group: unique axis b, origin choice 1, hexagonal axes for R."""
    import spglib

    first: dict[int, int] = {}
    for hall in range(1, 531):
        kind = spglib.get_spacegroup_type(hall)
        if kind is not None:
            first.setdefault(int(kind.number), hall)
    return first


def standard_operations(space_group: int) -> Operations:
    """Operations of the standard setting of a space group (1-230)."""
    if not 1 <= space_group <= 230:
        raise BadInput(f"space group {space_group} is not between 1 and 230.")
    return operations_from_hall(_first_hall()[space_group])


def random_crystal(
    space_group: int, rng: np.random.Generator, style: Style = "inorganic", *, max_atoms: int = 200
) -> Crystal:
    """A random crystal of a space group (1-230), in its standard setting.

    max_atoms: aimed-at bound on atoms in the primitive cell; one general orbit is always placed.
    The same `rng` state gives the same crystal.
    """
    operations = standard_operations(space_group)
    primitive = len(operations.cosets[0])
    elements = _composition(rng, style)
    general, special = _orbit_counts(rng, style, primitive, max_atoms)
    per_atom = rng.uniform(10, 25) if style == "inorganic" else rng.uniform(16, 21)
    # Special orbits hold fewer atoms than general ones; a third is near the mean over all groups.
    atoms = primitive * (general + special / 3)
    volume = atoms * per_atom * len(operations) / primitive
    cell = random_cell(space_group, volume, rng)
    positions, kinds = _place(cell, operations, general, special, 0.62 * per_atom ** (1 / 3), elements, rng)
    order = stabiliser_orders(cell, operations, positions)
    amounts: dict[str, float] = {}
    for element, stabiliser in zip(kinds, order):
        amounts[element] = amounts.get(element, 0.0) + len(operations) / int(stabiliser)
    base = rng.uniform(0.3, 1.2) if style == "inorganic" else rng.uniform(2.0, 5.0)
    return Crystal(
        cell=cell,
        operations=operations,
        elements=tuple(kinds),
        fractional=positions,
        occupancy=np.ones(len(kinds)),
        b_iso=base * rng.uniform(0.7, 1.4, len(kinds)).round(1),
        space_group=space_group,
        name=f"random {style} {space_group}",
        formula=reduced_formula(amounts),
    )


def _composition(rng: np.random.Generator, style: Style) -> list[tuple[str, float]]:
    """Elements with their share of the sites."""
    if style == "molecular":
        metal = [(str(rng.choice(_METALS)), 0.04)] if rng.random() < 0.4 else []
        return [("C", 0.65), ("O", 0.2), ("N", 0.12), (str(rng.choice(["S", "Cl", "F", "Br"])), 0.02), *metal]
    names = np.array(list(_CATIONS))
    weights = np.array(list(_CATIONS.values()), dtype=float)
    count = int(rng.choice([1, 2, 3], p=[0.45, 0.4, 0.15]))
    cations = rng.choice(names, size=count, replace=False, p=weights / weights.sum())
    if rng.random() < 0.2:  # alloys and elements
        return [(str(c), 1.0 / count) for c in cations]
    share = rng.uniform(0.4, 0.75)
    anion_weights = np.array(list(_ANIONS.values()), dtype=float)
    anion = str(rng.choice(list(_ANIONS), p=anion_weights / anion_weights.sum()))
    return [(anion, share), *((str(c), (1 - share) / count) for c in cations)]


def _orbit_counts(rng: np.random.Generator, style: Style, primitive: int, max_atoms: int) -> tuple[int, int]:
    """Numbers of general and of special orbits. Small groups need two general orbits or more, or the
    orbit itself has a higher symmetry (a single orbit of P1 is a lattice)."""
    most = max(1, max_atoms // primitive)
    least = 3 if primitive <= 2 else 2 if primitive <= 8 else 1
    if style == "molecular":
        wanted = int(rng.integers(10, 46))
        return max(least, min(wanted, most)), int(rng.random() < 0.15)
    wanted = 1 + rng.geometric(0.35 if primitive <= 4 else 0.55 if primitive <= 16 else 0.9)
    general = int(max(least, min(wanted, most)) if primitive <= 24 else max(1, min(wanted - 1, most)))
    return general, int(rng.integers(0, 5))


def random_cell(
    space_group: int, volume: float, rng: np.random.Generator
) -> tuple[float, float, float, float, float, float]:
    """A cell of the volume (angstrom^3) that fits the space group's standard setting."""
    ratio = np.exp(rng.normal(0, 0.35, 3))
    angles = np.array([90.0, 90.0, 90.0])
    if space_group <= 2:
        while True:
            angles = rng.uniform(70, 115, 3)
            c = np.cos(np.radians(angles))
            if 1 - (c * c).sum() + 2 * c.prod() > 0.3:
                break
    elif space_group <= 15:
        angles[1] = 90 + abs(rng.normal(0, 14)) % 40
    elif 75 <= space_group <= 142:
        ratio[1] = ratio[0]
    elif 143 <= space_group <= 194:
        ratio[1] = ratio[0]
        angles[2] = 120.0
    elif space_group >= 195:
        ratio[:] = 1.0
    unit = np.linalg.det(metric((*ratio, *angles))) ** 0.5
    edges = ratio * (volume / unit) ** (1 / 3)
    return (*(float(v) for v in edges), *(float(v) for v in angles))  # pyright: ignore[reportReturnType]


def _place(
    cell: tuple[float, ...],
    operations: Operations,
    general: int,
    special: int,
    distance: float,
    composition: list[tuple[str, float]],
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.float64], list[str]]:
    """Positions [n, 3] and elements [n] of the sites: general orbits first, then special ones."""
    g = metric(cell)
    rotations = operations.rotations.astype(np.float64)
    shifts = operations.translations / TRANSLATION_DENOMINATOR
    names = [name for name, _ in composition]
    shares = np.array([share for _, share in composition])
    atoms = np.empty((0, 3))
    positions: list[npt.NDArray[np.float64]] = []
    kinds: list[str] = []
    for index in range(general + special):
        is_general = index < general
        candidates = rng.random((24, 3))
        if not is_general:
            candidates = _fixed_points(candidates, rotations, shifts, rng)
            if not len(candidates):
                continue
        images = np.einsum("nij,cj->cni", rotations, candidates) + shifts
        delta = images - candidates[:, None]
        delta -= np.rint(delta)
        own = np.einsum("cni,ij,cnj->cn", delta, g, delta)
        if not is_general:
            own[own < 1e-6] = np.inf  # the site symmetry itself
        else:
            identity = (rotations == np.eye(3)).all(axis=(1, 2)) & ~shifts.any(axis=1)
            own[:, identity] = np.inf
        nearest = own.min(axis=1)
        if len(atoms):
            delta = candidates[:, None] - atoms[None]
            delta -= np.rint(delta)
            nearest = np.minimum(nearest, np.einsum("cmi,ij,cmj->cm", delta, g, delta).min(axis=1))
        enough = nearest > distance**2
        best = int(enough.argmax()) if enough.any() else int(nearest.argmax())
        if not is_general and nearest[best] < (0.6 * distance) ** 2:
            continue
        positions.append(candidates[best] % 1.0)
        # The first orbits take each element once, so that no crystal misses its composition.
        chosen = (
            index if index < len(names) and general > 1 else rng.choice(len(names), p=shares / shares.sum())
        )
        kinds.append(names[int(chosen)])
        atoms = np.concatenate([atoms, images[best] % 1.0])
    return np.array(positions), kinds


def _fixed_points(
    points: npt.NDArray[np.float64],
    rotations: npt.NDArray[np.float64],
    shifts: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Points moved onto fixed points of one or two random operations; those that fail are dropped.

    Averaging a point with its nearest image under an operation, over the operation's cycle, gives a
    fixed point when the operation is not a screw or a glide.
    """
    points = points.copy()
    for _ in range(int(rng.integers(1, 3))):
        chosen = (
            rng.integers(1, len(rotations), len(points)) if len(rotations) > 1 else np.zeros(len(points), int)
        )
        rotation, shift = rotations[chosen], shifts[chosen]
        image = np.einsum("nij,nj->ni", rotation, points) + shift
        shift = shift - np.rint(image - points)
        total, current = points.copy(), points.copy()
        power = rotation.copy()
        length = np.ones(len(points))
        done = (power == np.eye(3)).all(axis=(1, 2))
        for _ in range(11):  # orders are 1, 2, 3, 4 or 6
            current = np.einsum("nij,nj->ni", rotation, current) + shift
            total += np.where(done[:, None], 0.0, current)
            length += ~done
            power = power @ rotation
            done |= (power == np.eye(3)).all(axis=(1, 2))
        moved = total / length[:, None]
        back = np.einsum("nij,nj->ni", rotation, moved) + shift
        moves = np.abs(back - moved).max(axis=1) < 1e-6
        identity = (rotation == np.eye(3)).all(axis=(1, 2))
        points = np.where((moves & ~identity)[:, None], moved, points)
    # Keep those that some operation other than the identity fixes.
    image = np.einsum("nij,cj->cni", rotations, points) + shifts - points[:, None]
    fixed = (np.abs(image - np.rint(image)) < 1e-6).all(axis=2).sum(axis=1)
    return points[fixed > 1]
