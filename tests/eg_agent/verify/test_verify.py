"""`verify`: extinction groups of simulated patterns, and what it says when it cannot."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eg_agent.errors import BadInput
from eg_agent.patterns.pattern import Pattern
from eg_agent.patterns.radiation import Radiation
from eg_agent.symmetry import group
from eg_agent.values import from_json, to_json
from eg_agent.verify import Evidence, no_cell, verify
from eg_agent.verify.metric import hexagonal_axes
from eg_agent.verify.settings import VerifySettings

#: On a busy machine a refinement ends early by the clock, and no two are the same then.
UNHURRIED = VerifySettings(time_limit=600.0)


def _rank(evidence: Evidence, number: int) -> int:
    return [c.group for c in evidence.candidates].index(number) + 1


@pytest.mark.parametrize(
    ("name", "lattice", "n_groups"),
    [
        ("barite", "oP", 33),
        ("baddeleyite", "mP", 6),
        ("scheelite", "tI", 31),
        ("halite", "cF", 18),
        ("calcite", "hR", 10),
        ("nepheline-like", "hP", 10),
    ],
)
def test_the_group_is_first_on_every_lattice(
    simulated: Callable, name: str, lattice: str, n_groups: int
) -> None:
    made = simulated(name, zero=0.03, counts=3e4)
    cell = tuple(v * 1.002 if i < 3 else v for i, v in enumerate(made.known.cell))
    evidence = verify(made.pattern, cell)
    assert evidence.status == "fitted", evidence.reason
    assert len(evidence.candidates) == n_groups
    if name == "scheelite":
        # 41/a and a - d differ in 00l and hhl lines that W and Ca on special positions leave weak
        assert _rank(evidence, made.known.group) <= 2
    else:
        assert evidence.candidates[0].group == made.known.group
    assert evidence.lattice == lattice
    assert evidence.cell is not None
    assert evidence.cell == pytest.approx(made.known.cell, rel=3e-4)


def test_evidence_is_relative_to_the_absence_free_group_and_sorted(simulated: Callable) -> None:
    evidence = verify(simulated("barite").pattern, (8.884, 5.457, 7.157, 90, 90, 90))
    values = [c.log_evidence for c in evidence.candidates]
    assert values == sorted(values, reverse=True)
    free = next(c for c in evidence.candidates if c.n_forbidden == 0)
    assert free.log_evidence == pytest.approx(0.0, abs=1e-9)
    assert free.symbol == "P - - -"
    for candidate in evidence.candidates:
        assert math.isfinite(candidate.log_evidence)
        assert candidate.rwp >= free.rwp - 1e-6
        assert candidate.n_allowed + candidate.n_forbidden == free.n_allowed


def test_the_setting_is_that_of_the_given_axes(simulated: Callable) -> None:
    """Barite with its axes permuted: the same group, in another setting."""
    made = simulated("barite")
    a, b, c = made.known.cell[:3]
    for axes, symbol in (((a, b, c), "P n - a"), ((b, c, a), "P - c n"), ((c, a, b), "P b n -")):
        evidence = verify(made.pattern, (*axes, 90, 90, 90))
        assert (evidence.candidates[0].group, evidence.candidates[0].symbol) == (17, symbol)


def test_deciding_reflections_say_why(simulated: Callable) -> None:
    evidence = verify(simulated("barite").pattern, (8.884, 5.457, 7.157, 90, 90, 90))
    best = evidence.candidates[0]
    assert 5 <= len(best.deciding) <= 12
    sizes = [abs(r.log_odds) for r in best.deciding]
    assert sizes == sorted(sizes, reverse=True)
    for line in best.deciding:
        (h, k, m) = line.hkl
        assert line.forbidden
        assert line.sigma > 0
        assert line.d == pytest.approx(
            1 / math.sqrt((h / 8.884) ** 2 + (k / 5.457) ** 2 + (m / 7.157) ** 2), rel=1e-3
        )
        # P n - a: 0kl k + l = 2n, hk0 h = 2n, and what follows on the axes
        assert (h == 0 and (k + m) % 2) or (m == 0 and h % 2)
    few = verify(simulated("barite").pattern, (8.884, 5.457, 7.157, 90, 90, 90), candidates=[17, 33, 7])
    wrong = next(c for c in few.candidates if c.group == 33)
    assert min(r.log_odds for r in wrong.deciding) < -3.0


@pytest.mark.parametrize("counts", [1e2, 1e3, 1e4, 1e5])
def test_from_a_hundred_to_a_hundred_thousand_counts(simulated: Callable, counts: float) -> None:
    """More counts, more lines seen; a hundred counts still rank the group among the first five."""
    made = simulated("baddeleyite", counts=counts)
    evidence = verify(made.pattern, made.known.cell)
    assert evidence.status == "fitted", evidence.reason
    assert _rank(evidence, 4) <= (3 if counts < 1e3 else 1)


@pytest.mark.parametrize(
    ("radiation", "two_theta"),
    [
        (Radiation.anode("Co"), (10.0, 100.0, 0.02)),
        (Radiation.anode("Mo"), (4.0, 45.0, 0.01)),
        (Radiation(0.5), (3.0, 32.0, 0.005)),
        (Radiation(1.54, kind="neutron"), (8.0, 90.0, 0.02)),
    ],
)
def test_any_wavelength(
    simulated: Callable, radiation: Radiation, two_theta: tuple[float, float, float]
) -> None:
    narrow = 0.12 if radiation.wavelength > 1 else 0.04
    made = simulated("barite", radiation=radiation, two_theta=two_theta, fwhm=narrow, counts=3e4)
    evidence = verify(made.pattern, made.known.cell)
    assert evidence.candidates[0].group == 17, evidence.reason


def test_a_foreign_line_on_a_forbidden_position_does_not_win(simulated: Callable) -> None:
    """0 1 0 and 3 0 0 of barite are forbidden; a foreign line of 3 % sits on each."""
    positions = [2 * math.degrees(math.asin(0.5 * 1.540593 / d)) for d in (5.457, 8.884 / 3)]
    made = simulated("barite", foreign=tuple((p, 0.03) for p in positions), counts=2e4)
    evidence = verify(made.pattern, made.known.cell)
    assert _rank(evidence, 17) <= 2
    hit = [r for c in evidence.candidates if c.group == 17 for r in c.deciding if r.log_odds < 0]
    assert any(abs(r.two_theta - p) < 0.1 for r in hit for p in positions)


def test_arbitrary_units_without_background_do_as_well(simulated: Callable) -> None:
    made = simulated("barite", raw=False)
    y = np.asarray(made.pattern.intensity)
    clipped = np.clip(y - np.median(y), 0.0, None)
    pattern = Pattern(made.pattern.two_theta, 1000.0 * clipped / clipped.max(), made.pattern.radiation)
    assert verify(pattern, made.known.cell).candidates[0].group == 17


def test_given_errors_are_used(simulated: Callable) -> None:
    made = simulated("barite")
    sigma = np.sqrt(np.maximum(np.asarray(made.pattern.intensity), 1.0))
    evidence = verify(replace(made.pattern, raw_counts=False, sigma=sigma), made.known.cell)
    assert evidence.candidates[0].group == 17
    assert evidence.goodness_of_fit == pytest.approx(1.1, abs=0.3)


@pytest.mark.parametrize(
    "cell", [(5.9, 5.9, 5.9, 90, 90, 90), (3.1, 3.1, 4.7, 90, 90, 120), (4.1, 6.3, 3.3, 90, 90, 90)]
)
def test_a_wrong_cell_is_not_fitted_and_says_why(simulated: Callable, cell: tuple[float, ...]) -> None:
    evidence = verify(simulated("barite").pattern, cell)
    assert evidence.status == "not fitted"
    assert evidence.candidates == ()
    assert "cell" in evidence.reason
    assert evidence.rwp is None or evidence.rwp > 10.0


def test_rhombohedral_axes_are_put_on_hexagonal_ones(simulated: Callable) -> None:
    made = simulated("calcite")
    cell = (6.3751, 6.3751, 6.3751, 46.076, 46.076, 46.076)
    evidence = verify(made.pattern, cell)
    assert evidence.candidates[0].group == 76
    assert "hexagonal axes" in evidence.reason
    assert evidence.cell == pytest.approx(hexagonal_axes(cell), rel=1e-3)


def test_candidates_may_be_restricted_also_to_lower_systems(simulated: Callable) -> None:
    made = simulated("halite")
    evidence = verify(made.pattern, made.known.cell, candidates=[94, 37, 40, 5])
    assert {c.group for c in evidence.candidates} == {94, 37, 40, 5}
    best = evidence.candidates[0].log_evidence
    # F of an orthorhombic cell of this metric forbids the same lines
    assert {c.group for c in evidence.candidates if c.log_evidence > best - 1e-6} == {94, 37}


def test_candidates_of_another_metric_are_not_fitted(simulated: Callable) -> None:
    made = simulated("barite")
    evidence = verify(made.pattern, made.known.cell, candidates=[94])
    assert evidence.status == "not fitted"
    assert "none of the candidate groups" in evidence.reason


def test_no_cell_says_so() -> None:
    evidence = no_cell()
    assert evidence.status == "no cell"
    assert "no cell was given" in evidence.reason
    assert evidence.candidates == ()


def test_impossible_cells_and_groups_are_refused(simulated: Callable) -> None:
    pattern = simulated("barite").pattern
    with pytest.raises(BadInput, match="angstrom"):
        verify(pattern, (0.0, 5.0, 5.0, 90, 90, 90))
    with pytest.raises(BadInput, match="from 1 to 99"):
        verify(pattern, (8.884, 5.457, 7.157, 90, 90, 90), candidates=[100])


def test_the_evidence_is_json_and_the_curve_is_on_the_points(simulated: Callable) -> None:
    made = simulated("barite")
    evidence = verify(made.pattern, made.known.cell)
    assert evidence.fit is not None
    np.testing.assert_array_equal(evidence.fit.two_theta, made.pattern.two_theta)
    inside = np.isfinite(evidence.fit.calculated)
    assert inside.mean() > 0.9
    y = np.asarray(made.pattern.intensity)[inside]
    assert np.sum(np.abs(y - evidence.fit.calculated[inside])) < 0.1 * y.sum()
    again = from_json(Evidence, to_json(evidence))
    assert [c.group for c in again.candidates] == [c.group for c in evidence.candidates]
    assert group(again.candidates[0].group).crystal_system == "orthorhombic"


def test_it_is_the_same_twice(simulated: Callable) -> None:
    made = simulated("baddeleyite")
    first, second = (verify(made.pattern, made.known.cell, settings=UNHURRIED) for _ in range(2))
    assert first.candidates == second.candidates


@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(["noise", "zeros", "spikes", "flat", "nan", "ramp", "negative", "short"]),
    cell=st.sampled_from(
        [(5.0, 6.0, 7.0, 90, 90, 90), (3.0, 3.0, 3.0, 90, 90, 90), (8.0, 9.0, 30.0, 80, 95, 110)]
    ),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_pattern_crashes_it(seed: int, kind: str, cell: tuple[float, ...]) -> None:
    rng = np.random.default_rng(seed)
    n = 20 if kind == "short" else 1500
    x = np.linspace(8.0, 8.5 if kind == "short" else 80.0, n)
    y = rng.poisson(50.0, n).astype(float)
    if kind == "zeros":
        y[:] = 0.0
    elif kind == "spikes":
        y[rng.integers(0, n, 30)] += 10 ** rng.uniform(2, 7, 30)
    elif kind == "flat":
        y[:] = 7.0
    elif kind == "nan":
        y[rng.integers(0, n, 40)] = np.nan
    elif kind == "ramp":
        y = np.linspace(0.0, 1e6, n)
    elif kind == "negative":
        y -= 100.0
    evidence = verify(Pattern(x, y, Radiation.anode("Cu"), raw_counts=kind != "negative"), cell)
    assert evidence.status in ("fitted", "not fitted")
    assert evidence.reason
    assert all(math.isfinite(c.log_evidence) for c in evidence.candidates)


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name", ["xredx_Al2O3", "gsas_FAP", "opxrd_pattern_205", "njs_LiMnO2", "opxrd_pattern_99"]
)
def test_measured_patterns_get_an_answer(realdata: Path, name: str) -> None:
    """Any answer: what is asserted is that it is well formed and finite, not that it is right."""
    with (realdata / "index.csv").open() as file:
        row = next(r for r in csv.DictReader(file) if r["id"] == name)
    with np.load(realdata / "patterns.npz") as arrays:
        two_theta, intensity = arrays[name].astype(float)
    kept = np.concatenate([[True], np.diff(two_theta) > 0])
    second = float(row["wavelength2"]) if row["wavelength2"] else None
    radiation = Radiation(float(row["wavelength"]), second)
    cell = tuple(float(row[key]) for key in ("a", "b", "c", "alpha", "beta", "gamma"))
    evidence = verify(Pattern(two_theta[kept], intensity[kept], radiation), cell)
    assert evidence.status in ("fitted", "not fitted")
    assert evidence.reason
    assert evidence.seconds > 0
    if evidence.status == "fitted":
        assert all(math.isfinite(c.log_evidence) and math.isfinite(c.rwp) for c in evidence.candidates)
        assert evidence.cell == pytest.approx(cell, rel=0.04)
