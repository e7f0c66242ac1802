from __future__ import annotations

import bluesky.plan_stubs as bps
import numpy as np
import pytest
from bluesky.simulators import check_limits, summarize_plan
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.decide import Limits
from eg_agent.errors import BadInput
from plans import OutsideLimits, measure, positions, step_scan, trace_scan, within

RANGE = {"two_theta": (10.0, 30.0), "step": 0.5, "seconds_per_point": 1.0}


@pytest.fixture
def device():
    from beamline import Diffractometer

    return Diffractometer(name="diff")


@settings(max_examples=60, deadline=None)
@given(
    low=st.floats(1, 80),
    span=st.floats(1, 60),
    step=st.floats(0.005, 0.5),
    window=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_windows_keep_to_the_grid_of_the_whole_scan(low, span, step, window):
    whole = positions((low, low + span), step)
    assert np.all(np.diff(whole) > 0)
    assert whole[0] == pytest.approx(low, abs=1e-6)
    assert whole[-1] <= low + span + 2e-6
    first, last = low + min(window) * span, low + max(window) * span
    if last - first > step:
        inside = positions((low, low + span), step, [(first, last)])
        assert set(inside) <= set(whole)
        assert np.all((inside >= first - 2e-6) & (inside <= last + 2e-6))


def test_wrong_ranges_are_refused():
    with pytest.raises(BadInput, match="not a range"):
        positions((30.0, 10.0), 0.1)
    with pytest.raises(BadInput, match="step"):
        positions((10.0, 30.0), 0.0)
    with pytest.raises(BadInput, match="windows"):
        positions((10.0, 30.0), 0.1, [(50.0, 60.0)])


def test_both_shapes_in_a_dry_run(engine, device, capsys):
    summarize_plan(step_scan(device, **RANGE))
    assert capsys.readouterr().out.count("Read ['diff_point', 'diff_arm']") == 41
    summarize_plan(trace_scan(device, **RANGE))
    assert capsys.readouterr().out.count("Read ['diff']") == 1
    check_limits(step_scan(device, **RANGE))
    assert device.triggered == 0


def test_a_device_without_the_shape_is_refused(engine):
    from ophyd.sim import det

    with pytest.raises(BadInput, match=r"plans\.devices"):
        engine(measure(det, **RANGE))


def test_windows_are_counted_only_there(engine, device):
    engine(trace_scan(device, **RANGE, windows=[(12.0, 13.0), (20.0, 21.0)]))
    np.testing.assert_allclose(device.two_theta.get(), [12, 12.5, 13, 20, 20.5, 21])
    engine(trace_scan(device, **RANGE))
    assert device.two_theta.get().size == 41, "a whole scan after one in windows is whole"


def test_a_device_without_windows_measures_their_hull(engine):
    from beamline import Diffractometer

    class Plain(Diffractometer):
        """The beamline's device without a `windows` signal."""

        windows = None

        def inside(self, axis):
            return axis

    device = Plain(name="diff")
    engine(trace_scan(device, **RANGE, windows=[(12.0, 13.0), (20.0, 21.0)]))
    np.testing.assert_allclose(device.two_theta.get(), np.arange(12.0, 21.01, 0.5))


LIMITS = Limits(two_theta=(10.0, 60.0), max_seconds_per_point=5.0, max_repeats=2)


@pytest.mark.parametrize(
    ("signal", "value"),
    [
        ("two_theta_min", 9.99),
        ("two_theta_max", 60.01),
        ("arm", 61.0),
        ("arm", float("nan")),
        ("windows", np.array([20.0, 70.0])),
        ("seconds_per_point", 5.1),
        ("seconds_per_point", 0.0),
        ("seconds_per_point", float("nan")),
        ("step", 0.0),
    ],
)
def test_nothing_outside_the_limits_is_emitted(engine, device, signal, value):
    target = getattr(device, signal)
    before = target.read()

    def plan():
        yield from bps.abs_set(target, value)

    with pytest.raises(OutsideLimits):
        engine(within(LIMITS, device, plan()))
    assert str(target.read()) == str(before)


@settings(max_examples=60, deadline=None)
@given(
    moves=st.lists(
        st.tuples(
            st.sampled_from(["two_theta_min", "two_theta_max", "arm", "seconds_per_point"]),
            st.floats(allow_nan=True, allow_infinity=True),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_no_message_ever_leaves_the_limits(moves):
    """Any sequence of moves: what comes out of `within` is inside, or the plan was stopped there."""
    from beamline import Diffractometer

    device = Diffractometer(name="diff")

    def plan():
        for name, value in moves:
            yield from bps.abs_set(getattr(device, name), value)

    emitted = []
    try:
        for msg in within(LIMITS, device, plan()):
            emitted.append(msg)
    except OutsideLimits:
        pass
    for msg in emitted:
        (value,) = msg.args
        if msg.obj is device.seconds_per_point:
            assert 0 < value <= 5.0
        else:
            assert 10.0 <= value <= 60.0


def test_runs_and_time_are_counted_where_they_begin(engine, device):
    now = [0.0]

    def runs(n):
        yield from bps.mv(device.sample, "dim")
        for _ in range(n):
            now[0] += 100.0
            yield from trace_scan(device, **RANGE)

    engine(within(LIMITS, device, runs(3), clock=lambda: now[0]))
    with pytest.raises(OutsideLimits, match="4 times"):
        engine(within(LIMITS, device, runs(4), clock=lambda: now[0]))
    short = Limits(max_seconds_per_sample=150.0)
    with pytest.raises(OutsideLimits, match="sample has taken"):
        engine(within(short, device, runs(2), clock=lambda: now[0]))
