"""The diffractometer of the counted samples: where it counts, and what it has when it counts again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from eg_agent.decide import Costs
from trainer.benchmark.counted_samples import Measuring, Sample


@dataclass(frozen=True)
class Flat:
    """As many counts a second everywhere."""

    peak_rate: float = 100.0

    def __call__(self, two_theta: np.ndarray, /) -> np.ndarray:
        return np.full(two_theta.size, self.peak_rate)


SAMPLE = Sample(81, "flat", Flat(), (4.0, 4.0, 4.0, 90.0, 90.0, 90.0), seed=3)
COSTS = Costs(overhead=10.0, move_per_point=0.2, slew=0.5)
WINDOWS = ((20.0, 22.0), (30.0, 31.0))


def test_what_is_counted_again_adds_up_or_lies_between() -> None:
    for interleaved in (False, True):
        at = Measuring(SAMPLE, COSTS, 0.1, interleaved=interleaved)
        at.measure(WINDOWS, 1.0)
        assert at.pattern is not None
        first = at.pattern
        assert len(first) == 21 + 11
        took = at.measure(WINDOWS, 1.0)
        again = at.pattern
        assert again is not None
        assert again.counting_time is not None
        assert took == pytest.approx(COSTS.of(WINDOWS, 0.1, 1.0).seconds)
        if not interleaved:
            np.testing.assert_array_equal(again.two_theta, first.two_theta)
            assert (again.counting_time == 2.0).all()
            continue
        inside = again.two_theta < 25.0
        np.testing.assert_allclose(np.diff(again.two_theta[inside]), 0.05, atol=1e-6)
        assert (again.counting_time == 1.0).all()
        # no point outside what was asked for
        low, high = np.array(WINDOWS).T
        assert all(((x >= low - 1e-6) & (x <= high + 1e-6)).any() for x in again.two_theta)
        at.measure(WINDOWS, 2.0)
        third = at.pattern
        assert third is not None
        assert third.counting_time is not None
        assert len(third) == len(again)
        assert set(third.counting_time[np.isin(third.two_theta, first.two_theta)]) == {3.0}


def test_counts_are_of_the_rate_and_the_time() -> None:
    at = Measuring(SAMPLE, COSTS, 0.1, interleaved=True)
    for _ in range(2):
        at.measure(((10.0, 60.0),), 4.0)
    assert at.pattern is not None
    z = (at.pattern.intensity - 400.0) / 20.0
    assert abs(float(z.mean())) < 5.0 / np.sqrt(z.size)
    assert float(z.var()) == pytest.approx(1.0, abs=5.0 * np.sqrt(2.0 / z.size))
