"""Errors of properties with intervals: bootstrap over reduced formulas, the same resamples for all rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trainer.metrics import Bootstrap, Interval

FloatVector = npt.NDArray[np.float64]


class PropertyBootstrap:
    """Resampled means over structures, formulas kept together. formulas: [n]."""

    def __init__(self, formulas: Sequence[str], *, resamples: int = 1000, seed: int = 0) -> None:
        self.bootstrap = Bootstrap(formulas, resamples=resamples, seed=seed)

    def draws(self, values: npt.ArrayLike) -> FloatVector:
        """[resamples + 1] means of values [n] where they are finite; the first is the sample's own."""
        values = np.asarray(values, dtype=np.float64)
        known = np.isfinite(values)
        columns = np.column_stack([np.where(known, values, 0.0), known.astype(np.float64)])
        total, count = self.bootstrap.sums(columns).T
        return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)

    def mean(self, values: npt.ArrayLike) -> Interval:
        """The mean and its 95 % interval; NaN where no value is known."""
        return self.interval(self.draws(values))

    def interval(self, draws: FloatVector) -> Interval:
        """The first of `draws` and the percentiles of the others."""
        return self.bootstrap.interval(draws)


def as_json(interval: Interval) -> dict[str, float | None]:
    """Three numbers by name, None where there is none."""
    return {
        name: round(value, 6) if np.isfinite(value) else None
        for name, value in zip(("value", "low", "high"), (interval.value, interval.low, interval.high))
    }


def power_law(sizes: FloatVector, errors: FloatVector) -> tuple[float, float]:
    """(a, b) of error = a size^-b, by least squares of the logarithms."""
    slope, intercept = np.polyfit(np.log(sizes), np.log(errors), 1)
    return float(np.exp(intercept)), float(-slope)


def crossing(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Size from which on the first of two power laws (a, b) is below the second; NaN where it never is."""
    (a, b), (c, d) = first, second
    if b <= d:
        return float("nan")
    return float(np.exp((np.log(a) - np.log(c)) / (b - d)))
