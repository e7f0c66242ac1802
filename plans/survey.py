"""`survey`: many samples in one shift, its time spent where an answer is near."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps

from eg_agent.decide.decision import Decision
from eg_agent.decide.limits import MEASURING, Costs, Limits
from eg_agent.decide.state import State
from eg_agent.decide.turns import SPREAD, check_spread, seconds_of, whose_turn
from eg_agent.errors import BadInput
from plans.asking import Asks
from plans.devices import Diffractometer
from plans.job import FirstAt, Job
from plans.limits import OutsideLimits, within
from plans.scan import Plan, Shape, Window


def survey(
    diffractometer: Diffractometer,
    agent: Asks,
    samples: Sequence[str | int],
    *,
    budget: float,
    limits: Limits | None = None,
    costs: Costs | None = None,
    two_theta: Window | None = None,
    step: float = 0.02,
    seconds_per_point: float = 0.2,
    first_at: FirstAt = "range",
    interleaved: bool = False,
    shape: Shape = "auto",
    wavelength: float | None = None,
    spread: float = SPREAD,
    record: str | Path | None = None,
    answer_timeout: float = 30.0,
    approval_timeout: float = 600.0,
    retries: int = 0,
    clock: Callable[[], float] = time.monotonic,
    md: dict[str, Any] | None = None,
) -> Plan:
    """Glance at every sample, then go back to those where an answer is most likely for the time.

    budget: seconds for the whole shift, sample changes included; nothing is begun that would not end in
    it (by `Decision.cost` and `costs.sample_change`). limits: of each sample, as in `identify`.
    seconds_per_point: of the glances. first_at: "lines": they look only at the lines of the samples' cells,
    as in `identify`. interleaved: what is counted again is counted between the points of before.
    spread: no sample goes on that has had more than so many times the seconds of the one that has had least
    and still waits (`eg_agent.decide.turns`).
    record: a file that this shift is written to, line by line. When it is there already, the shift goes on:
    what it holds is not measured again (after an abort, a crash, or a new morning).
    clock: seconds; a simulated diffractometer's own, where its time is not that of the wall.

    The plan keeps one decision of the agent for each sample, and always carries out the one with the most
    chance of an answer a second (`eg_agent.decide.chance`), the change of sample included, of those within
    `spread`. A sample ends when the agent ends it.
    Every run's metadata is that of `identify`, with `eg_survey_left` (seconds of the budget).
    Returns the last decision of each sample as a dict.
    """
    if not samples:
        raise BadInput("no samples: give the names or positions that the sample changer takes.")
    if len(set(map(str, samples))) != len(samples):
        raise BadInput("a sample is named twice: give each once.")
    if not budget > 0.0:
        raise BadInput(f"a budget of {budget:g} s is none: give seconds, above 0.")
    check_spread(spread)
    limits, costs = limits or Limits(), costs or Costs()
    log = _Record(record, [str(sample) for sample in samples], budget)
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
        shift=log.shift,
        md=md or {},
    )
    plan = _Shift(job, log, costs, budget, spread, clock).plan(samples)
    checked = within(limits, diffractometer, plan, costs=costs, revisits=True, clock=clock)
    return (yield from checked)


class _Record:
    """The file of a shift: which runs each sample has had, and seconds spent. Without a path, nothing."""

    def __init__(self, path: str | Path | None, samples: list[str], budget: float) -> None:
        self.path = None if path is None else Path(path)
        self.shift, self.seconds = uuid.uuid4().hex[:12], 0.0
        self.runs: dict[str, str] = {}
        if self.path is not None and self.path.is_file():
            self._read(samples)
        else:
            self._write({"shift": self.shift, "samples": samples, "budget": budget})

    def _read(self, samples: list[str]) -> None:
        assert self.path is not None
        rows = []
        for line in self.path.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:  # the line that was being written when the power went
                continue
        if not rows or "shift" not in rows[0]:
            raise BadInput(f"{self.path} is no record of a survey: name another file.")
        if rows[0]["samples"] != samples:
            raise BadInput(f"{self.path} is of other samples: name another file, or give the same samples.")
        self.shift = rows[0]["shift"]
        for row in rows[1:]:
            self.runs[row["sample"]] = row["uid"]
            self.seconds = max(self.seconds, float(row["seconds"]))

    def add(self, sample: str, uid: str, decision: Decision, seconds: float) -> None:
        """A run that is done; seconds: spent in the shift so far."""
        self.runs[sample] = uid
        row = {"sample": sample, "uid": uid, "decision_id": decision.decision_id, "seconds": seconds}
        self._write(row)

    def _write(self, row: dict[str, Any]) -> None:
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


@dataclass(slots=True)
class _Waiting:
    """A sample whose next measurement the agent has proposed."""

    name: str
    changer: str | int
    decision: Decision
    state: State
    context: dict[str, Any]


class _Shift:
    """One call of `survey`."""

    def __init__(
        self,
        job: Job,
        log: _Record,
        costs: Costs,
        budget: float,
        spread: float,
        clock: Callable[[], float],
    ) -> None:
        self.job, self.log, self.costs, self.clock = job, log, costs, clock
        self.budget, self.spread = budget, spread
        self.decided: dict[str, Decision] = {}
        self._began = 0.0
        self._before = log.seconds
        self._in_beam: str | None = None

    @property
    def spent(self) -> float:
        """Seconds of the shift so far, those before an interruption included."""
        return self._before + self.clock() - self._began

    def plan(self, samples: Sequence[str | int]) -> Plan:
        self._began = self.clock()
        lit = yield from self.job.lit()
        waiting: list[_Waiting] = []
        for i, sample in enumerate(samples):
            context = self.job.context(str(sample), len(samples) - 1, lit)
            found = yield from self._glance(sample, i, context, lit)
            if found is not None:
                waiting.append(found)
        while waiting:
            best = whose_turn(waiting, self._in_beam, self.costs, spread=self.spread)
            waiting.remove(best)
            if not self._fits(best):
                continue
            again = yield from self._measured(best)
            if again is not None:
                waiting.append(again)
        return self.decided

    def _glance(self, sample: str | int, position: int, context: dict[str, Any], lit: dict[str, Any]) -> Plan:
        name = str(sample)
        uid = self.log.runs.get(name)
        first = self.job.first(name, position, lit)
        if uid is None:
            yield from self._to(sample)
            try:
                metadata = {**context, **self._left()}
                uid = yield from self.job.run(first, metadata, whole=self.job.whole(first))
            except OutsideLimits as error:
                if "carried out already" not in str(error):
                    raise
                return None  # the agent has it, this file lost it: the agent's ledger holds the answer
            if uid is not None:
                self.log.add(name, uid, first, self.spent)
        return (yield from self._asked(name, sample, uid, context))

    def _asked(self, name: str, sample: str | int, uid: str | None, context: dict[str, Any]) -> Plan:
        decision, state = yield from self.job.ask(uid, name)
        self.decided[name] = decision
        if decision.action not in MEASURING:
            return None
        return _Waiting(name, sample, decision, state, context)

    def _measured(self, waiting: _Waiting) -> Plan:
        allowed = yield from self.job.allowed(waiting.decision, waiting.state)
        if not allowed:
            return None
        yield from self._to(waiting.changer)
        uid = yield from self.job.run(waiting.decision, {**waiting.context, **self._left()})
        if uid is None:
            return None
        self.log.add(waiting.name, uid, waiting.decision, self.spent)
        return (yield from self._asked(waiting.name, waiting.changer, uid, waiting.context))

    def _to(self, sample: str | int) -> Plan:
        if self._in_beam != str(sample):
            yield from bps.mv(self.job.diffractometer.sample, sample)
            self._in_beam = str(sample)

    def _left(self) -> dict[str, Any]:
        return {"eg_survey_left": max(0.0, self.budget - self.spent)}

    def _fits(self, waiting: _Waiting) -> bool:
        return self.spent + seconds_of(waiting, self._in_beam, self.costs) <= self.budget
