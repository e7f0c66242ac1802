"""Numbers by hashing: uniform, independent, Poisson where asked, and the same in any batch."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from simulators.counter_random import CounterRandom


def test_a_number_depends_on_seed_pattern_purpose_and_element_alone():
    whole = CounterRandom(3, torch.arange(100)).uniform(7, 50)
    part = CounterRandom(3, torch.tensor([41, 17])).uniform(7, 20)
    assert torch.equal(part, whole[[41, 17], :20])
    assert torch.equal(CounterRandom(3, torch.arange(100)).uniform(7), whole[:, 0])
    assert not torch.equal(CounterRandom(4, torch.arange(100)).uniform(7, 50), whole)
    assert not torch.equal(CounterRandom(3, torch.arange(100)).uniform(8, 50), whole)


def test_uniform_and_normal_have_their_distributions():
    random = CounterRandom(11, torch.arange(2000))
    u = random.uniform(1, 100).flatten().numpy()
    assert u.min() > 0.0
    assert u.max() < 1.0
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert stats.kstest(random.normal(2, 100).flatten().numpy(), "norm").pvalue > 1e-3
    assert stats.kstest(random.uniform64(3).numpy(), "uniform").pvalue > 1e-3


def test_the_extreme_hashes_give_finite_normals():
    extremes = torch.tensor([0.5 * 2.0**-23, (2.0**23 - 0.5) * 2.0**-23])
    assert extremes.dtype == torch.float32
    assert extremes[1] < 1.0
    assert torch.isfinite(torch.erfinv(extremes * 2 - 1)).all()


def test_patterns_elements_and_purposes_are_uncorrelated():
    random = CounterRandom(5, torch.arange(20_000))
    columns = torch.cat([random.uniform(p, 10) for p in range(8)], 1).T
    columns = torch.cat([columns[:, 1:], columns[:, :-1]])  # neighbouring patterns too
    off = torch.corrcoef(columns) - torch.eye(len(columns))
    assert off.abs().max() < 0.04  # 5.6 standard errors of 12,720 pairs


@pytest.mark.parametrize("mean", [0.02, 0.7, 3.0, 5.9, 6.1, 15.0, 200.0, 4e4])
def test_poisson_agrees_with_scipy(mean):
    random = CounterRandom(1, torch.arange(200))
    counts = random.poisson(9, torch.full((200, 1000), float(mean))).numpy().ravel()
    assert counts.mean() == pytest.approx(mean, rel=5 * mean**-0.5 / counts.size**0.5 + 1e-3)
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.02)
    exact = stats.poisson(mean)
    for quantile in (0.01, 0.1, 0.5, 0.9, 0.99, 0.999):
        k = exact.ppf(quantile)
        assert (counts <= k).mean() == pytest.approx(exact.cdf(k), abs=0.004)


def test_poisson_of_nothing_is_nothing():
    assert CounterRandom(1, torch.arange(4)).poisson(1, torch.zeros(4, 100)).sum() == 0


def test_compiled_kernels_draw_the_same_numbers():
    from simulators.counter_kernels import uniform

    random = CounterRandom(2**40 + 7, torch.tensor([0, 1, 5, 10**12]))
    expected = random.uniform(61, 50)
    found = [[uniform(key, element) for element in range(50)] for key in random.key(61).tolist()]
    assert torch.equal(torch.tensor(found), expected)
