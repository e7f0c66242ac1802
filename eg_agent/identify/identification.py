"""`Identification`: the answer for one pattern, with its reason and provenance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict

from eg_agent.model.posterior import Posterior
from eg_agent.patterns.pattern import Source
from eg_agent.values import VALUE_CONFIG, FloatArray
from eg_agent.verify.evidence import Evidence

Verdict = Literal["identified", "undecided", "no confident match", "refused"]


@dataclass(frozen=True, slots=True)
class GroupProbability:
    """One group of the answer: number, symbol, fused probability and the space groups inside it."""

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    group: int
    symbol: str
    crystal_system: str
    probability: float
    space_groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Settle:
    """A measurement that would settle the question between two groups.

    two_theta in degrees (window low, high); seconds of counting in that window, None when counting
    alone cannot tell or no rate is known.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    hkl: tuple[int, int, int] | None
    two_theta: tuple[float, float]
    seconds: float | None
    between: tuple[int, int]
    reason: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made this answer: enough to make it again."""

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    pattern_uid: str
    source: Source
    version: str
    checkpoint: str
    prior: str
    cell: tuple[float, float, float, float, float, float] | None = None
    settings: dict[str, float | int | str | bool | None] | None = None


@dataclass(frozen=True, eq=False)
class Identification:
    """The answer for one pattern.

    log_probability: [99] nats, fused posterior (network prior times evidence, calibrated); None when
        refused.
    prediction_set: group numbers whose fused probabilities reach `set_coverage`, most probable first.
    evidence_only: [99] nats, the evidence with a uniform prior, where there was a fit.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    verdict: Verdict
    reason: str
    provenance: Provenance
    top: tuple[GroupProbability, ...] = ()
    log_probability: FloatArray | None = None
    network: Posterior | None = None
    evidence: Evidence | None = None
    evidence_only: FloatArray | None = None
    prediction_set: tuple[int, ...] = ()
    set_coverage: float = 0.9
    would_settle: tuple[Settle, ...] = ()
    seconds: float = 0.0
