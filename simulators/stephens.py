"""Anisotropic strain after Stephens (J. Appl. Cryst. 32 (1999) 281): widths that depend on hkl.

The spread of M = 1/d^2 over crystallites has the variance sum S_HKL h^H k^K l^L over the 15 monomials of
order four. Symmetry leaves 2 of them independent in cubic crystals and all 15 in triclinic ones. Here the
relations are computed from the rotations themselves, so they hold in any setting.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from simulators.crystal import Operations, metric

FloatArray = npt.NDArray[np.float64]
Powers = tuple[int, int, int]

#: The 15 monomials, in the order in which independent ones are chosen; it gives the names of Stephens'
#: table 1 in standard settings.
MONOMIALS: tuple[Powers, ...] = (
    (4, 0, 0), (0, 4, 0), (0, 0, 4), (2, 2, 0), (2, 0, 2), (0, 2, 2), (3, 1, 0), (3, 0, 1),
    (1, 3, 0), (1, 0, 3), (0, 3, 1), (0, 1, 3), (2, 1, 1), (1, 2, 1), (1, 1, 2),
)  # fmt: skip


def monomials(hkl: npt.ArrayLike) -> FloatArray:
    """[..., 15] values of the monomials at hkl [..., 3]."""
    h = np.asarray(hkl, dtype=np.float64)
    return np.stack([h[..., 0] ** a * h[..., 1] ** b * h[..., 2] ** c for a, b, c in MONOMIALS], axis=-1)


@lru_cache(maxsize=512)
def _relations(rotations: bytes) -> tuple[tuple[Powers, ...], FloatArray]:
    turns = np.frombuffer(rotations, dtype=np.int64).reshape(-1, 3, 3)
    # Quartic forms are known by their values at enough points; the mean over the group projects on the
    # forms that it leaves as they are.
    points = np.random.default_rng(4).integers(-7, 8, size=(40, 3)).astype(np.float64)
    here = monomials(points)
    mean = monomials(np.einsum("pi,nij->npj", points, turns.astype(np.float64))).mean(axis=0)
    projector = np.linalg.lstsq(here, mean, rcond=None)[0].T  # acts on coefficients from the right
    basis = _reduced(projector)
    return tuple(MONOMIALS[int((row != 0).argmax())] for row in basis), basis


def _reduced(matrix: FloatArray) -> FloatArray:
    """Reduced row echelon form without zero rows."""
    rows, rank = matrix.copy(), 0
    for column in range(rows.shape[1]):
        if rank == len(rows):
            break
        best = rank + int(np.abs(rows[rank:, column]).argmax())
        if abs(rows[best, column]) < 1e-8:
            continue
        rows[[rank, best]] = rows[[best, rank]]
        rows[rank] /= rows[rank, column]
        others = np.arange(len(rows)) != rank
        rows[others] -= rows[others, column, None] * rows[rank]
        rank += 1
    reduced = rows[:rank]
    reduced[np.abs(reduced) < 1e-9] = 0.0
    return reduced


def independent_terms(operations: Operations) -> tuple[Powers, ...]:
    """The terms that may be chosen: (4, 0, 0) and (2, 2, 0) in cubic crystals, all 15 in triclinic ones."""
    return _relations(np.ascontiguousarray(operations.laue_rotations).tobytes())[0]


def invariant_forms(operations: Operations) -> FloatArray:
    """[t, 15] coefficients: the quartic form that each independent term stands for."""
    return _relations(np.ascontiguousarray(operations.laue_rotations).tobytes())[1]


@dataclass(frozen=True)
class AnisotropicStrain:
    """Stephens' anisotropic strain.

    terms: ((H, K, L), S_HKL) of independent terms of the crystal's Laue class (`independent_terms`), in
    1/angstrom^4: variance-like squares of a full width of 1/d^2. The rest follow by symmetry.
    gaussian: share of the width that is Gaussian, 1 - zeta in Stephens' notation.
    """

    terms: tuple[tuple[Powers, float], ...]
    gaussian: float = 0.0

    def __post_init__(self) -> None:
        for powers, value in self.terms:
            if tuple(powers) not in MONOMIALS or not np.isfinite(value):
                raise BadInput(
                    f"strain term {powers}: {value} is none: give powers that sum to 4, and a number."
                )
        if not 0 <= self.gaussian <= 1:
            raise BadInput(f"the Gaussian share {self.gaussian:g} is not between 0 and 1.")

    def coefficients(self, operations: Operations) -> FloatArray:
        """[15] coefficients of all monomials; raises BadInput for a term that is not free."""
        free, forms = independent_terms(operations), invariant_forms(operations)
        total = np.zeros(len(MONOMIALS))
        for powers, value in self.terms:
            if tuple(powers) not in free:
                names = ", ".join("S" + "".join(map(str, p)) for p in free)
                raise BadInput(
                    f"strain term S{''.join(map(str, powers))} is not free in this Laue class: give {names}."
                )
            total += value * forms[free.index(tuple(powers))]
        return total

    def spread(
        self, cell: tuple[float, ...], operations: Operations, hkl: npt.NDArray[np.int64]
    ) -> FloatArray:
        """Full width [k] of 1/d^2 over 1/d^2, for reflections hkl [k, 3].

        tan(theta) times it is the full width of 2-theta in radians.

        Raises BadInput when the variance is negative for one of them.
        """
        variance = monomials(hkl) @ self.coefficients(operations)
        h = hkl.astype(np.float64)
        inverse_d2 = np.einsum("ki,ij,kj->k", h, np.linalg.inv(metric(cell)), h)
        if (variance < -1e-9 * np.abs(variance).max(initial=0.0)).any():
            worst = tuple(int(v) for v in hkl[variance.argmin()])
            raise BadInput(
                f"the strain terms give reflection {worst} a negative variance: change their signs."
            )
        return np.sqrt(np.maximum(variance, 0.0)) / inverse_d2
