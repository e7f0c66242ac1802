"""What would settle it: the right reflection, its angle and its seconds, checked with gemmi."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from eg_agent.chemistry import Composition
from eg_agent.identify import Identifier
from eg_agent.identify.information import present_mean
from eg_agent.identify.measured import measured
from eg_agent.identify.settings import IdentifySettings
from eg_agent.identify.settle import would_settle
from eg_agent.patterns import Pattern, Radiation
from eg_agent.symmetry import settings
from eg_agent.verify.evidence import CandidateEvidence, DecidingReflection, Evidence
from simulators.measurement import simulate
from simulators.textbook import textbook

SETTINGS = IdentifySettings()
CELL = (5.0, 6.0, 7.0, 90.0, 90.0, 90.0)
WAVELENGTH = 1.540593
P_FREE, P_21, P_2121 = 7, 8, 9  # P - - -, P - - 21, P 21 21 -


def angle(hkl: tuple[int, int, int]) -> float:
    return float(np.degrees(2 * np.arcsin(WAVELENGTH / (2 * gemmi.UnitCell(*CELL).calculate_d(hkl)))))


def pattern(
    low: float = 10.0, high: float = 60.0, *, seconds: float | None = 2.0, raw: bool = True
) -> Pattern:
    x = np.arange(low, high, 0.02)
    y = np.full(x.size, 20.0)
    y[len(y) // 2] = 900.0
    times = None if seconds is None else np.full(x.size, seconds)
    return Pattern(x, y, Radiation(WAVELENGTH), counting_time=times, raw_counts=raw)


def line(hkl: tuple[int, int, int], intensity: float, sigma: float, *, forbidden: bool) -> DecidingReflection:
    d = gemmi.UnitCell(*CELL).calculate_d(hkl)
    return DecidingReflection(hkl, angle(hkl), d, intensity, sigma, forbidden, 0.5)


def evidence(*deciding: DecidingReflection, groups: tuple[tuple[int, str], ...] = ()) -> Evidence:
    names = groups or ((P_21, "P - - 21"), (P_FREE, "P - - -"))
    return Evidence(
        "fitted",
        "",
        cell=CELL,
        lattice="oP",
        candidates=tuple(
            CandidateEvidence(g, s, 0.0, 30, 2, 5.0, deciding if i == 0 else ())
            for i, (g, s) in enumerate(names)
        ),
    )


def even(first: int, second: int) -> np.ndarray:
    p = np.full(99, 0.02 / 97)
    p[[first - 1, second - 1]] = 0.5, 0.48
    return np.log(p)


def test_the_weak_reflection_is_counted_until_it_would_be_seen() -> None:
    weak = line((0, 0, 3), 3.0, 2.0, forbidden=True)
    seen_by_both = line((0, 0, 2), 500.0, 5.0, forbidden=False)
    found = would_settle(
        pattern(), evidence(weak, seen_by_both), even(P_21, P_FREE), (P_21, P_FREE), SETTINGS
    )
    (settle,) = found  # (0 0 2) is allowed in both
    assert settle.hkl == (0, 0, 3)
    assert settle.absent_in == P_21
    assert settle.between == (P_21, P_FREE)
    assert settle.two_theta[0] < angle((0, 0, 3)) < settle.two_theta[1]
    # gemmi agrees on who forbids it: P 2 2 21 and P 2 2 2.
    assert gemmi.find_spacegroup_by_number(17).operations().is_systematically_absent([0, 0, 3])
    assert not gemmi.find_spacegroup_by_number(16).operations().is_systematically_absent([0, 0, 3])
    # 4 standard errors of what an allowed line would be now, error falling with the root of the time.
    times = (4.0 * 2.0 / present_mean(3.0, 2.0)) ** 2
    x = pattern().two_theta
    points = int(((x >= settle.two_theta[0]) & (x <= settle.two_theta[1])).sum())
    assert settle.seconds == pytest.approx((times - 1.0) * 2.0 * points)
    assert f"{settle.seconds:.0f} s" in settle.reason
    assert settle.counted == 2.0
    assert settle.counting


@pytest.mark.parametrize("wrong", [{"seconds": None}, {"raw": False}])
def test_no_seconds_without_a_rate(wrong: dict) -> None:
    weak = line((0, 0, 3), 3.0, 2.0, forbidden=True)
    (settle,) = would_settle(pattern(**wrong), evidence(weak), even(P_21, P_FREE), (P_21, P_FREE), SETTINGS)
    assert settle.seconds is None
    assert "times as long" in settle.reason


def test_a_line_that_is_seen_needs_no_counting() -> None:
    seen = line((0, 0, 3), 100.0, 2.0, forbidden=True)
    (settle,) = would_settle(pattern(), evidence(seen), even(P_21, P_FREE), (P_21, P_FREE), SETTINGS)
    assert settle.seconds is None
    assert not settle.counting
    assert "speaks for P - - -" in settle.reason


def test_what_is_seen_comes_after_what_counting_can_tell() -> None:
    lines = (line((0, 0, 3), 100.0, 2.0, forbidden=True), line((0, 0, 1), 1.0, 2.0, forbidden=True))
    found = would_settle(pattern(), evidence(*lines), even(P_21, P_FREE), (P_21, P_FREE), SETTINGS)
    assert [(s.hkl, s.counting) for s in found] == [((0, 0, 1), True), ((0, 0, 3), False)]


def test_a_line_too_weak_for_any_counting_is_said_to_be() -> None:
    hopeless = line((0, 0, 3), -300.0, 2.0, forbidden=True)
    (settle,) = would_settle(pattern(), evidence(hopeless), even(P_21, P_FREE), (P_21, P_FREE), SETTINGS)
    assert settle.seconds is None
    assert not settle.counting
    assert "cannot be settled by counting" in settle.reason


def test_a_tail_from_beyond_the_end_does_not_count_as_measured() -> None:
    short = pattern(20.0, 38.0)  # (0 0 3) lies at 38.6 degrees
    tail = line((0, 0, 3), 5.0, 2.0, forbidden=True)
    (settle,) = would_settle(short, evidence(tail), even(P_21, P_FREE), (P_21, P_FREE), SETTINGS)
    assert "extend the range" in settle.reason


def test_the_more_telling_reflection_comes_first() -> None:
    lines = (line((0, 0, 3), 0.1, 2.0, forbidden=True), line((0, 0, 1), 5.0, 2.0, forbidden=True))
    found = would_settle(pattern(), evidence(*lines), even(P_FREE, P_21), (P_FREE, P_21), SETTINGS)
    assert [s.hkl for s in found] == [(0, 0, 1), (0, 0, 3)]
    assert found[0].absent_in == P_21


def test_outside_the_range_asks_for_the_range() -> None:
    short = pattern(20.0, 37.0)  # between (0 0 1) at 12.6 and (0 0 3) at 38.6 degrees
    (settle,) = would_settle(short, evidence(), even(P_21, P_FREE), (P_21, P_FREE), SETTINGS)
    assert settle.hkl == (0, 0, 3)
    assert settle.seconds is None
    assert settle.sigma is None
    assert settle.two_theta[0] < angle((0, 0, 3)) < settle.two_theta[1]
    assert "extend the range" in settle.reason


def test_inside_without_an_estimate_is_said_to_overlap() -> None:
    wide = pattern(5.0, 139.9)
    (settle,) = would_settle(wide, evidence(), even(P_21, P_FREE), (P_21, P_FREE), SETTINGS)
    assert settle.hkl == (0, 0, 1)
    assert "overlaps" in settle.reason


def test_equal_absences_need_intensities() -> None:
    cell = (5.0, 5.0, 7.0, 90.0, 90.0, 120.0)
    both = Evidence(
        "fitted",
        "",
        cell=cell,
        lattice="hP",
        candidates=tuple(CandidateEvidence(g, settings(g)[0].symbol, 0.0, 30, 2, 5.0) for g in (72, 78)),
    )
    (settle,) = would_settle(pattern(), both, even(72, 78), (72, 78), SETTINGS)
    assert settle.hkl is None
    assert "intensities" in settle.reason


def test_without_a_cell_a_cell_would_settle() -> None:
    (settle,) = would_settle(pattern(), Evidence("no cell", ""), even(P_21, P_2121), (P_21, P_2121), SETTINGS)
    assert settle.hkl is None
    assert "a cell (from indexing or a reference)" in settle.reason
    (settle,) = would_settle(
        pattern(), Evidence("not fitted", ""), even(P_21, P_2121), (P_21, P_2121), SETTINGS
    )
    assert "a right cell" in settle.reason
    (settle,) = would_settle(pattern(), evidence(), even(P_21, 90), (P_21, 90), SETTINGS)
    assert "cannot carry both" in settle.reason


def test_measured_sums_up_the_pattern() -> None:
    x = np.concatenate([np.arange(10.0, 20.0, 0.02), np.arange(40.0, 60.0, 0.02)])
    y = np.full(x.size, 4.0)
    y[100] = 400.0
    sum_up = measured(Pattern(x, y, Radiation(WAVELENGTH), sigma=np.sqrt(y)))
    assert sum_up.windows == ((10.0, pytest.approx(19.98)), (40.0, pytest.approx(59.98)))
    assert sum_up.canonical == pytest.approx(30.0 / 85.0, abs=0.01)
    assert sum_up.step == pytest.approx(0.02)
    assert sum_up.strongest_counts == pytest.approx(400.0)
    assert sum_up.seconds_per_point is None
    assert measured(Pattern(x, y, Radiation(WAVELENGTH))).strongest_counts is None
    assert measured(Pattern(x, 2 * y, Radiation(WAVELENGTH), raw_counts=True)).strongest_counts == 800.0


def test_what_nobody_told_would_settle_too() -> None:
    """Forsterite, of which nobody wants to be that sure: its formula is asked for until it is given."""
    crystal = next(c for c in textbook() if c.name == "forsterite")
    grid = np.arange(10.0, 60.0, 0.04)
    seen = simulate(crystal, Radiation.anode("Cu"), grid, np.random.default_rng(5), peak_rate=300.0)
    identifier = Identifier(settings=IdentifySettings(identified=0.99999))
    alone = identifier.identify(seen)
    told = identifier.identify(seen, composition=Composition.of_formula("Mg2SiO4"))
    assert (alone.verdict, told.verdict) == ("undecided", "undecided")
    assert "the formula, or its elements" in alone.would_settle[-1].reason
    assert not alone.would_settle[-1].counting
    assert not any("formula" in settle.reason for settle in told.would_settle)
