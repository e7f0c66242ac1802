"""The monitor on made-up series whose truth is known: expansion and drift are no news, splitting is."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from eg_agent.errors import BadInput, BadPattern
from eg_agent.monitor import FrameReport, MonitorSettings, SymmetryMonitor
from eg_agent.monitor.cause import explained_by
from eg_agent.monitor.distortion import Distortion, LatticeWatch, parent_lines, strain_between
from eg_agent.monitor.lattice_score import cumulative
from eg_agent.monitor.scores import changed_lines, scan
from eg_agent.monitor.thresholds import Table, thresholds
from eg_agent.monitor.trend import innovations
from eg_agent.patterns import Pattern, Radiation
from eg_agent.symmetry import group_of_space_group, setting_of_space_group
from eg_agent.values import from_json, to_json
from eg_agent.verify.data import prepare

WAVELENGTH = 1.5406
GRID = np.arange(15.0, 75.0, 0.03)


def cubic(a, distortion=0.0, extra=(), rng=None, scale=3000.0, width=0.1):
    """A primitive cubic lattice, c longer by `distortion`; extra: more places in degrees."""
    total = np.full(GRID.size, 40.0)
    indices = np.array([(h, k, m) for h in range(6) for k in range(6) for m in range(6) if h + k + m])
    lengths = np.array([a, a, a * (1.0 + distortion)])
    q = np.sum((indices / lengths) ** 2, axis=1)
    seen = q < (2.0 * np.sin(np.radians(37.5)) / WAVELENGTH) ** 2
    angles = 2.0 * np.degrees(np.arcsin(0.5 * WAVELENGTH * np.sqrt(q[seen])))
    for angle, n in zip(
        [*angles, *extra], [*(8 / 2 ** np.sum(indices[seen] == 0, axis=1)), *([8] * len(extra))]
    ):
        total += scale / 16.0 * n * np.exp(-0.5 * ((GRID - angle) / (width / 2.355)) ** 2)
    counts = total if rng is None else rng.poisson(total).astype(float)
    return Pattern(two_theta=GRID, intensity=counts, radiation=Radiation(WAVELENGTH), raw_counts=True)


def told(patterns, **kwargs):
    monitor = SymmetryMonitor(**kwargs)
    return monitor, [monitor.ingest(p) for p in patterns]


def test_expansion_drift_and_broadening_of_all_lines_are_no_news():
    rng = np.random.default_rng(1)
    series = [
        cubic(4.0 * (1 + 2e-4 * k), scale=3000 * (1 + 0.02 * k), width=0.1 + 0.0005 * k, rng=rng)
        for k in range(20)
    ]
    monitor, reports = told(series)
    assert monitor.changes == []
    # since the anchor of the first eight frames, whose middle is frame 7 (it is laid on the last of them)
    assert reports[-1].expansion == pytest.approx(2e-4 * 12, rel=0.05)


@pytest.mark.parametrize("distortion", [0.003, 0.01])
def test_a_cubic_lattice_that_becomes_tetragonal(distortion):
    rng = np.random.default_rng(2)
    series = [cubic(4.0 * (1 + 1e-4 * k), distortion if k >= 9 else 0.0, rng=rng) for k in range(12)]
    monitor, reports = told(series)
    (change, *_) = monitor.changes
    assert change.frame in (9, 10)
    assert change.since == 9
    assert change.between == (8.0, 9.0)
    assert change.score > change.threshold
    assert from_json(FrameReport, to_json(reports[change.frame])) == reports[change.frame]


def test_lines_that_come_are_named_and_weighed_against_the_cell():
    rng = np.random.default_rng(3)
    q = np.array([(0.5, 0.5, 0.5), (1.5, 0.5, 0.5), (1.5, 1.5, 0.5), (1.5, 1.5, 1.5)])
    doubled = 2.0 * np.degrees(np.arcsin(0.5 * WAVELENGTH / 4.0 * np.sqrt(np.sum(q**2, axis=1))))
    series = [cubic(4.0, extra=doubled if k >= 8 else (), scale=3000.0, rng=rng) for k in range(10)]
    monitor, _ = told(
        series,
        settings=MonitorSettings(kinds=("widths", "new lines", "lost lines")),
        cell=(4, 4, 4, 90, 90, 90),
    )
    (change, *_) = monitor.changes
    assert (change.kind, change.since) == ("new lines", 8)
    for line in change.lines[:4]:
        assert np.min(np.abs(doubled - line.two_theta)) < 0.05
    assert change.cause == "symmetry"


def test_places_of_no_larger_cell_are_a_foreign_phase():
    cell = (4.0, 4.0, 4.0, 90.0, 90.0, 90.0)
    foreign = np.array([17.3, 26.6, 36.1, 41.9, 52.2, 58.3])
    cause, explained = explained_by(foreign, cell, None, WAVELENGTH, 0.0, 0.05)
    assert (cause, explained) == ("foreign phase", ())
    assert explained_by(foreign[:1], cell, None, WAVELENGTH, 0.0, 0.05)[0] == "undetermined"


def test_the_lattice_watch_tells_the_way_and_the_size_of_a_distortion():
    rng = np.random.default_rng(4)
    watch = LatticeWatch((4.0, 4.0, 4.0, 90, 90, 90), setting_of_space_group(221))
    calm = {d.way: d for d in watch.frame(cubic(4.001, rng=rng))}
    assert all(d.log_evidence < 0.0 for d in calm.values())
    found = {d.way: d for d in watch.frame(cubic(4.002, 0.004, rng=rng))}
    assert found["tetragonal"].log_evidence > 50.0
    a, _, c, *_ = found["tetragonal"].cell
    assert c / a - 1.0 == pytest.approx(0.004, abs=3e-4)
    assert a == pytest.approx(4.002, abs=2e-3)
    assert found["rhombohedral"].log_evidence < found["tetragonal"].log_evidence


def test_a_distortion_is_seen_in_the_first_frame():
    """At the undistorted cell split lines coincide: they must not be taken for one all the same."""
    rng = np.random.default_rng(8)
    watch = LatticeWatch((4.0, 4.0, 4.0, 90, 90, 90), setting_of_space_group(221))
    found = {d.way: d for d in watch.frame(cubic(4.0, 0.002, rng=rng))}
    assert found["tetragonal"].log_evidence > 50.0
    assert found["rhombohedral"].log_evidence < found["tetragonal"].log_evidence


@pytest.mark.parametrize("strain", [0.0, 0.004])
def test_a_hexagonal_lattice_is_followed_in_orthohexagonal_axes(strain):
    a, c = 4.2, 5.1
    cell = gemmi.UnitCell(a * (1 + strain), a * np.sqrt(3.0), c, 90, 90, 90)
    y = np.full(GRID.size, 40.0)
    for h, k, m in np.ndindex(5, 8, 6):
        d = cell.calculate_d([h, k, m]) if h + k + m else np.inf
        if (h + k) % 2 == 0 and 0.5 * WAVELENGTH / d < np.sin(np.radians(37.0)) and np.isfinite(d):
            angle = 2.0 * np.degrees(np.arcsin(0.5 * WAVELENGTH / d))
            y += 2e3 * np.exp(-0.5 * ((GRID - angle) / (0.1 / 2.355)) ** 2)
    counts = np.random.default_rng(11).poisson(y).astype(float)
    pattern = Pattern(two_theta=GRID, intensity=counts, radiation=Radiation(WAVELENGTH), raw_counts=True)
    watch = LatticeWatch((a, a, c, 90, 90, 120), setting_of_space_group(191))
    (found,) = watch.frame(pattern)
    if strain:
        assert found.log_evidence > 20.0
        assert found.cell[1] / found.cell[0] == pytest.approx(np.sqrt(3.0) / (1 + strain), rel=5e-4)
    else:
        assert -20.0 < found.log_evidence < 0.0
        assert found.strain < 1e-3


def test_split_lines_know_the_line_they_are_part_of():
    rng = np.random.default_rng(9)
    watch = LatticeWatch((4.0, 4.0, 4.0, 90, 90, 90), setting_of_space_group(221))
    data, _ = prepare(cubic(4.0, rng=rng))
    way = watch.ways[0]
    whole = watch._lines(way, (4, 4, 4, 90, 90, 90), watch.system, data, WAVELENGTH).head(5)
    split = watch._lines(way, (4, 4, 4.004, 90, 90, 90), way.child, data, WAVELENGTH)
    of = parent_lines(split, whole)
    for line, parent in enumerate(of):
        for hkl in split.members[split.line == line]:
            same = whole.members[whole.line == parent] if parent >= 0 else whole.members
            belongs = any(sorted(np.abs(hkl)) == sorted(np.abs(other)) for other in same)
            assert belongs == (parent >= 0)
    assert np.bincount(of[of >= 0]).tolist() == [2, 2, 1, 2, 3], "100, 110, 111, 200, 210 of a cubic lattice"


def test_neighbouring_lines_that_move_apart_are_no_news():
    rng = np.random.default_rng(10)
    patterns = []
    for k in range(14):
        places = [22.0, 30.0, 41.0 - 0.02 * k, 41.5, 52.0, 58.0, 63.0]
        y = 40.0 + sum(4e3 * np.exp(-0.5 * ((GRID - x) / (0.2 / 2.355)) ** 2) for x in places)
        patterns.append(
            Pattern(
                two_theta=GRID,
                intensity=rng.poisson(y).astype(float),
                radiation=Radiation(WAVELENGTH),
                raw_counts=True,
            )
        )
    monitor, _ = told(patterns)
    assert monitor.changes == []


def test_a_monitor_with_a_cell_alarms_on_the_lattice():
    rng = np.random.default_rng(5)
    series = [cubic(4.0, 0.003 if k >= 5 else 0.0, rng=rng) for k in range(7)]
    kinds = MonitorSettings(kinds=("lattice",))
    monitor, _ = told(series, settings=kinds, cell=(4, 4, 4, 90, 90, 90), group=group_of_space_group(221))
    (change,) = monitor.changes
    assert (change.kind, change.cause, change.since) == ("lattice", "symmetry", 5)
    assert "tetragonal" in change.reason
    assert monitor.caveat == ""
    assert SymmetryMonitor(cell=monitor.cell, group=monitor.group).caveat != ""


def test_the_cumulative_sum_follows_page():
    def frames(values):
        return [(Distortion("way", v, 0.0, (1, 1, 1, 90, 90, 90)),) for v in values]

    assert cumulative(frames([-9, -9, -9, 4, -1, 5]), 3)[:2] == (8.0, 3)
    assert cumulative(frames([-9, -9, -9, 4, -5, 5]), 3)[:2] == (5.0, 1)
    assert cumulative(frames([9, 9, 9, -50, -50]), 3) == (12.0, 2, 0, False)
    assert cumulative(frames([-9, -9, -9, 1000]), 3)[0] == 6.0, "one frame alone is no alarm"


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), slope=st.floats(-0.5, 0.5))
def test_innovations_are_standard_normal_around_any_steady_trend(seed, slope):
    rng = np.random.default_rng(seed)
    at = np.arange(14.0)
    error = np.full((14, 400), 0.3)
    value = slope * 0.3 * at[:, None] + 0.3 * rng.standard_normal((14, 400))
    z = innovations(at, value, error, 2)
    assert stats.kstest(z, "norm").pvalue > 1e-6
    value[-2:] += 3.0
    assert np.median(innovations(at, value, error, 2)) > 3.0


def test_windows_without_a_value_say_nothing():
    error = np.full((6, 2), np.inf)
    error[:, 1] = 1.0
    z = innovations(np.arange(6.0), np.zeros((6, 2)), error, 1)
    assert z.tolist() == [0.0, pytest.approx(0.0, abs=1e-9)]


def test_changed_lines_is_a_log_likelihood_ratio():
    """Without a change its exponential has a mean of at most 1, so that chance alone cannot build it up."""
    z = np.linspace(-12.0, 12.0, 4001)
    ratio = np.exp([changed_lines(np.array([value]), 0.3) for value in z])
    assert 0.7 < np.trapezoid(stats.norm.pdf(z) * ratio, z) <= 1.0
    assert changed_lines(np.array([8.0, -7.0, 0.1]), 0.3) > 10.0
    assert changed_lines(np.array([500.0, 0.0, 0.0, 0.0]), 0.3) < 8.1, (
        "one wild line is no change of symmetry"
    )


def test_the_scan_finds_what_came_and_what_went_and_not_the_flank_of_a_moved_line():
    x = np.arange(2000.0)
    line = np.exp(-0.5 * ((x - 700) / 3) ** 2)
    variance = np.ones(x.size)
    noise = np.random.default_rng(0).standard_normal(x.size)
    came = scan(noise + 12 * line, variance, np.zeros(x.size), 7.0, 0.15, lost=False)
    assert abs(int(came.index[0]) - 700) <= 1
    assert came.nats > 10
    there = 1000 * line
    moved = 1000 * (np.exp(-0.5 * ((x - 700.3) / 3) ** 2) - line)
    assert scan(moved, variance, there, 7.0, 0.15, lost=False).nats < 5
    went = scan(noise - 30 * line, variance, 30 * line, 7.0, 0.15, lost=True)
    assert went.nats > 10
    assert scan(noise - 30 * line, variance, 30 * line, 7.0, 0.15, lost=False).nats < 10


def test_thresholds_rise_with_the_time_between_false_alarms():
    seldom, often = (
        thresholds(n, ("lattice", "widths", "new lines", "lost lines")) for n in (10_000.0, 50.0)
    )
    assert all(seldom[k] > often[k] for k in seldom)
    assert seldom["lattice"] == pytest.approx(np.log(40_000))


def test_a_table_interpolates_the_logarithm_of_the_rate_and_goes_on_as_its_tail():
    table = Table(np.array([2.0, 4.0, 8.0]), np.exp([-2.0, -3.0, -5.0]), 1.5)
    assert table.threshold(float(np.exp(-2.5))) == pytest.approx(3.0)
    assert table.threshold(float(np.exp(-5.0))) == pytest.approx(8.0)
    assert table.threshold(float(np.exp(-7.0))) == pytest.approx(8.0 + 2 * 1.5)
    assert table.threshold(0.9) == pytest.approx(2.0), "no lower than the table reaches"


def test_what_cannot_be_a_frame_is_refused_and_the_series_goes_on():
    rng = np.random.default_rng(6)
    monitor = SymmetryMonitor()
    monitor.ingest(cubic(4.0, rng=rng))
    empty = Pattern(two_theta=GRID, intensity=np.zeros(GRID.size), radiation=Radiation(WAVELENGTH))
    part = cubic(4.0, rng=rng)
    part = Pattern(two_theta=GRID[:900], intensity=part.intensity[:900], radiation=part.radiation)
    for bad in (empty, part):
        with pytest.raises(BadPattern):
            monitor.ingest(bad)
    with pytest.raises(BadInput, match="finite"):
        monitor.ingest(cubic(4.0, rng=rng), at=float("nan"))
    assert monitor.ingest(cubic(4.0, rng=rng)).frame == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"frames_between_false_alarms": 0.5}, "frames_between"),
        ({"windows": ()}, "windows"),
        ({"kinds": ()}, "kind"),
        ({"least_before": 1}, "least_before"),
        ({"share_of_lines": 0.0}, "share"),
    ],
)
def test_wrong_settings(wrong, said):
    with pytest.raises(BadInput, match=said):
        MonitorSettings(**wrong)


def test_a_lattice_alone_needs_a_cell():
    with pytest.raises(BadInput, match="cell"):
        SymmetryMonitor(MonitorSettings(kinds=("lattice",)))
    with pytest.raises(BadInput, match="no lower"):
        LatticeWatch((4.0, 5.0, 6.0, 80, 95, 100), setting_of_space_group(2))


def test_strain_between_cells():
    assert strain_between((4, 4, 4, 90, 90, 90), (4, 4, 4.04, 90, 90, 90)) == pytest.approx(0.01)
