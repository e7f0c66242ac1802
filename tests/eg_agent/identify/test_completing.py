"""Gaps between windows around the lines of a cell, bridged for the network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.decide import opening
from eg_agent.identify import Identifier
from eg_agent.identify.completing import completed
from eg_agent.model import Classifier
from eg_agent.patterns import Pattern
from eg_agent.symmetry import settings as symbols_of
from eg_agent.symmetry import unique_reflections

CELL = (4.59, 4.59, 2.96, 90.0, 90.0, 90.0)
STEP = 0.02
WINDOWS = st.lists(
    st.tuples(st.floats(10.0, 69.0), st.floats(0.5, 8.0)).map(lambda at: (at[0], min(at[0] + at[1], 69.9))),
    min_size=2,
    max_size=8,
)


@pytest.fixture(scope="module")
def whole(powder) -> Pattern:
    """P 42/m n m, in one piece."""
    return powder(52, "P - n -", CELL)


def cut(pattern: Pattern, windows: tuple[tuple[float, float], ...]) -> Pattern:
    """What would have been measured of it in windows (degrees, ascending, apart)."""
    x = pattern.two_theta
    inside = np.any([(x >= low - 1e-6) & (x <= high + 1e-6) for low, high in windows], axis=0)
    return Pattern(x[inside], pattern.intensity[inside], pattern.radiation, raw_counts=True, covered=windows)


def joined(spans: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    found: list[tuple[float, float]] = []
    for low, high in sorted(spans):
        if found and low <= found[-1][1] + 0.1:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return tuple(found)


@settings(max_examples=40, deadline=None)
@given(WINDOWS)
def test_what_was_measured_stays_and_no_line_is_invented_or_denied(whole: Pattern, spans) -> None:
    windows = joined(spans)
    part = cut(whole, windows)
    full = completed(part, CELL)
    kept = np.isin(full.two_theta, part.two_theta)
    assert np.array_equal(full.intensity[kept], part.intensity)
    assert np.all(np.diff(full.two_theta) > 0)
    # P - - - with this metric allows every line: none of them may be bridged away
    lines = unique_reflections(CELL, symbols_of(40)[0], 1.0)
    angles = 2.0 * np.degrees(np.arcsin(whole.radiation.mean_wavelength / (2.0 * lines.d)))
    for bridged in full.two_theta[~kept]:
        for angle in angles:
            measured = any(low <= angle <= high for low, high in windows)
            assert measured or abs(angle - bridged) > 1e-3
    for low, high in full.covered:
        assert any(low == start for start, _ in windows)
        assert any(high == end for _, end in windows)


def test_a_gap_with_a_line_of_the_lattice_stays_a_gap(whole: Pattern) -> None:
    part = cut(whole, ((10.0, 26.0), (29.0, 70.0)))  # 110 at 27.4 degrees was not measured
    assert completed(part, CELL) is part


def test_a_gap_that_a_line_is_near_to_is_bridged(whole: Pattern) -> None:
    """The tail of a line that was measured in a window."""
    part = cut(whole, ((10.0, 30.7), (35.3, 70.0)))
    full = completed(part, CELL)
    assert full.covered == ()
    assert full.two_theta.size == pytest.approx(whole.two_theta.size, abs=2)
    assert np.diff(full.two_theta).max() < 1.5 * STEP


def test_where_the_lattice_has_no_line_all_gaps_are_bridged(whole: Pattern) -> None:
    """Below the first line, at 19 degrees."""
    full = completed(cut(whole, ((10.0, 11.0), (12.0, 13.0))), CELL)
    assert full.covered == ()


def test_points_beyond_their_window_are_met_by_none_that_is_bridged(whole: Pattern) -> None:
    """Windows are what was asked for; the points of a second grid may end half a step behind them."""
    windows = ((26.0, 29.0), (34.0, 38.0), (52.0, 56.0))
    apart = cut(whole, windows)
    beyond = np.array([29.0 + STEP, 29.0 + 2.5 * STEP, 52.0 - STEP])
    x = np.concatenate([apart.two_theta, beyond])
    y = np.concatenate([apart.intensity, np.full(3, 7.0)])
    order = np.argsort(x)
    found = completed(replace(apart, two_theta=x[order], intensity=y[order]), CELL)
    assert np.diff(found.two_theta).min() > 0.05 * STEP
    assert np.isin(np.round(beyond, 9), np.round(found.two_theta, 9)).all()


def test_without_a_cell_or_windows_nothing_is_known_of_gaps(whole: Pattern) -> None:
    part = cut(whole, ((10.0, 30.7), (35.3, 70.0)))
    assert completed(part, None) is part
    assert completed(whole, CELL) is whole


def test_the_network_reads_windows_as_it_reads_the_whole(whole: Pattern) -> None:
    """With the shipped network: windows around all lines, of the same counts."""
    network = Classifier.load("default", "inorganic")
    windows = opening(CELL, whole.radiation, (10.0, 70.0), STEP, lines=1000)
    part = cut(whole, windows)
    assert part.two_theta.size < 0.5 * whole.two_theta.size

    def distance(pattern: Pattern) -> float:
        """Kullback-Leibler divergence from the answer of the whole, nats."""
        told, true = network.predict(pattern).log_probability, network.predict(whole).log_probability
        return float(np.sum(np.exp(true) * (true - told)))

    assert distance(completed(part, CELL)) < 0.3
    assert distance(part) > 3.0 * distance(completed(part, CELL))


def test_the_evidence_is_read_from_what_was_measured(identifier: Identifier, whole: Pattern) -> None:
    part = cut(whole, opening(CELL, whole.radiation, (10.0, 70.0), STEP, lines=1000))
    answer = identifier.identify(part, CELL)
    assert answer.evidence is not None
    assert answer.measured is not None
    assert np.allclose(answer.measured.windows, part.covered, atol=2 * STEP)
