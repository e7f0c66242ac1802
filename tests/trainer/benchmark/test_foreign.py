"""Intervals of a rate that was seen in few samples."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from trainer.benchmark.foreign import clopper_pearson


@pytest.mark.parametrize(("seen", "n"), [(0, 49), (3, 20), (20, 20), (1, 2)])
def test_interval_is_clopper_and_pearsons(seen: int, n: int) -> None:
    exact = binomtest(seen, n).proportion_ci(0.95, method="exact")
    assert clopper_pearson(seen / n, n) == pytest.approx([exact.low, exact.high])
