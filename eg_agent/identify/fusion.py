"""One probability over the 99 groups from a network, a fit and a library. Pure numpy, indices = number - 1.

    p(g) ~ network(g)^w_n lookup(g)^w_l [ (1 - e) evidence(g) + e / 99 ],
    evidence(g) ~ exp(w_e log_evidence(g))

over the groups that the lattice can carry, each in its best setting. The evidence of a fit is a sum
over hundreds of reflections whose misfit is correlated, so it is tempered by w_e; with probability e
it is taken to be misled altogether (a cell of another phase, a misfit not noticed). The mixture keeps
a group that the cell cannot carry improbable and never impossible, so that a wrong cell does not win
over a sure network. The lookup (what the similarity to known structures says, where a library is
given) has its own such mixture inside, see `eg_agent.library.expert`. Groups of equal absences (72 and
78, 82 and 83) get equal evidence and share it by the network's posterior and the lookup alone.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from eg_agent.identify.settings import IdentifySettings
from eg_agent.verify.evidence import Evidence

N_GROUPS = 99

LogProbability = npt.NDArray[np.float64]


def normalise(log_weight: LogProbability) -> LogProbability:
    """[99] log-probabilities of [99] log-weights."""
    return log_weight - logsumexp(log_weight)


def evidence_posterior(
    evidence: Evidence, settings: IdentifySettings, carried: Iterable[int] = ()
) -> LogProbability | None:
    """[99] nats: the evidence alone with a uniform prior over the 99 groups; None without a fit.

    carried: groups that the lattice can carry though they were not scored (a branch search leaves
        some out). They count as the worst of the scored ones: nothing speaks for them.
    """
    if evidence.status != "fitted" or not evidence.candidates:
        return None
    scored: dict[int, float] = {}
    for candidate in evidence.candidates:
        best = scored.get(candidate.group, -np.inf)
        scored[candidate.group] = max(best, candidate.log_evidence)
    worst = min(scored.values())
    log_weight = np.full(N_GROUPS, -np.inf)
    for group in carried:
        log_weight[group - 1] = settings.evidence_weight * worst
    for group, value in scored.items():
        log_weight[group - 1] = settings.evidence_weight * value
    return np.logaddexp(
        np.log1p(-settings.misled) + normalise(log_weight), np.log(settings.misled / N_GROUPS)
    )


def fuse(
    network: LogProbability,
    evidence: LogProbability | None,
    settings: IdentifySettings,
    lookup: LogProbability | None = None,
) -> LogProbability:
    """[99] nats, normalised: the network's posterior as prior, times evidence and lookup where there are any.

    lookup: [99] nats of a library's expert, with a uniform prior.
    Without either the network's posterior stands as it is: its weight is for the product only.
    """
    if evidence is None and lookup is None:
        return normalise(network)
    total = settings.network_weight * network
    if lookup is not None:
        total = total + settings.library_weight * lookup
    if evidence is not None:
        total = total + evidence
    return normalise(total)


def prediction_set(log_probability: LogProbability, coverage: float) -> tuple[int, ...]:
    """The fewest group numbers whose probabilities reach `coverage`, most probable first; never empty.

    Of equally probable groups the lower number comes first, so that the set is always the same one.
    """
    order = ranking(log_probability)
    reached = np.cumsum(np.exp(log_probability[order]))
    count = int(np.searchsorted(reached, coverage * (1.0 - 1e-12))) + 1
    return tuple(int(i) + 1 for i in order[: min(count, N_GROUPS)])


def ranking(log_probability: LogProbability) -> npt.NDArray[np.intp]:
    """[99] indices (number - 1), most probable first, ties by number."""
    return np.argsort(-log_probability, kind="stable")
