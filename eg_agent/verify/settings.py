"""Settings of the verifier, in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VerifySettings:
    """Bounds of a verification.

    time_limit: seconds for the whole of it; refinement stops early when it is near.
    max_lines: lines of the lattice that are fitted at most, from low angle.
    max_crowding: the fitted range ends where more lines than this fall on one FWHM, on average.
    max_rwp: per cent, background left out of the denominator; above it the answer is "not fitted".
    min_explained: share of the area above background that the lines must explain.
    max_length_change: relative, by which refined cell lengths may differ from the given ones.
    n_deciding: reflections listed for each of the `n_leading` best candidates.
    """

    time_limit: float = 3.0
    max_lines: int = 300
    max_crowding: float = 1.5
    max_rwp: float = 45.0
    min_explained: float = 0.75
    max_length_change: float = 0.03
    spline_spacing: float = 8.0
    max_steps: int = 14
    n_deciding: int = 12
    n_leading: int = 8
