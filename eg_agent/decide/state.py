"""`State`: what was spent on a sample and on the shift so far; rebuilt from the ledger, never guessed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from pydantic import ConfigDict

from eg_agent.decide.decision import Decision
from eg_agent.identify.identification import Identification, Verdict
from eg_agent.identify.information import entropy
from eg_agent.values import VALUE_CONFIG


@dataclass(frozen=True, slots=True)
class Look:
    """What one measurement of the sample said.

    group: most probable group (None when refused), with its probability; entropy in nats.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    verdict: Verdict
    group: int | None = None
    probability: float | None = None
    entropy: float | None = None
    pattern_uid: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A measurement of the sample that was carried out, with what it promised and what it told.

    windows: degrees. promised: nats. told: nats by which the posterior's entropy changed, either way, or the
    whole promise where another group leads since; None while nobody has looked.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    windows: tuple[tuple[float, float], ...]
    promised: float
    told: float | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What was spent, and what was seen.

    sample: name of the sample that is in the beam.
    sample_seconds, total_seconds: seconds spent on it, and on the shift so far (moves and overhead
        included).
    repeats: measurements of this sample after its first.
    samples_left: samples that wait, None when it is not known.
    seconds_per_point: counting time of the last measurement, where the pattern does not say.
    history: one look a measurement of this sample, oldest first.
    sample_dose: what this sample got so far, in the unit of `Costs.dose_rate`. spun: whether it was spun.
    asked: what was measured of this sample since its first scan, oldest first.
    step: degrees between the points of the last measurement by itself, None where it is not known. Where
        measurements are interleaved, all of them together have half of it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    sample: str = ""
    sample_seconds: float = 0.0
    total_seconds: float = 0.0
    repeats: int = 0
    samples_left: int | None = None
    seconds_per_point: float | None = None
    history: tuple[Look, ...] = ()
    sample_dose: float = 0.0
    spun: bool = False
    asked: tuple[Asked, ...] = ()
    step: float | None = None

    def seen(self, identification: Identification) -> State:
        """The state with one more look."""
        new = look(identification)
        asked = self.asked
        if asked and asked[-1].told is None and self.history:
            asked = (*asked[:-1], replace(asked[-1], told=_told(self.history[-1], new, asked[-1].promised)))
        return replace(self, history=(*self.history, new), asked=asked)

    def spent(self, decision: Decision, seconds: float | None = None) -> State:
        """The state after a measuring decision was carried out on the same sample.

        seconds: what it really took; the decision's estimate when it is not known.
        """
        took = decision.cost if seconds is None else seconds
        return replace(
            self,
            sample_seconds=self.sample_seconds + took,
            total_seconds=self.total_seconds + took,
            repeats=self.repeats + 1,
            seconds_per_point=decision.seconds_per_point or self.seconds_per_point,
            sample_dose=self.sample_dose + decision.dose,
            spun=self.spun or decision.action == "spin",
            asked=(*self.asked, Asked(decision.windows, decision.expected_gain * decision.cost)),
        )

    def measured(
        self,
        seconds: float,
        *,
        seconds_per_point: float | None = None,
        dose: float = 0.0,
        step: float | None = None,
    ) -> State:
        """The state after the first measurement of the sample took `seconds`; step: degrees."""
        return replace(
            self,
            sample_seconds=self.sample_seconds + seconds,
            total_seconds=self.total_seconds + seconds,
            seconds_per_point=seconds_per_point or self.seconds_per_point,
            sample_dose=self.sample_dose + dose,
            step=step or self.step,
        )

    def next_sample(self, sample: str, *, seconds: float = 0.0) -> State:
        """The state when `sample` comes into the beam, `seconds` after the last measurement."""
        left = None if self.samples_left is None else max(0, self.samples_left - 1)
        return State(sample=sample, total_seconds=self.total_seconds + seconds, samples_left=left)


def _told(before: Look, after: Look, promised: float) -> float:
    """Nats that the last measurement told, as `Asked` counts them."""
    if before.entropy is None or after.entropy is None or before.group != after.group:
        return promised
    return abs(after.entropy - before.entropy)


def look(identification: Identification) -> Look:
    """The part of an identification that the next decisions remember."""
    uid = identification.provenance.pattern_uid
    if identification.log_probability is None or not identification.top:
        return Look(verdict=identification.verdict, pattern_uid=uid)
    best = identification.top[0]
    return Look(
        verdict=identification.verdict,
        group=best.group,
        probability=best.probability,
        entropy=entropy(identification.log_probability),
        pattern_uid=uid,
    )
