"""`DecideSettings`: the constants of the policy, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from eg_agent.errors import BadInput
from eg_agent.values import VALUE_CONFIG


@dataclass(frozen=True, slots=True)
class DecideSettings:
    """Constants of the policy; judgements, but for the two that describe the network's noise.

    smallest_gain: nats; a measurement that promises less is not worth asking for.
    share_of_best: a measurement has to promise this share of what the most telling affordable one does.
    exposures: further counting to consider, in units of the counting time so far.
    half_counts: counts in the strongest point at which half of the noise's effect is gone (in
        variance).
    noise_share: share of the network's entropy that is laid to noise at a very small count; the rest
        stays however long one counts. Both describe a checkpoint: `tests/bench/study_counting.py` fits
        them on simulated patterns, the defaults are for the first shipped one.
    weak_ratio: further counting of the whole range, in units of the counting so far, when nothing stood above
        the noise.
    scan_power: share of the entropy that a whole scan is expected to remove.
    smallest_gap: degrees; narrower unmeasured gaps are left alone.
    smallest_weight: probability below which a group is no hypothesis to predict from.
    draws: of truths, for the expected gain. enough: probability of one group that decides the sample.
    wrong_stop: seconds that a wrong or an unfinished answer costs. A measurement has to be worth its time: it
        may cost no more than this times the doubt (1 - probability of the best answer) that it is expected
        to remove, in proportion to the entropy.
    stride: a measurement may cost so many times the time spent on the sample so far, where one that is worth
        it does; so the time to an answer is never much more than twice what it had to be.
    unfitted: share of the entropy that a fit is expected to remove where none stands yet.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    smallest_gain: float = 0.05
    share_of_best: float = 0.5
    exposures: tuple[float, ...] = (0.5, 1.0, 3.0, 7.0, 15.0, 31.0)
    half_counts: float = 10.0
    noise_share: float = 0.25
    weak_ratio: float = 3.0
    scan_power: float = 0.5
    smallest_gap: float = 2.0
    smallest_weight: float = 1e-3
    draws: int = 96
    enough: float = 0.9
    wrong_stop: float = 28800.0
    stride: float = 1.0
    unfitted: float = 0.5

    def __post_init__(self) -> None:
        if not self.exposures or not all(0.0 < value < float("inf") for value in self.exposures):
            raise BadInput(f"exposures {self.exposures}: give at least one number above 0.")
        for name in ("half_counts", "smallest_gap", "weak_ratio", "draws", "wrong_stop", "stride"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise BadInput(f"{name} is {getattr(self, name):g}: give a number above 0.")
        for name in ("noise_share", "scan_power", "share_of_best", "smallest_weight", "enough", "unfitted"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise BadInput(f"{name} is {getattr(self, name):g}: give a share between 0 and 1.")
        if not self.smallest_gain >= 0.0:
            raise BadInput(f"smallest_gain is {self.smallest_gain:g}: give nats, 0 or more.")
