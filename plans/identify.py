"""`identify`: measure samples until their symmetry is known, the agent deciding what to count."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Literal

import bluesky.plan_stubs as bps

from eg_agent.decide.decision import Decision
from eg_agent.decide.limits import Costs, Limits
from eg_agent.errors import BadInput
from plans.asking import Asks
from plans.devices import Diffractometer
from plans.job import FirstAt, Job
from plans.limits import within
from plans.scan import Plan, Shape, Window


def identify(
    diffractometer: Diffractometer,
    agent: Asks,
    samples: Sequence[str | int],
    *,
    limits: Limits | None = None,
    costs: Costs | None = None,
    two_theta: Window | None = None,
    step: float = 0.02,
    seconds_per_point: float = 1.0,
    first_at: FirstAt = "range",
    interleaved: bool = False,
    shape: Shape = "auto",
    wavelength: float | None = None,
    answer_timeout: float = 30.0,
    approval_timeout: float = 600.0,
    retries: int = 0,
    on_ask: Literal["next", "pause"] = "next",
    md: dict[str, Any] | None = None,
) -> Plan:
    """For each sample: scan, ask the agent, carry out its decision inside the limits, go on.

    samples: what the changer's signal takes, in order. two_theta: (low, high) in degrees of the first
    scan (default: the limits'); step: degrees; seconds_per_point: seconds, of the first scan.
    first_at: "lines": the first scan looks only at the lines of the sample's cell, where the agent knows one
    (`Agent(cells=...)`); nothing stands between them, and the time goes to what decides.
    interleaved: what is counted again is counted half a step beside the points of before, so that `step` may
    be twice as coarse (`eg_agent.decide.interleaving`).
    wavelength: angstrom, when the device does not have it as a signal or configuration.
    costs: their dose rate is what a limit on the dose is reckoned by.
    answer_timeout: seconds; with no answer in time the plan goes on to the next sample.
    approval_timeout: seconds that a person has in the agent's mode "propose".
    retries: further attempts at a measurement whose run failed, with the same decision id.
    on_ask: what to do when the agent asks for a person: go to the next sample, or pause the RunEngine.

    Every run's metadata says what it is for and lets anyone rebuild why: `sample`, `eg_shift`,
    `eg_decision_id`, `eg_attempt`, `eg_action`, `eg_reason`, `wavelength`, `seconds_per_point`,
    `eg_samples_left`, `eg_limits`, and from the second run of a sample on `eg_decided_from` (uids),
    `eg_hypotheses` (leading groups and their probabilities), `eg_checkpoint`, `eg_state` (what was
    spent) and `eg_expected_gain` (nats a second).
    Returns the last decision of each sample as a dict. A dry run works with `summarize_plan`: it asks nobody.
    """
    limits = limits or Limits()
    if not samples:
        raise BadInput("no samples: give the names or positions that the sample changer takes.")
    job = Job(
        diffractometer=diffractometer,
        agent=agent,
        limits=limits,
        two_theta=two_theta or limits.two_theta,
        step=step,
        seconds_per_point=seconds_per_point,
        first_at=first_at,
        interleaved=interleaved,
        shape=shape,
        wavelength=wavelength,
        answer_timeout=answer_timeout,
        approval_timeout=approval_timeout,
        retries=retries,
        shift=uuid.uuid4().hex[:12],
        on_ask=on_ask,
        md=md or {},
    )
    return (yield from within(limits, diffractometer, _one_by_one(job, samples), costs=costs))


def _one_by_one(job: Job, samples: Sequence[str | int]) -> Plan:
    """Every sample until the agent ends it."""
    decided: dict[str, Decision] = {}
    lit = yield from job.lit()
    for i, sample in enumerate(samples):
        yield from bps.mv(job.diffractometer.sample, sample)
        context = job.context(str(sample), len(samples) - i - 1, lit)
        first = job.first(str(sample), i, lit)
        uid = yield from job.run(first, context, whole=job.whole(first))
        while uid is not None or str(sample) not in decided:
            decision, state = yield from job.ask(uid, str(sample))
            decided[str(sample)] = decision
            uid = yield from job.carried_out(decision, state, context)
        decision = decided[str(sample)]
        if decision.action == "stop":
            break
        if decision.action == "ask a person" and job.on_ask == "pause":
            yield from bps.pause()
    return decided
