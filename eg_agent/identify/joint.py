"""Network and fit weighed together where a cell is known, by what the measurement is like.

    ln p(g) ~ N(z) (network(g) - prior(g)) + n prior(g) + L(z) lattice(g)
              + ln[ (1 - e) evidence(g) + e / 99 ],
    evidence(g) ~ exp(sum over traits t of  W_t(z) x_t(g))

in nats, a bounded correction by a small network (`refinement`), and all of it to one power, with which its
claims on formulas that nothing was fitted to come true (docs/decisions/0026). x are the traits of a group's
best setting (`eg_agent.verify.traits.TRAITS`), lattice is what the shape of the lattice adds to the prior
(`lattice_prior`), z the measurement in numbers (`CONTEXT`); N, L and W are linear in z, N also in how
undecided the network is, and what says that a candidate is violated never counts in its favour (`MOST`). One
power for network and evidence, whatever was measured, has to serve a glance at a weak sample and a night's
scan of a good one, and is wrong for both. The weights in joint.json were fitted by the probability of the
true group on simulated measurements of all kinds (`eg-train study joint`), never on measured ones.
docs/decisions/0014.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from eg_agent.chemistry import Composition
from eg_agent.identify import lattice_prior
from eg_agent.identify import refinement as refining
from eg_agent.identify.formula_units import log_units
from eg_agent.identify.fusion import N_GROUPS, LogProbability, normalise
from eg_agent.identify.refinement import Refinement
from eg_agent.verify.evidence import Evidence
from eg_agent.verify.metric import Cell, volume
from eg_agent.verify.traits import CONTEXT, TRAITS

Floats = npt.NDArray[np.float64]

#: [t] most that a trait may count: what says that a candidate is violated never speaks for it.
MOST = np.where(np.isin(TRAITS, ("evidence", "chi_square", "strongest", "learned", "whole")), 0.0, np.inf)
#: Least and most that the network may count, whatever the context says.
NETWORK = (0.05, 1.5)
#: Least and most that the lattice may count.
LATTICE = (0.0, 1.0)
#: Nats between which the entropy of the network's posterior, less one, is believed to matter.
UNDECIDED = (-1.0, 1.5)


@dataclass(frozen=True, eq=False)
class JointWeights:
    """traits: [t, 1 + z], at the context 0 and by how much they change with it; network: [1 + z + 1], the
    last by the entropy of the network's posterior; lattice: [1 + z]; prior: power of the prior; misled:
    chance that the fit says nothing; power: of the whole posterior, after its correction. low, high: [z]
    between which the context is believed (3 and 97 % of what was fitted on).
    """

    traits: Floats
    network: Floats
    lattice: Floats
    prior: float
    misled: float
    power: float
    low: Floats
    high: Floats


@cache
def shipped() -> JointWeights:
    """The weights in joint.json."""
    found = json.loads(Path(__file__).with_name("joint.json").read_text("utf-8"))
    return weights_of(found["weights"])


def weights_of(found: dict[str, Any]) -> JointWeights:
    """Weights from their form in joint.json."""
    return JointWeights(
        traits=np.array([found["traits"][name] for name in TRAITS]),
        network=np.array(found["network"]),
        lattice=np.array(found["lattice"]),
        prior=float(found["prior"]),
        misled=float(found["misled"]),
        power=float(found["power"]),
        low=np.array([found["context"][name][0] for name in CONTEXT]),
        high=np.array([found["context"][name][1] for name in CONTEXT]),
    )


def can_weigh(evidence: Evidence) -> bool:
    """Whether there is a fit with all traits (records of older versions have none, or fewer)."""
    complete = all(len(candidate.traits) == len(TRAITS) for candidate in evidence.candidates)
    return evidence.status == "fitted" and bool(evidence.context) and bool(evidence.candidates) and complete


def weigh(
    network: LogProbability,
    log_prior: LogProbability,
    evidence: Evidence,
    carried: Iterable[int] = (),
    composition: Composition | None = None,
    weights: JointWeights | None = None,
    refinement: Refinement | None = None,
) -> LogProbability:
    """[99] nats, normalised. network, log_prior: [99], the posterior and the prior that is inside it.

    The lattice is that of the evidence's cell. carried: groups that the lattice can carry though they were
    not scored (a branch search leaves some out); they count as the worst of the scored ones. composition: for
    the formula units in the cell; what else it says is in the network's posterior. weights, refinement: those
    of the package; with other weights, nothing is corrected unless it is given.
    """
    refinement = refinement or (refining.shipped() if weights is None else Refinement())
    weights = weights or shipped()
    z = np.clip(np.array(evidence.context), weights.low, weights.high)
    numbers = np.array([candidate.group for candidate in evidence.candidates])
    traits = np.array([candidate.traits for candidate in evidence.candidates])
    by_trait = np.minimum(weights.traits[:, 0] + weights.traits[:, 1:] @ z, MOST)
    value = np.full(N_GROUPS, -np.inf)
    scored = traits @ by_trait
    for number in carried:
        value[number - 1] = scored.min()
    value[numbers - 1] = scored
    said = np.logaddexp(
        np.log1p(-weights.misled) + value - logsumexp(value), np.log(weights.misled / N_GROUPS)
    )
    undecided = float(np.clip(-np.sum(np.exp(network) * network) - 1.0, *UNDECIDED))
    power = weights.network[0] + weights.network[1:-1] @ z + weights.network[-1] * undecided
    power = float(np.clip(power, *NETWORK))
    by_lattice = float(np.clip(weights.lattice[0] + weights.lattice[1:] @ z, *LATTICE))
    lattice = of_cell(evidence.cell, composition)
    found = power * (network - log_prior) + weights.prior * log_prior + by_lattice * lattice + said
    found, at = normalise(found), numbers - 1
    inputs = refining.inputs_of(
        traits, (network - log_prior)[at], log_prior[at], lattice[at], found[at], z, undecided
    )
    found[at] += refinement(inputs)
    return normalise(weights.power * normalise(found))


def of_cell(cell: Cell | None, composition: Composition | None = None) -> LogProbability:
    """[99] nats that the lattice of a cell adds to the prior."""
    return np.zeros(N_GROUPS) if cell is None else lattice_prior.shipped()(cell, composition)


def units_of(cell: Cell | None, composition: Composition | None) -> float | None:
    """Formula units in a cell, by volume; None where the composition is not known in whole amounts."""
    if cell is None:
        return None
    found = log_units(volume(cell), composition, lattice_prior.shipped().atomic_volumes)
    return math.exp(found) if math.isfinite(found) else None
