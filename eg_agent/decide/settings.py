"""`DecideSettings`: the constants of the policy, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from eg_agent.values import VALUE_CONFIG


@dataclass(frozen=True, slots=True)
class DecideSettings:
    """Constants of the policy. The defaults are judgements, to be replaced by what simulation shows.

    smallest_gain: nats; a measurement that promises less is not worth asking for.
    exposures: further counting to consider, in units of the counting time so far.
    half_counts: counts in the strongest point at which half of the noise's effect is gone (in
        variance).
    settled_entropy: nats that the network keeps however long one counts.
    scan_power: share of the entropy that a whole scan is expected to remove.
    smallest_gap: degrees; narrower unmeasured gaps are left alone.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    smallest_gain: float = 0.05
    exposures: tuple[float, ...] = (1.0, 3.0, 7.0, 15.0)
    half_counts: float = 300.0
    settled_entropy: float = 0.3
    scan_power: float = 0.5
    smallest_gap: float = 2.0
