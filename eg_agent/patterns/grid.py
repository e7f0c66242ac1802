"""`Grid`: the canonical coordinate that the network sees, for any wavelength, step and range."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from eg_agent.errors import BadInput
from eg_agent.patterns.coordinate import change_wavelength
from eg_agent.patterns.coverage import measured_intervals
from eg_agent.patterns.pattern import Pattern
from eg_agent.patterns.radiation import CU_KALPHA1
from eg_agent.values import VALUE_CONFIG


@dataclass(frozen=True, eq=False, slots=True)
class Projected:
    """A pattern on a `Grid`.

    intensity: float32 [L], largest covered value 1, exactly 0 where not covered. Background is left
        in; values can be slightly negative where a background was subtracted before.
    coverage: bool [L], where the pattern says something.
    """

    intensity: npt.NDArray[np.float32]
    coverage: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Grid:
    """Points uniform in Cu K-alpha1-equivalent 2-theta.

    two_theta_min, two_theta_max: first and last point, degrees. length: number of points L.

    A measured angle gets there by sin(theta) / wavelength, with the intensity-weighted mean
    wavelength of a doublet, so that a d-spacing falls on the same point whatever it was measured with.

    A grid value is the mean of the measured curve (straight lines between points) over the cell of one
    grid step around the point: an average where the measurement is finer than the grid, an
    interpolation where it is coarser. The curve is counts a second (intensity where no counting time
    is known): heights and background keep their proportions, and parts counted longer do not stand
    out. No Jacobian is applied: a step in angle becomes a different step on the grid for
    another wavelength, but the height of a peak against its background stays what was measured.
    Within a cell, points weigh by their counting time, which is the Poisson optimum.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    two_theta_min: float = 5.0
    two_theta_max: float = 90.0
    length: int = 4096

    def __post_init__(self) -> None:
        if not 0.0 < self.two_theta_min < self.two_theta_max < 180.0:
            raise BadInput(
                f"grid range {self.two_theta_min:g}-{self.two_theta_max:g} is not inside 0-180 degrees: "
                "give two_theta_min < two_theta_max."
            )
        if self.length < 2:
            raise BadInput(f"a grid of {self.length} points is too short: give at least 2.")

    @property
    def step(self) -> float:
        """Distance between grid points, Cu K-alpha1-equivalent degrees."""
        return (self.two_theta_max - self.two_theta_min) / (self.length - 1)

    @cached_property
    def two_theta(self) -> npt.NDArray[np.float64]:
        """[L] Cu K-alpha1-equivalent degrees, read-only."""
        return _frozen(np.linspace(self.two_theta_min, self.two_theta_max, self.length))

    @cached_property
    def sin2theta(self) -> npt.NDArray[np.float64]:
        """[L] sin^2(theta) at Cu K-alpha1, read-only; divide by its wavelength squared for 1 / (4 d^2)."""
        return _frozen(np.sin(np.radians(self.two_theta) / 2.0) ** 2)

    @cached_property
    def _edges(self) -> npt.NDArray[np.float64]:
        return _frozen(self.two_theta_min + self.step * (np.arange(self.length + 1) - 0.5))

    def measured_two_theta(self, wavelength: float) -> npt.NDArray[np.float64]:
        """[L] angles in degrees at which the grid points are seen with `wavelength`; NaN out of reach."""
        return change_wavelength(self.two_theta, CU_KALPHA1, wavelength)

    def position(self, two_theta: npt.ArrayLike, wavelength: float) -> npt.NDArray[np.float64]:
        """Fractional grid index [n] of angles [n] measured with `wavelength`; NaN out of reach."""
        return (change_wavelength(two_theta, wavelength) - self.two_theta_min) / self.step

    def project(self, pattern: Pattern) -> Projected:
        """The pattern on this grid.

        A grid point is covered when it lies in a run of measured points: within the windows of
        `pattern.covered`, and not in a gap (a step longer than 5 of its neighbours). Expects what
        `check` lets through: finite values, strictly increasing angles.
        """
        angle = change_wavelength(pattern.two_theta, pattern.radiation.mean_wavelength)
        inside = measured_intervals(pattern.two_theta, pattern.covered)
        value, weight = pattern.intensity, None
        if pattern.raw_counts and pattern.counting_time is not None:
            weight = pattern.counting_time
        reachable = np.isfinite(angle)
        if not reachable.all():
            angle, value, inside = angle[reachable], value[reachable], inside[reachable[1:]]
            weight = None if weight is None else weight[reachable]
        if angle.size < 2:
            return _nothing(self.length)

        coverage = self._covered(angle, inside)
        if not coverage.any():
            return _nothing(self.length)
        where = np.clip(np.searchsorted(angle, self._edges, side="right") - 1, 0, angle.size - 2)
        area = _cell_integrals(angle, value, inside, self._edges, where)
        base = _cell_integrals(angle, weight, inside, self._edges, where)
        coverage &= base > 0.0
        mean = np.divide(area, base, out=np.zeros(self.length), where=coverage)
        top = mean[coverage].max(initial=0.0)
        if top > 0.0:
            mean /= top
        return Projected(mean.astype(np.float32), coverage)

    def _covered(
        self, angle: npt.NDArray[np.float64], inside: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        x = self.two_theta
        slack = 1e-9 * (self.two_theta_max - self.two_theta_min)  # rounding of sin and arcsin
        after = np.searchsorted(angle, x + slack, side="right") - 1
        before = np.searchsorted(angle, x - slack, side="left") - 1
        # a grid point on a measured point belongs to the intervals on both of its sides
        result = np.zeros(x.size, dtype=bool)
        for index in (after, before):
            valid = (index >= 0) & (index < inside.size)
            result[valid] |= inside[index[valid]]
        return result


def _cell_integrals(
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64] | None,
    inside: npt.NDArray[np.bool_],
    edges: npt.NDArray[np.float64],
    where: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """Integral of straight lines through (x, y), or of 1, over each cell, measured intervals only.

    where: interval in which each edge lies, clipped to the first and last.
    """
    width = np.diff(x)
    total = np.zeros(x.size)
    t = np.clip(edges - x[where], 0.0, width[where])
    if y is None:
        np.cumsum(width * inside, out=total[1:])
        part = t
    else:
        slope = np.diff(y) / width
        np.cumsum(width * inside * (0.5 * (y[:-1] + y[1:])), out=total[1:])
        part = t * (y[where] + 0.5 * slope[where] * t)
    return np.diff(total[where] + part * inside[where])


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    frozen = np.array(array, dtype=np.float64)
    frozen.flags.writeable = False
    return frozen


def _nothing(length: int) -> Projected:
    return Projected(np.zeros(length, dtype=np.float32), np.zeros(length, dtype=bool))
