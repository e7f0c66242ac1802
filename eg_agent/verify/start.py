"""Where to start a fit: small strains of a given cell that put its lines on the observed peaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eg_agent.verify.data import Peaks
from eg_agent.verify.lines import Lines

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Start:
    """A starting point: strains [n_free] of the free metric parameters, zero shift, and its score.

    score: share (0 to 1) of the peaks' weight that lines explain, less what chance would explain and
    less a penalty for large strains.
    """

    strain: Floats
    zero: float
    score: float


def two_theta(q: Floats, wavelength: float) -> Floats:
    """Degrees 2-theta of 1/d^2 = q (1/angstrom^2); 180 where the wavelength does not reach."""
    return np.degrees(2.0 * np.arcsin(np.clip(0.5 * wavelength * np.sqrt(np.maximum(q, 0.0)), 0.0, 1.0)))


def _trials(
    n_free: int, shear: npt.NDArray[np.bool_], n: int, max_strain: float, max_zero: float
) -> tuple[Floats, Floats]:
    """Strains [n, n_free] and zero shifts [n]: nothing, isotropic scales, and random ones of two sizes."""
    rng = np.random.default_rng(20250101)
    length = ~shear
    isotropic = np.linspace(-max_strain, max_strain, 41)
    zeros = np.linspace(-max_zero, max_zero, 5)
    grid_s, grid_z = (a.ravel() for a in np.meshgrid(isotropic, zeros))
    first = np.outer(grid_s, length.astype(float))
    size = np.where(rng.random(n) < 0.5, 0.15, 0.45)[:, None] * max_strain
    common = rng.standard_normal((n, 1)) * size * length
    second = common + 0.7 * size * rng.standard_normal((n, n_free))
    zero = np.concatenate([[0.0], grid_z, rng.standard_normal(n) * 0.35 * max_zero])
    return np.concatenate([np.zeros((1, n_free)), first, second]), zero


def search(
    peaks: Peaks,
    lines: Lines,
    free: Floats,
    scale: Floats,
    basis: Floats,
    wavelength: float,
    fwhm: float,
    *,
    max_strain: float = 0.05,
    max_zero: float = 0.25,
    n_trials: int = 1500,
    n_best: int = 3,
) -> list[Start]:
    """The best distinct starts, best first; the unstrained cell, with and without a shift, is among them.

    free: [n_free] metric parameters of the given cell; scale: [n_free] what a strain of 1 adds to
    them; basis: [6, n_free]. max_strain bounds strains of 1/d^2 (twice those of lengths).
    """
    at, weight = _strongest(peaks)
    if at.size == 0:
        return [Start(np.zeros(free.size), 0.0, 0.0)]
    design = lines.tensor @ basis
    shear = np.any(basis[3:] != 0.0, axis=0) & np.all(basis[:3] == 0.0, axis=0)
    strain, zero = _trials(free.size, shear, n_trials, max_strain, max_zero)
    tolerance = max(0.6 * fwhm, 0.03)

    def score(strain: Floats, zero: Floats, tolerance: float) -> Floats:
        position = two_theta((free + strain * scale) @ design.T, wavelength) + zero[:, None]
        position.sort(axis=1)
        gap = np.empty((strain.shape[0], at.size))
        local = np.empty_like(gap)
        for row in range(strain.shape[0]):
            place = np.searchsorted(position[row], at)
            after = position[row][np.minimum(place, position.shape[1] - 1)]
            before = position[row][np.maximum(place - 1, 0)]
            gap[row] = np.minimum(np.abs(after - at), np.abs(at - before))
            wide = np.searchsorted(position[row], at + 1.5) - np.searchsorted(position[row], at - 1.5)
            local[row] = wide / 3.0
        # Kα: chance alone would put a line within reach of a peak this often
        chance = 1.0 - np.exp(-2.5 * tolerance * local)
        hit = np.exp(-0.5 * (gap / tolerance) ** 2)
        gain = ((hit - chance) * weight).sum(axis=1) / weight.sum()
        cost = 0.5 * np.sum((strain / (0.2 * max_strain)) ** 2, axis=1) + 0.5 * (zero / (0.4 * max_zero)) ** 2
        return gain - 0.03 * cost

    total = score(strain, zero, tolerance)
    order = np.argsort(-total, kind="stable")[:12]
    rng = np.random.default_rng(7)
    for size in (0.25, 0.08):
        near = np.repeat(strain[order], 25, axis=0)
        near_zero = np.repeat(zero[order], 25)
        spread = size * max(2.0 * tolerance / max(float(np.median(at)), 5.0), 1e-4)
        near = near + spread * rng.standard_normal(near.shape)
        near_zero = near_zero + size * tolerance * rng.standard_normal(near_zero.size)
        strain = np.concatenate([strain[order], near])
        zero = np.concatenate([zero[order], near_zero])
        total = score(strain, zero, tolerance)
        order = np.argsort(-total, kind="stable")[:12]
    chosen: list[Start] = []
    for i in order:
        new = Start(strain[i], float(zero[i]), float(total[i]))
        if all(np.max(np.abs(new.strain - old.strain)) > 0.002 for old in chosen):
            chosen.append(new)
        if len(chosen) == n_best:
            break
    shift = np.linspace(-max_zero, max_zero, 41)
    given = score(np.zeros((shift.size, free.size)), shift, tolerance)
    chosen += [
        Start(np.zeros(free.size), float(shift[i]), float(given[i]))
        for i in dict.fromkeys((shift.size // 2, int(np.argmax(given))))
    ]
    return sorted(chosen, key=lambda s: -s.score)


def _strongest(peaks: Peaks, n: int = 30) -> tuple[Floats, Floats]:
    """Positions and weights of the peaks to place: the n strongest of those at low angle."""
    if peaks.two_theta.size == 0:
        return np.zeros(0), np.zeros(0)
    low = np.argsort(peaks.two_theta)[: 2 * n]
    chosen = np.sort(low[np.argsort(-peaks.height[low])[:n]])
    weight = np.sqrt(peaks.height[chosen] / peaks.height[chosen].max())
    return peaks.two_theta[chosen], weight
