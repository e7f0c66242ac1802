"""No message ever leaves the limits: what random policies decide in random states, and what it would move."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from eg_agent.decide import ENDING, MEASURING, Asked, Costs, Decider, DecideSettings, Limits, State
from eg_agent.identify import GroupProbability, Identification, Measured, Provenance, Settle
from eg_agent.patterns.pattern import Source
from eg_agent.symmetry import group
from eg_agent.verify.evidence import CandidateEvidence, Evidence, LineTable

#: Cells whose lattices are known well: cubic, orthorhombic, monoclinic; angstrom and degrees.
CELLS = {
    "cubic": (4.9, 4.9, 4.9, 90.0, 90.0, 90.0),
    "orthorhombic": (5.0, 6.1, 7.3, 90.0, 90.0, 90.0),
    "monoclinic": (5.2, 6.4, 7.7, 90.0, 104.0, 90.0),
}


def _span(rng: np.random.Generator, low: float, high: float, least: float) -> tuple[float, float]:
    start = float(rng.uniform(low, high - least))
    return start, float(rng.uniform(start + least, high))


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def random_limits(rng: np.random.Generator) -> Limits:
    ending = list(rng.choice(ENDING, size=int(rng.integers(1, 4)), replace=False))
    measuring = list(rng.choice(MEASURING, size=int(rng.choice([0, 2, 4, 5])), replace=False))
    return Limits(
        two_theta=_span(rng, -5.0, 150.0, 1.0),
        max_seconds_per_point=_log_uniform(rng, 1e-2, 1e3),
        max_seconds_per_sample=_log_uniform(rng, 100.0, 1e6),
        max_total_seconds=_log_uniform(rng, 100.0, 1e7),
        max_repeats=int(rng.integers(0, 30)),
        actions=tuple(str(a) for a in measuring + ending),  # type: ignore[arg-type]
        max_moves=None if rng.random() < 0.5 else int(rng.integers(1, 20_000)),
        max_dose_per_sample=None if rng.random() < 0.5 else _log_uniform(rng, 1.0, 1e5),
        smallest_step=_log_uniform(rng, 1e-3, 0.1),
    )


def random_policy(rng: np.random.Generator) -> tuple[DecideSettings, Costs]:
    settings = DecideSettings(
        smallest_gain=float(rng.choice([0.0, 1e-6, 0.01])),
        share_of_best=float(rng.random()),
        exposures=tuple(np.sort(rng.uniform(0.1, 100.0, size=int(rng.integers(1, 4)))).tolist()),
        weak_ratio=_log_uniform(rng, 0.1, 100.0),
        smallest_weight=float(rng.choice([1e-6, 1e-3, 0.05])),
        draws=8,
        wrong_stop=_log_uniform(rng, 1e3, 1e12),
        stride=_log_uniform(rng, 0.1, 1e6),
    )
    costs = Costs(
        overhead=float(rng.uniform(0.0, 60.0)),
        move_per_point=float(rng.uniform(0.0, 2.0)),
        slew=float(rng.uniform(0.0, 2.0)),
        dose_rate=float(rng.choice([0.0, 1e-3, 1.0])),
        whole_trace=bool(rng.random() < 0.2),
    )
    return settings, costs


def random_state(rng: np.random.Generator) -> State:
    asked = tuple(
        Asked((_span(rng, 0.0, 100.0, 0.1),), float(rng.random()), float(rng.random()) if i else None)
        for i in range(int(rng.integers(0, 3)))
    )
    return State(
        sample="A",
        sample_seconds=float(rng.choice([0.0, _log_uniform(rng, 1.0, 1e5)])),
        total_seconds=_log_uniform(rng, 1.0, 1e5),
        repeats=int(rng.integers(0, 6)),
        samples_left=None if rng.random() < 0.3 else int(rng.integers(0, 4)),
        seconds_per_point=None if rng.random() < 0.3 else _log_uniform(rng, 1e-3, 1e3),
        sample_dose=float(rng.choice([0.0, _log_uniform(rng, 1e-2, 1e5)])),
        asked=asked,
    )


def random_evidence(rng: np.random.Generator) -> tuple[Evidence | None, list[int]]:
    """A fit (or a failed one, or none) as it might be, and the groups that it weighed."""
    kind = rng.random()
    if kind < 0.2:
        return None, []
    system = str(rng.choice(list(CELLS)))
    numbers = [n for n in range(1, 100) if group(n).crystal_system == system]
    numbers = [int(n) for n in rng.choice(numbers, size=min(6, len(numbers)), replace=False)]
    if kind < 0.3:
        return Evidence(status="not fitted", reason="why", cell=CELLS[system]), numbers
    from eg_agent.verify.lines import lattice_lines
    from eg_agent.verify.metric import metric_system, reciprocal

    cell = CELLS[system]
    lines = lattice_lines(cell, metric_system(cell), float(rng.uniform(1.0, 2.5)))
    angle = 2.0 * np.degrees(np.arcsin(0.5 * 1.5406 / lines.d(reciprocal(cell))))
    order = np.argsort(angle)
    k = angle.size
    table = LineTable(
        two_theta=angle[order],
        hkl=tuple((int(a), int(b), int(c)) for a, b, c in lines.representative[order]),
        fwhm=np.full(k, _log_uniform(rng, 0.02, 1.0)),
        intensity=rng.normal(size=k) * _log_uniform(rng, 1e-6, 1e6),
        sigma=rng.exponential(size=k) * _log_uniform(rng, 1e-6, 1e6) + 1e-12,
        counting=rng.random(k),
    )
    from eg_agent.symmetry import settings as settings_of

    candidates = tuple(
        CandidateEvidence(n, settings_of(n)[0].symbol, float(-i), 10, 10, 5.0) for i, n in enumerate(numbers)
    )
    return Evidence(status="fitted", reason="", cell=cell, candidates=candidates, lines=table), numbers


def random_answer(rng: np.random.Generator) -> Identification:
    provenance = Provenance("ab", Source(), "0", "0", "uniform")
    evidence, numbers = random_evidence(rng)
    weight = rng.normal(size=99) * float(rng.choice([0.1, 2.0, 50.0]))
    for n in numbers:
        weight[n - 1] += float(rng.uniform(0.0, 10.0))
    log_p = weight - np.logaddexp.reduce(weight)
    order = np.argsort(-log_p)
    measured = None
    if rng.random() < 0.9:
        low, high = _span(rng, 0.0, 140.0, 5.0)
        measured = Measured(
            windows=((low, 0.5 * (low + high) - 0.5), (0.5 * (low + high), high)),
            canonical=float(rng.random()),
            points=int(rng.integers(200, 5000)),
            step=_log_uniform(rng, 1e-3, 0.2),
            wavelength=1.5406,
            seconds_per_point=None if rng.random() < 0.1 else _log_uniform(rng, 1e-3, 100.0),
            strongest_counts=_log_uniform(rng, 0.1, 1e9),
            counted=((low, low + 1.0, _log_uniform(rng, 1e-3, 1e4)),) if rng.random() < 0.3 else (),
        )
    if rng.random() < 0.1:
        return Identification("refused", "No peak.", provenance, measured=measured)
    between = (int(order[0]) + 1, int(order[1]) + 1)
    settles = tuple(
        Settle((0, 1, 0), _span(rng, 0.0, 150.0, 0.1), None, between, "", 1.0, 1.0, between[0], 1.0, True)
        for _ in range(int(rng.integers(0, 3)))
    )
    return Identification(
        verdict=str(rng.choice(["identified", "undecided", "no confident match"], p=[0.1, 0.7, 0.2])),  # type: ignore[arg-type]
        reason="",
        provenance=provenance,
        top=tuple(GroupProbability(int(i) + 1, "P", "cubic", float(np.exp(log_p[i])), ()) for i in order[:3]),
        log_probability=log_p,
        evidence=evidence,
        evidence_only=log_p if evidence is not None and evidence.status == "fitted" else None,
        would_settle=settles,
        measured=measured,
    )


def drive(seeds: range) -> dict[str, int]:
    """One decision a seed, each checked on what would be sent; counts of the actions taken."""
    taken: dict[str, int] = {}
    for seed in seeds:
        rng = np.random.default_rng([0x11F, seed])
        limits, state, answer = random_limits(rng), random_state(rng), random_answer(rng)
        settings, costs = random_policy(rng)
        decision = Decider(limits, settings, costs).decide(answer, state)
        said = f"seed {seed}: {decision}"
        assert limits.violations(decision, state) == (), said
        assert decision.action in limits.actions, said
        assert decision.reason.endswith("."), said
        taken[decision.action] = taken.get(decision.action, 0) + 1
        if decision.action in ENDING:
            assert decision.windows == (), said
            continue
        check_message(decision, limits, state, costs, answer)
    return taken


def check_message(decision: Any, limits: Limits, state: State, costs: Costs, answer: Identification) -> None:
    """What the plan would do, written out here, so that the fence itself is checked."""
    assert answer.measured is not None
    step = decision.step or answer.measured.step
    low, high = limits.two_theta
    points, travel, at = 0, 0.0, None
    for a, b in decision.windows:
        angles = np.arange(a, b + 1e-9, step)
        assert angles.size
        assert low - 1e-9 <= angles[0]
        assert angles[-1] <= high + 1e-9
        travel += 0.0 if at is None else max(a - at, 0.0)
        at = b
        points += angles.size
    assert 0.0 < decision.seconds_per_point <= limits.max_seconds_per_point
    counting = decision.seconds_per_point * (1 if costs.whole_trace else points)
    takes = costs.overhead + counting + (0.0 if costs.whole_trace else costs.move_per_point * points)
    takes += 0.0 if costs.whole_trace else costs.slew * travel
    slack = 1.0 + 1e-9
    one_point = len(decision.windows) * (decision.seconds_per_point + costs.move_per_point)
    assert state.sample_seconds + takes <= limits.max_seconds_per_sample * slack + one_point
    assert state.total_seconds + takes <= limits.max_total_seconds * slack + one_point
    assert state.repeats < limits.max_repeats
    if limits.max_moves is not None and not costs.whole_trace:
        assert points <= limits.max_moves + len(decision.windows)
    # a sample that has had its dose may still be measured with radiation that gives none
    if limits.max_dose_per_sample is not None and costs.dose_rate > 0.0:
        given = state.sample_dose + costs.dose_rate * counting
        assert given <= limits.max_dose_per_sample * slack + costs.dose_rate * one_point
    assert decision.step is None or decision.step >= limits.smallest_step


def test_three_hundred_decisions_stay_inside() -> None:
    taken = drive(range(300))
    assert sum(taken.values()) == 300
    assert set(taken) & set(MEASURING)  # a test of nothing but endings would be none


@pytest.mark.slow
def test_ten_thousand_decisions_stay_inside() -> None:
    taken = drive(range(10_000))
    assert sum(taken.values()) == 10_000
    assert sum(n for action, n in taken.items() if action in MEASURING) > 700
    assert {"count longer", "extend range", "repeat all", "stop", "next sample", "ask a person"} <= set(taken)


def test_the_fence_refuses_what_a_policy_should_not_have_asked() -> None:
    limits = Limits(max_moves=100, max_dose_per_sample=10.0, smallest_step=0.01)
    from eg_agent.decide import Decision

    good = Decision("id", "repeat all", "", ((10.0, 11.0),), 1.0, 50.0, step=0.02, moves=50, dose=5.0)
    assert limits.violations(good, State()) == ()
    for wrong, said in (
        ({"moves": 101}, "motor moves"),
        ({"dose": 11.0}, "dose"),
        ({"step": 0.001}, "finer"),
        ({"dose": float("nan")}, "dose"),
    ):
        (found,) = limits.violations(replace(good, **wrong), State())
        assert said in found
    (found,) = limits.violations(good, State(sample_dose=6.0))
    assert "dose" in found
