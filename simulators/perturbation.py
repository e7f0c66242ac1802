"""Perturbed copies of a crystal that keep its symmetry: other cells and intensities, the same absences.

Strain is averaged over the point group, so the cell stays in its system; displacements over the
symmetry of each site, so atoms move along free Wyckoff parameters only; elements give way to others of
the same family and size, all sites of an element at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import gemmi
import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from simulators.crystal import (
    SPECIAL_POSITION_TOLERANCE,
    TRANSLATION_DENOMINATOR,
    Crystal,
    metric,
    stabiliser_orders,
)

#: Elements that replace each other in crystals: columns of the periodic table, and ions of one charge
#: and like radius (Shannon, Acta Cryst. A32 (1976) 751).
FAMILIES: tuple[tuple[str, ...], ...] = (
    ("Li", "Na", "K", "Rb", "Cs", "Tl"),
    ("Mg", "Ca", "Sr", "Ba", "Pb", "Eu"),
    ("Mg", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Cd"),
    ("Al", "Ga", "In", "Sc", "Cr", "Fe", "V", "Mn"),
    ("Y", "La", "Ce", "Pr", "Nd", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu"),
    ("Si", "Ge", "Sn"),
    ("Ti", "Zr", "Hf", "Sn"),
    ("P", "As", "V"),
    ("As", "Sb", "Bi"),
    ("Nb", "Ta", "V", "Sb"),
    ("Mo", "W", "Cr"),
    ("S", "Se", "Te"),
    ("F", "Cl", "Br", "I"),
    ("Cu", "Ag", "Au"),
    ("Zn", "Cd", "Hg"),
    ("Ni", "Pd", "Pt"),
    ("Co", "Rh", "Ir"),
    ("Fe", "Ru", "Os"),
    ("Th", "U", "Ce"),
)


@dataclass(frozen=True)
class Perturbation:
    """How far copies go.

    strain: standard deviation of the strain components (computed cells are 1-3 % off measured ones).
    displacement: standard deviation of each coordinate, angstrom; shifts end at three times this.
    substitution: probability that an element is replaced. radius_ratio: largest ratio of covalent
    radii of the two (gemmi); the cell grows by the mean ratio.
    vacancies: probability that one entry of the structure loses up to `vacancy_most` of its atoms.
    b_median, b_sigma: log-normal isotropic displacement parameters of each element, angstrom^2, kept
    within 0.1 to 5 (inorganic structures at room temperature: mostly 0.3 to 1.5).
    """

    strain: float = 0.01
    displacement: float = 0.06
    substitution: float = 0.3
    radius_ratio: float = 1.2
    vacancies: float = 0.3
    vacancy_most: float = 0.3
    b_median: float = 0.6
    b_sigma: float = 0.5

    def __post_init__(self) -> None:
        for name in ("substitution", "vacancies", "vacancy_most"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"{name} {getattr(self, name):g} is a share: give 0 to 1.")
        if min(self.strain, self.displacement, self.b_sigma) < 0 or not 0 <= self.strain <= 0.1:
            raise BadInput("strain must lie within 0 to 0.1, displacement and b_sigma at 0 or more.")
        if self.radius_ratio < 1 or not self.b_median > 0:
            raise BadInput("radius_ratio must be 1 or more, b_median above 0.")


def perturbed(
    crystal: Crystal, rng: np.random.Generator, how: Perturbation | None = None, *, name: str | None = None
) -> Crystal:
    """A copy of a crystal with the same operations and changed cell, sites, elements and parameters."""
    how = how or Perturbation()
    elements = _substituted(crystal, rng, how)
    radii = np.array([_radius(new) / _radius(old) for new, old in zip(elements, crystal.elements)])
    atoms = crystal.occupancy / crystal.stabilisers
    growth = float((radii * atoms).sum() / atoms.sum())
    cell = _strained(crystal, rng, how.strain, growth)
    fractional = _displaced(crystal, cell, rng, how.displacement)
    occupancy = crystal.occupancy.copy()
    if rng.random() < how.vacancies:
        entry = int(rng.integers(len(occupancy)))
        occupancy[entry] *= 1 - how.vacancy_most * rng.random()
    kinds = {e: how.b_median * np.exp(how.b_sigma * rng.standard_normal()) for e in sorted(set(elements))}
    changed = replace(
        crystal,
        cell=cell,
        elements=elements,
        fractional=fractional,
        occupancy=occupancy,
        b_iso=np.array([np.clip(kinds[e], 0.1, 5.0) for e in elements]),
        name=name or f"{crystal.name} ~",
    )
    if elements == crystal.elements:
        return changed
    return replace(changed, formula=_formula(changed))


def _radius(element: str) -> float:
    return gemmi.Element(element).covalent_r


def _formula(crystal: Crystal) -> str:
    from simulators.structures import reduced_formula

    amounts: dict[str, float] = {}
    for element, occupancy, order in zip(crystal.elements, crystal.occupancy, crystal.stabilisers):
        amounts[element] = amounts.get(element, 0.0) + float(occupancy) * len(crystal.operations) / int(order)
    return reduced_formula(amounts)


def _substituted(crystal: Crystal, rng: np.random.Generator, how: Perturbation) -> tuple[str, ...]:
    """Elements of all entries. Never one that the crystal holds already: symmetry might grow."""
    taken = set(crystal.elements)
    names: dict[str, str] = {}
    for element in sorted(taken):
        draw, pick = rng.random(), rng.random()
        near = _near(element, how.radius_ratio) - taken
        if draw < how.substitution and near:
            names[element] = sorted(near)[int(pick * len(near))]
            taken.add(names[element])
    return tuple(names.get(e, e) for e in crystal.elements)


def _near(element: str, ratio: float) -> set[str]:
    """Elements of a common family and of a like radius."""
    found = {other for family in FAMILIES if element in family for other in family}
    own = _radius(element)
    return {e for e in found - {element} if max(own / _radius(e), _radius(e) / own) <= ratio}


def _strained(
    crystal: Crystal, rng: np.random.Generator, sigma: float, growth: float
) -> tuple[float, float, float, float, float, float]:
    """A strained cell: the strained metric is averaged over the rotations, which keeps its system."""
    g = metric(crystal.cell)
    lattice = np.linalg.cholesky(g)
    strain = sigma * rng.standard_normal((3, 3)).clip(-2.5, 2.5)
    deformed = lattice @ (np.eye(3) + 0.5 * (strain + strain.T)) * growth
    changed = deformed @ deformed.T
    rotations = crystal.operations.laue_rotations.astype(np.float64)
    mean = np.einsum("nji,jk,nkl->il", rotations, changed, rotations) / len(rotations)
    edges = np.sqrt(mean.diagonal())
    cosines = [
        mean[1, 2] / edges[1] / edges[2],
        mean[0, 2] / edges[0] / edges[2],
        mean[0, 1] / edges[0] / edges[1],
    ]
    angles = np.degrees(np.arccos(cosines))
    return (*(float(v) for v in edges), *(float(v) for v in angles))  # pyright: ignore[reportReturnType]


def _displaced(
    crystal: Crystal, cell: tuple[float, ...], rng: np.random.Generator, sigma: float
) -> npt.NDArray[np.float64]:
    """Sites moved along their free parameters; entries of one mixed site move together.

    A site that would come so near to a special position that it would be taken for one stays.
    """
    lattice = np.linalg.cholesky(metric(cell))
    projectors, first = _projectors(crystal)
    length = sigma * rng.standard_normal((len(projectors), 3)).clip(-3, 3)
    shift = np.linalg.solve(lattice.T, length.T).T[first]
    moved = crystal.fractional + np.einsum("sij,sj->si", projectors, shift)
    same = stabiliser_orders(cell, crystal.operations, moved) == crystal.stabilisers
    return np.where((same & same[first])[:, None], moved, crystal.fractional)


def _projectors(crystal: Crystal) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """For each entry the mean rotation [3, 3] of its site symmetry, and the first entry at its position.

    Averaging a vector over a site's symmetry leaves the part along which the site may move.
    """
    rotations = crystal.operations.rotations.astype(np.float64)
    x = crystal.fractional
    delta = np.einsum("nij,sj->sni", rotations, x) - x[:, None]
    delta += crystal.operations.translations / TRANSLATION_DENOMINATOR
    delta -= np.rint(delta)
    g = metric(crystal.cell)
    fixes = np.einsum("sni,ij,snj->sn", delta, g, delta) < SPECIAL_POSITION_TOLERANCE**2
    mean = np.einsum("sn,nij->sij", fixes.astype(np.float64), rotations) / fixes.sum(axis=1)[:, None, None]
    apart = x[:, None] - x[None]
    apart -= np.rint(apart)
    together = np.einsum("abi,ij,abj->ab", apart, g, apart) < SPECIAL_POSITION_TOLERANCE**2
    return mean, together.argmax(axis=1)
