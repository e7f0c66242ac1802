"""The forecast by draws: against the closed form of one question, and what bounds it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from eg_agent.decide import scene as scenes
from eg_agent.decide.predict import Forecast
from eg_agent.decide.scene import SCALES, SHARES, Scene


def scene(
    allowed: list[list[int]],
    weight: list[float],
    *,
    estimate: float = 0.0,
    sigma: float = 0.5,
    expected: float = 1.0,
    covered: bool = True,
    floor: float = 0.0,
) -> Scene:
    """Hypotheses over lines that were all counted for a second a point."""
    rows = np.array(allowed, dtype=bool)
    k = rows.shape[1]
    full = np.full(k, 1.0)
    angle = np.linspace(20.0, 60.0, k)
    return Scene(
        two_theta=angle,
        fwhm=0.2 * full,
        estimate=estimate * full,
        sigma=sigma * full,
        floor=floor * full,
        covered=np.full(k, covered),
        expected=expected * full,
        per_second=sigma**2 * full,
        allowed=rows,
        group=np.arange(10, 10 + len(weight)),
        log_weight=np.log(np.array(weight) / np.sum(weight)),
        strongest=10.0,
        step=0.04,
        all_two_theta=angle,
        all_fwhm=0.2 * full,
    )


@pytest.fixture
def nothing_hides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without hidden classes and foreign lines, the question is the textbook's."""
    monkeypatch.setattr("eg_agent.decide.predict.HIDDEN", 1e-12)
    monkeypatch.setattr("eg_agent.decide.predict.FOREIGN", 1e-12)
    monkeypatch.setattr(scenes, "FOREIGN", 1e-12)


def exact_gain(p_absent: float, error: float) -> float:
    """Nats about "absent or allowed" from one estimate with a standard error, by quadrature over outcomes;
    intensity: the mixture of exponentials, nothing known before."""

    def allowed(y: float) -> float:
        # an exponential of mean m seen with noise s: the exponentially modified normal of scipy
        parts = (
            w * stats.exponnorm.pdf(y, m / error, 0.0, error) for m, w in zip(SCALES, SHARES, strict=True)
        )
        return float(sum(parts))

    def absent(y: float) -> float:
        return float(stats.norm.pdf(y, 0.0, error))

    def entropy(y: float) -> float:
        a, b = p_absent * absent(y), (1.0 - p_absent) * allowed(y)
        total = a + b
        return sum(-v * np.log(v / total) for v in (a, b) if v > 1e-300)

    left = integrate.quad(entropy, -8.0 * error, 30.0, limit=400, points=[0.0, error, 1.0])[0]
    now = -p_absent * np.log(p_absent) - (1.0 - p_absent) * np.log1p(-p_absent)
    return now - left


@pytest.mark.parametrize(("p_absent", "error"), [(0.5, 0.3), (0.8, 0.1), (0.3, 1.0)])
def test_one_line_and_two_groups_agree_with_quadrature(
    nothing_hides: None, p_absent: float, error: float
) -> None:
    one = scene([[0], [1]], [p_absent, 1.0 - p_absent], sigma=30.0, covered=False)
    # per_second is sigma^2: so many seconds for this error
    seconds = np.array([30.0**2 / error**2])
    forecast = Forecast(one, draws=6000, weight=1.0)
    # 0.02: three standard errors of the mean of 6,000 entropies that scatter by 0.4 nats or less
    assert forecast.expect(seconds).gain == pytest.approx(exact_gain(p_absent, error), abs=0.02)


def test_what_may_hide_bounds_what_counting_can_tell() -> None:
    """Many absent lines: the group that allows them is held up by its chance of hiding them only."""
    # lines seen absent at ten standard errors of their expectation: nothing plain is left of group 11
    seen = scene([[0] * 12, [1] * 12], [0.93, 0.07], sigma=0.1)
    forecast = Forecast(seen, draws=400)
    gains = [forecast.expect(np.full(12, seconds)).gain for seconds in (1.0, 3.0, 30.0)]
    assert forecast.entropy > 0.2
    # as open as a plain question of 0.93 against 0.07, it would be answered by as much counting
    plain = Forecast(replace(seen, sigma=np.full(12, 1.0), per_second=np.full(12, 1.0)), draws=400)
    answered = plain.expect(np.full(12, 100.0)).gain
    assert gains[0] < 0.5 * answered
    assert answered > 0.5 * plain.entropy


def test_misfit_is_not_counted_away() -> None:
    good = Forecast(scene([[0], [1]], [0.5, 0.5]), draws=400).expect(np.array([100.0])).gain
    bad = Forecast(scene([[0], [1]], [0.5, 0.5], floor=0.5), draws=400).expect(np.array([100.0])).gain
    assert bad < 0.7 * good


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 6),
    st.integers(1, 12),
    st.floats(-3.0, 3.0),
    st.floats(0.01, 30.0),
)
def test_gains_are_bounded_and_repeatable(
    seed: int, groups: int, lines: int, estimate: float, sigma: float
) -> None:
    rng = np.random.default_rng(seed)
    allowed = rng.integers(0, 2, size=(groups, lines)).tolist()
    one = scene(allowed, rng.dirichlet(np.ones(groups)).tolist(), estimate=estimate, sigma=sigma)
    forecast = Forecast(one, draws=32)
    seconds = rng.exponential(10.0, size=lines)
    what = forecast.expect(seconds)
    assert 0.0 <= what.gain <= forecast.entropy + 1e-9
    assert 0.0 <= what.better <= 1.0
    assert 0.0 <= what.decided <= 1.0
    assert what == Forecast(one, draws=32).expect(seconds)
    assert forecast.expect(np.zeros(lines)).gain == 0.0
    # the posterior that it starts from is the one that it was given
    assert forecast.now.sum() == pytest.approx(1.0)
    assert np.sort(forecast.now) == pytest.approx(np.sort(np.exp(one.log_weight)), abs=1e-9)


def test_lines_on_which_all_agree_tell_nothing() -> None:
    agree = scene([[1, 0], [1, 0]], [0.6, 0.4])
    assert Forecast(agree, draws=200).expect(np.array([100.0, 100.0])).gain < 0.01
