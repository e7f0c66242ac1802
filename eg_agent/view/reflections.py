"""Reflections in a picture: tick rows, and the ones that decide, with labels that do not overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eg_agent.errors import BadInput
from eg_agent.symmetry import Setting, absence_free, settings_of_lattice, unique_reflections
from eg_agent.view.style import AGAINST, FOR, FloatVector, finite_range

if TYPE_CHECKING:
    from eg_agent.identify.identification import Identification
    from eg_agent.patterns.pattern import Pattern
    from eg_agent.verify.evidence import CandidateEvidence, DecidingReflection, Evidence

# More ticks than this are a grey bar and nothing else.
_MOST_TICKS = 3000


@dataclass(frozen=True)
class Ticks:
    """Positions, degrees 2-theta, of lines that a setting allows and of those that it forbids."""

    allowed: FloatVector
    forbidden: FloatVector


def leading_candidate(identification: Identification) -> CandidateEvidence | None:
    """The evidence of the first group of the answer; of the best one of the fit where it has none."""
    evidence = identification.evidence
    if evidence is None or not evidence.candidates:
        return None
    if identification.top:
        first = identification.top[0].group
        for candidate in evidence.candidates:
            if candidate.group == first:
                return candidate
    return evidence.candidates[0]


def ticks_of(pattern: Pattern, evidence: Evidence, candidate: CandidateEvidence) -> Ticks | None:
    """Line positions in the range of the pattern; None when the cell says nothing of them."""
    if evidence.cell is None or evidence.lattice is None:
        return None
    axis = _unique_axis(evidence.cell)
    low, high = finite_range(pattern)
    wavelength = pattern.radiation.wavelength
    d_min = wavelength / (2 * np.sin(np.radians(min(high, 179.0) / 2)))
    d_max = wavelength / (2 * np.sin(np.radians(max(low, 0.1) / 2)))
    try:
        setting = _setting(evidence.lattice, axis, candidate)
        allowed = unique_reflections(evidence.cell, setting, d_min, d_max)
        lattice = unique_reflections(evidence.cell, absence_free(evidence.lattice, axis), d_min, d_max)
    except BadInput:
        return None
    if len(lattice) > _MOST_TICKS:
        return None
    kept = {tuple(hkl) for hkl in allowed.hkl.tolist()}
    lost = np.array([tuple(hkl) not in kept for hkl in lattice.hkl.tolist()], dtype=bool)
    # An orbit that is partly absent is represented by another member: it is allowed where d agrees.
    lost &= ~np.isclose(lattice.d[:, None], allowed.d[None, :], rtol=1e-9).any(axis=1)

    def angle(d: FloatVector) -> FloatVector:
        return np.degrees(2 * np.arcsin(np.clip(wavelength / (2 * d), 0, 1))) + evidence.zero_shift

    return Ticks(angle(allowed.d), angle(lattice.d[lost]))


def _unique_axis(cell: tuple[float, ...]) -> str:
    """The axis of a monoclinic cell by its angles; b where all are right angles."""
    off = [abs(angle - 90.0) for angle in cell[3:]]
    return "abc"[int(np.argmax(off))] if max(off) > 1e-6 else "b"


def _setting(lattice: str, axis: str, candidate: CandidateEvidence) -> Setting:
    for setting in settings_of_lattice(lattice, axis):
        if setting.group == candidate.group and setting.symbol == candidate.symbol:
            return setting
    raise BadInput(f"{candidate.symbol} is no setting of lattice {lattice}")


def decisive(pattern: Pattern, candidate: CandidateEvidence, count: int) -> list[DecidingReflection]:
    """The reflections in range with the largest odds either way, by ascending angle."""
    low, high = finite_range(pattern)
    inside = [r for r in candidate.deciding if low <= r.two_theta <= high and np.isfinite(r.log_odds)]
    # One place in the pattern is one thing to look at: close neighbours of a stronger one are left out.
    chosen: list[DecidingReflection] = []
    for reflection in sorted(inside, key=lambda r: -abs(r.log_odds)):
        if abs(reflection.log_odds) >= 0.05 and all(
            abs(reflection.two_theta - other.two_theta) > 0.05 for other in chosen
        ):
            chosen.append(reflection)
    return sorted(chosen[:count], key=lambda r: r.two_theta)


def spell_hkl(hkl: tuple[int, int, int]) -> str:
    """Indices as mathtext, negative ones with a bar: "1 -1 2" as 1 1̄ 2."""
    parts = [rf"\bar{{{-i}}}" if i < 0 else str(i) for i in hkl]
    separator = r"\," if all(abs(i) < 10 for i in hkl) else r"\;"
    return f"${separator.join(parts)}$"


def spell_odds(log_odds: float) -> str:
    """Nats with their sign; for the candidate +, against it −."""
    sign = "+" if log_odds >= 0 else "−"
    return f"{sign}{abs(log_odds):.1f}" if abs(log_odds) < 99.95 else f"{sign}{abs(log_odds):.0f}"


def colour_of(reflection: DecidingReflection) -> str:
    """Colour of what speaks for the candidate, or against it."""
    return FOR if reflection.log_odds >= 0 else AGAINST


def spread(positions: FloatVector, separation: float, low: float, high: float) -> FloatVector:
    """Positions, ascending, moved as little as may be so that neighbours are `separation` apart.

    Least squares under the constraints, by pooling neighbours that collide. All fit into [low, high]
    when there is room, else they are spaced evenly.
    """
    n = len(positions)
    if n == 0:
        return positions
    if (n - 1) * separation >= high - low:
        if n == 1:
            return np.minimum(np.maximum(positions, low), high)
        return low + (high - low) * np.arange(n) / (n - 1)
    offsets = np.arange(n) * separation
    blocks: list[tuple[float, int]] = []  # mean of (position - offset) and size
    for value in positions - offsets:
        mean, size = float(value), 1
        while blocks and blocks[-1][0] > mean:
            other, count = blocks.pop()
            mean, size = (mean * size + other * count) / (size + count), size + count
        blocks.append((mean, size))
    means = np.array([mean for mean, _ in blocks], dtype=np.float64)
    fitted = np.repeat(means, [size for _, size in blocks]).clip(low, high - float(offsets[-1]))
    return np.asarray(fitted + offsets, dtype=np.float64)
