"""What a lookup says of the 99 groups: an expert beside the network and the verifier.

A search knows the best similarity s of each group. Were the misfit of a right match Gaussian with k
independent points, its likelihood would fall as the power k/2 of the residual 1 - s; and of n wrong entries
the best comes the closer the larger n is. So

    L(g) ~ (1 - s_g)^-sharpness / (1 + n_g)^crowding,

mixed with a flat expert with the probability `misled`, so that a group of which the library has nothing, or
nothing like the sample, stays possible. Against straight lines between seven similarities this loses
nothing (`trainer.library.calibrating`), and it has three constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict
from scipy.special import expit, logsumexp

from eg_agent.errors import BadInput
from eg_agent.values import VALUE_CONFIG

N_GROUPS = 99
Floats = npt.NDArray[np.float64]

#: Least residual 1 - s that counts: nothing fits better than this by more than chance.
LEAST_RESIDUAL = 0.005


@dataclass(frozen=True, slots=True)
class Expert:
    """Constants of the expert, see the module.

    The defaults were fitted on simulated patterns, two thirds of them of structures that the library held
    (`trainer.library.calibrating`), never on measured ones.

    sharpness: power of the residual. crowding: power of the number of entries. misled: probability that
    the lookup says nothing. known_middle, known_slope: logistic curve of `known_probability`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    sharpness: float = 7.2
    crowding: float = 0.6
    misled: float = 0.03
    known_middle: float = 0.82
    known_slope: float = 8.3

    def __post_init__(self) -> None:
        if not (self.sharpness >= 0 and self.crowding >= 0 and 0 < self.misled < 1):
            raise BadInput("a lookup's sharpness and crowding must be 0 or more, misled between 0 and 1.")

    def raw(self, by_group: npt.ArrayLike, group_sizes: npt.ArrayLike) -> Floats:
        """[..., 99] log L(g) of the module's text, before the mixture; nats, up to a constant."""
        residual = np.maximum(1.0 - np.asarray(by_group, dtype=np.float64), LEAST_RESIDUAL)
        crowd = np.log1p(np.asarray(group_sizes, dtype=np.float64))
        return -self.sharpness * np.log(residual) - self.crowding * crowd

    def log_scores(self, by_group: npt.ArrayLike, group_sizes: npt.ArrayLike) -> Floats:
        """[..., 99] nats, normalised: the posterior of the lookup alone with a uniform prior.

        by_group: [..., 99] best similarity of each group, 0 for none. group_sizes: [99] entries of each.
        """
        raw = self.raw(by_group, group_sizes)
        alone = raw - logsumexp(raw, axis=-1, keepdims=True)
        return np.logaddexp(np.log1p(-self.misled) + alone, np.log(self.misled / N_GROUPS))

    def known_probability(self, similarity: npt.ArrayLike) -> Floats:
        """Share of simulated patterns with this best similarity whose structure the library held.

        Two thirds of those patterns were of structures in the library: for another mix, multiply the odds.
        A high similarity does not prove that the very structure is there (isotypic compounds look alike);
        a low one says that it is not.
        """
        return expit(self.known_slope * (np.asarray(similarity, dtype=np.float64) - self.known_middle))
