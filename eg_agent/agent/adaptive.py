"""`AdaptiveOptimizer`: an agent in the protocols of bluesky-adaptive, for who runs its loop.

bluesky-adaptive (the project that was Blop) has no base class to inherit from, only protocols that are
checked by their methods: `Optimizer` (suggest, ingest, get_best_points), `EvaluationFunction` (called with a
run's uid), `Checkpointable`, `SupportsStoppingCriteria`. This adapter has these methods and imports nothing
of that package. Its points are measurements of one sample: windows in degrees 2-theta and seconds a point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as NoAnswer
from typing import Any

from eg_agent.agent.agent import Agent
from eg_agent.agent.answer import Answer
from eg_agent.decide.decision import Decision
from eg_agent.decide.limits import MEASURING
from eg_agent.errors import BadInput

#: What bluesky-adaptive calls the identity of a suggestion.
ID_KEY = "_id"


class AdaptiveOptimizer:
    """The measurement of one sample as an optimisation that stops when its symmetry is known.

    agent: in mode "act"; its RunEngine measures, or another one whose runs it sees.
    first: the first measurement, before anything is known: `two_theta` (low, high) and
        `seconds_per_point`; degrees and seconds.
    timeout: seconds that `__call__` waits for the agent's answer to a run.

    A suggestion is `{"_id": decision id, "windows": ((low, high), ...), "seconds_per_point": s,
    "action": ...}`; none are suggested when the agent would measure no more. An outcome is
    `{"_id", "entropy", "probability", "group", "verdict", "run_uid"}`, entropy in nats, to be minimised.
    """

    def __init__(
        self,
        agent: Agent,
        sample: str,
        *,
        two_theta: tuple[float, float],
        seconds_per_point: float,
        timeout: float = 60.0,
    ) -> None:
        self.agent = agent
        self.sample = sample
        self._timeout = timeout
        self._decision: Decision | None = Decision(
            decision_id=f"first-{sample}",
            action="count longer",
            reason="First measurement of the sample, as it was asked for.",
            windows=(two_theta,),
            seconds_per_point=seconds_per_point,
            sample=sample,
        )
        self._suggested: dict[str, Mapping[str, Any]] = {}
        self._best: tuple[Any, Mapping[str, Any], Mapping[str, Any]] | None = None

    def suggest(self, num_points: int | None = None) -> Sequence[Mapping[str, Any]]:
        """The next measurement, or none. One at a time: what comes next depends on what it says."""
        decision = self._decision
        if decision is None or decision.action not in MEASURING or num_points == 0:
            return ()
        begun = self.agent.begin(decision)
        if begun is None:  # it has had its run
            return ()
        point = {
            ID_KEY: begun.decision_id,
            "windows": begun.windows,
            "seconds_per_point": begun.seconds_per_point,
            "action": begun.action,
        }
        self._suggested[begun.decision_id] = point
        return (point,)

    def ingest(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Take outcomes of `__call__`. Raises BadInput for one that is none of this sample's runs."""
        for point in points:
            answer = self._answer(str(point.get("run_uid", "")))
            if answer.sample != self.sample:
                raise BadInput(f"the run measured {answer.sample!r}, this is about {self.sample!r}.")
            self._decision = answer.decision
            outcome = dict(point)
            if self._best is None or outcome["entropy"] <= self._best[2]["entropy"]:
                ident = point.get(ID_KEY)
                self._best = (ident, self._suggested.get(str(ident), {}), outcome)

    def get_best_points(self) -> Sequence[tuple[Any, Mapping[str, Any], Mapping[str, Any]]]:
        """(id, measurement, outcome) of the measurement after which most was known; none before the first."""
        return () if self._best is None else (self._best,)

    def should_stop(self) -> tuple[bool, str | None]:
        """Whether the agent would measure no more, and why."""
        decision = self._decision
        if decision is None or decision.action in MEASURING:
            return False, None
        return True, decision.reason

    def checkpoint(self) -> None:
        """Everything is on disk already: the agent's journal and ledger are written before anything else."""
        self.agent.journal.sync()

    def __call__(self, uid: str, suggestions: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """The outcome of a run (an `EvaluationFunction`). Raises BadInput when there is none in time."""
        answer = self._answer(uid)
        found = answer.identification
        if found is None or found.log_probability is None or not found.top:
            said = answer.problem or (found.reason if found is not None else "")
            raise BadInput(f"run {uid[:8]} gave no answer: {said}")
        from eg_agent.identify.information import entropy

        outcome = {
            "entropy": entropy(found.log_probability),
            "probability": found.top[0].probability,
            "group": found.top[0].symbol,
            "verdict": found.verdict,
            "run_uid": uid,
        }
        return [{ID_KEY: point.get(ID_KEY), **outcome} for point in suggestions]

    def _answer(self, uid: str) -> Answer:
        try:
            return self.agent.ask(uid).result(self._timeout)
        except (NoAnswer, CancelledError):
            raise BadInput(f"run {uid[:8]} was not answered within {self._timeout:g} s.") from None
