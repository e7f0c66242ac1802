"""From the two heads to one posterior: temperature, fusion weights and an explicit prior. Numpy only.

Both heads are trained under the class prior of the training run and answer with it inside. Here it
is divided out and the user's put in its place. Two fusions:

- "linear", the paper's: p = alpha * p_split + (1 - alpha) * p_aux, p_aux = softmax(logits / T + log prior).
- "log-pool", ours: log p = [w * (split - its prior) + (1 - w) * (aux - train)] / T + u * log prior,
  normalised. It is a logistic regression in (w/T, (1-w)/T, u), so its fit is convex, and it comes out better
  calibrated than the linear pool (in a 99-class simulation: ECE .015 against .079).

T may grow with a pattern's ambiguity: the entropy of what the auxiliary head says by itself. Of measured
patterns a network knows some compounds better than it says and others worse; one T for all then makes the
middle of the confidences too high and the top too low (docs/explanations/calibration.md).

The split head multiplies system, lattice and bits as if they were independent. Without any pattern it
so answers `split_prior`, the product of the marginals, and not the class prior; that is what has to be
divided out of it (with the class prior instead, it loses more than a bit).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from eg_agent.model.prior import FloatArray, normalised
from eg_agent.symmetry import published_codes
from eg_agent.values import VALUE_CONFIG


@dataclass(frozen=True, slots=True)
class Calibration:
    """How two heads become one posterior.

    temperature: T > 0, divisor of the log-likelihoods.
    split_weight: share of the split head, 0 to 1 (alpha of the paper in a linear pool).
    prior_weight: exponent of the prior (1: Bayes).
    fusion: "log-pool" or "linear".
    novelty_slope: k of T = temperature * exp(k z), z the novelty of a pattern (see
        `eg_agent.model.novelty`): a network is overconfident on what is unlike its training. 0: one T.
    entropy_slope: e of T = temperature * exp(e h), h the `ambiguity` of a pattern. 0: one T.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    temperature: float = 1.0
    split_weight: float = 0.3
    prior_weight: float = 1.0
    fusion: Literal["log-pool", "linear"] = "log-pool"
    novelty_slope: float = 0.0
    entropy_slope: float = 0.0

    def temperature_of(
        self, novelty: npt.ArrayLike | None = None, ambiguous: npt.ArrayLike | None = None
    ) -> FloatArray:
        """T of each pattern [n, 1] with a novelty [n] and an ambiguity [n]; [1, 1] of a usual one without."""
        z = np.zeros(1) if novelty is None else np.atleast_1d(np.asarray(novelty, dtype=np.float64))
        h = np.zeros(1) if ambiguous is None else np.atleast_1d(np.asarray(ambiguous, dtype=np.float64))
        # What lies beyond 3 deviations was seen by no calibration: it is treated as what lies there.
        exponent = self.novelty_slope * np.clip(z, -3.0, 3.0) + self.entropy_slope * h
        return self.temperature * np.exp(exponent)[:, None]

    @property
    def aux_weight(self) -> float:
        """Share of the auxiliary head."""
        return 1.0 - self.split_weight


#: Crystal systems and lattices: the first bits of a code, of which exactly one each is set.
ONE_HOT = 12


def ambiguity(aux_logits: npt.ArrayLike) -> FloatArray:
    """[n] entropy of softmax(aux_logits [n, 99]) in units of ln 99, minus 1/2: -0.5 sure, 0.5 uniform.

    Of the head's own answer, with the prior of training inside, so that it does not depend on the user's.
    """
    log_p = normalised(aux_logits)
    return -(np.exp(log_p) * log_p).sum(axis=-1) / np.log(log_p.shape[-1]) - 0.5


def split_prior(log_train_prior: npt.ArrayLike) -> FloatArray:
    """What the split head answers [99] when it knows nothing: the decoder's product of marginals."""
    codes_GN = np.array(published_codes(), dtype=np.float64)
    marginal_N = np.clip(np.exp(np.asarray(log_train_prior, dtype=np.float64)) @ codes_GN, 1e-9, 1.0 - 1e-9)
    present_N, absent_N = np.log(marginal_N), np.log1p(-marginal_N)
    absent_N[:ONE_HOT] = 0.0
    return normalised(codes_GN @ present_N + (1.0 - codes_GN) @ absent_N)


def apply(
    calibration: Calibration,
    split_scores: npt.ArrayLike,
    aux_logits: npt.ArrayLike,
    log_train_prior: npt.ArrayLike,
    log_prior: npt.ArrayLike,
    novelty: npt.ArrayLike | None = None,
) -> FloatArray:
    """Fused log-probabilities [n, 99], normalised.

    split_scores: [n, 99] from `Network.split_scores`. aux_logits: [n, 99] of the auxiliary head.
    log_train_prior: [99] the class prior of training. log_prior: [99] or [n, 99], the one to answer with.
    novelty: [n] z of each pattern, for a calibration that depends on it.
    """
    split = normalised(split_scores)
    aux = normalised(aux_logits) - np.asarray(log_train_prior, dtype=np.float64)
    prior = np.asarray(log_prior, dtype=np.float64)
    share, power = calibration.split_weight, calibration.prior_weight
    T = calibration.temperature_of(novelty, ambiguity(aux_logits))
    if calibration.fusion == "log-pool":
        split = split - split_prior(log_train_prior)
        return normalised((share * split + (1.0 - share) * aux) / T + power * prior)
    log_aux = normalised(aux / T + power * prior)
    with np.errstate(divide="ignore"):  # a share of exactly 0 or 1 leaves one head alone
        return normalised(np.logaddexp(np.log(share) + split, np.log1p(-share) + log_aux))


@dataclass(frozen=True, slots=True)
class LibraryWeights:
    """How a network's posterior and a library's lookup become one.

    log p = a (network - prior) + b lookup + c prior, normalised.

    Both look at the same pattern and err together, so that their plain product (all weights 1, the default)
    is too sure of itself. A lookup of zeros is none: then the network's posterior stands.
    network, lookup, prior: a, b and c, fitted on labelled patterns.
    fitted_with: name and hash of the library; weights hold for one of its kind.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    network: float = 1.0
    lookup: float = 1.0
    prior: float = 1.0
    fitted_with: str = ""

    def joined(
        self, log_probability: npt.ArrayLike, log_prior: npt.ArrayLike, lookup: npt.ArrayLike
    ) -> FloatArray:
        """[..., 99] nats, normalised. log_probability: of the network, with log_prior inside."""
        return normalised(
            np.asarray(log_probability, dtype=np.float64) + self.added(log_probability, log_prior, lookup)
        )

    def added(
        self, log_probability: npt.ArrayLike, log_prior: npt.ArrayLike, lookup: npt.ArrayLike
    ) -> FloatArray:
        """[..., 99] nats, not normalised, that a lookup adds to the network's log-probabilities."""
        prior = np.asarray(log_prior, dtype=np.float64)
        said = np.asarray(log_probability, dtype=np.float64) - prior
        known = np.asarray(lookup, dtype=np.float64)
        added = (self.network - 1.0) * said + self.lookup * known + (self.prior - 1.0) * prior
        return np.where(known.any(axis=-1, keepdims=True), added, 0.0)
