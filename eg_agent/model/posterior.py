"""`Posterior`: what a network says of a pattern. No torch here, so that reading one is cheap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from eg_agent.values import VALUE_CONFIG, FloatArray


@dataclass(frozen=True, eq=False)
class Posterior:
    """Log-probabilities over the 99 extinction groups, and where they came from.

    log_probability: [99] nats, index = group number - 1, normalised (logsumexp is 0).
    log_prior: [99] nats, the normalised prior that is inside `log_probability`.
    checkpoint: hash of the weights file (first 16 hex digits).
    temperature: divisor of the logits.
    prior: name of the prior ("mineral", "inorganic", "organic", "uniform", or a file).
    prediction_set: group numbers that cannot be ruled out, most probable first, never empty from a
        `Classifier`; it holds the true group with the probability `set_coverage` (see
        `eg_agent.model.conformal`, and the checkpoint's card for what that was measured on).
    closed_set: the smallest closed set on the subgroup graph around it: with all groups between.
    novelty: how far the pattern is from what the network was trained on, in standard deviations of
        simulated patterns; None where the checkpoint has no such reference.
    out_of_distribution: the novelty is above the checkpoint's threshold: do not trust the rest.
    composition: what was told of the chemistry ("" for nothing): a formula, or elements with commas.
    composition_odds: log-odds that it belongs to the pattern; None without one.
    composition_entries: (group number, entries) of known compounds of this composition, or of these elements
        where only they are told, most first; an entry with other amounts counts less than 1.
    contradicts: composition and pattern contradict each other; the composition was then not used.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    log_probability: FloatArray
    log_prior: FloatArray
    checkpoint: str
    temperature: float
    prior: str
    prediction_set: tuple[int, ...] = ()
    closed_set: tuple[int, ...] = ()
    set_coverage: float | None = None
    novelty: float | None = None
    out_of_distribution: bool = False
    composition: str = ""
    composition_odds: float | None = None
    composition_entries: tuple[tuple[int, float], ...] = ()
    contradicts: bool = False

    @property
    def probability(self) -> npt.NDArray[np.float64]:
        """[99] probabilities."""
        return np.exp(self.log_probability)

    def top(self, k: int = 5) -> list[tuple[int, float]]:
        """The k most probable groups as (number 1-99, probability), best first."""
        order = np.argsort(self.log_probability)[::-1][:k]
        return [(int(i) + 1, float(np.exp(self.log_probability[i]))) for i in order]
