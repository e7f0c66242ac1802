"""The verdict and its reason: one plain sentence for a person, with the numbers it rests on.

Rules, in this order (thresholds in `IdentifySettings`):

1. `no confident match`: there is no fit to go by (no cell, one that did not fit, or one found by indexing
   that is more likely wrong than right), and either the network calls the pattern out of distribution, or the
   answer lies within `flat_information` nats of the prior and no group has half of the probability: the
   pattern has said nothing.
2. `identified`: the leading group reaches `identified`, and nothing contradicts it: no single
   reflection that it forbids is seen with odds of `contradiction` nats against it, and a cell that was
   given did fit.
3. `undecided`: everything else. The prediction set is the answer, and `would_settle` says what to do.

`refused` is given before, by `eg_agent.patterns.check`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eg_agent.identify.fusion import ranking
from eg_agent.identify.identification import ProposedCell, Verdict
from eg_agent.identify.settings import IdentifySettings
from eg_agent.library.match import Lookup
from eg_agent.model.posterior import Posterior
from eg_agent.symmetry import group
from eg_agent.verify.evidence import CandidateEvidence, DecidingReflection, Evidence

#: Reflections, and groups, named in a sentence.
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and the sentence that explains it."""

    verdict: Verdict
    reason: str


def judge(
    log_probability: npt.NDArray[np.float64],
    network: Posterior,
    evidence: Evidence,
    chosen: tuple[int, ...],
    settings: IdentifySettings,
    lookup: Lookup | None = None,
    cells: tuple[ProposedCell, ...] = (),
    no_cell: float | None = None,
    formula_units: float | None = None,
) -> Judgement:
    """Verdict on a fused posterior.

    log_probability: [99] nats, fused. network: the posterior it started from. chosen: its prediction
    set, most probable first. lookup: what a library says, where one was asked. cells, no_cell: what indexing
    proposed, where no cell was given, and the probability that none of it is right. formula_units: in the
    given cell, by its volume, where the composition told them.
    """
    order = ranking(log_probability)
    top = float(np.exp(log_probability[order[0]]))
    fitted = evidence.status == "fitted"
    trusted = fitted and (no_cell is None or no_cell < 0.5)
    if not trusted and network.out_of_distribution:
        return Judgement(
            "no confident match",
            f"{_alone(evidence, lookup, no_cell)}, and the pattern is out of distribution"
            f"{_novelty(network)}, not what the network was made for. "
            "Is it a crystalline powder, and is the angle axis right?",
        )
    said = information(log_probability, network.log_prior)
    if not trusted and said < settings.flat_information and top < 0.5:
        return Judgement(
            "no confident match",
            f"{_alone(evidence, lookup, no_cell)}, and what is said is within {said:.2f} nats of the prior: "
            "the pattern does not tell the groups apart.",
        )
    leading = _candidate(evidence, int(order[0]) + 1) if fitted else None
    against = contradiction(leading, settings.contradiction) if leading else None
    refuted = evidence.status == "not fitted"
    verdict: Verdict = (
        "identified" if top >= settings.identified and not against and not refuted else "undecided"
    )
    if fitted:
        reason = _fitted_reason(log_probability, network, evidence, leading)
        if cells:
            reason = f"{_indexed(cells)}. {reason}"
    else:
        reason = f"{_alone(evidence, lookup, no_cell)}: {_odds(log_probability)}"
    if against:
        reason += (
            f", but {_name(against)} at {against.two_theta:.2f} deg, which it forbids, is seen: another "
            "phase, or another group"
        )
    if network.out_of_distribution:
        reason += f"; out of distribution for the network{_novelty(network)}: only the fit counts"
    if network.composition:
        reason += f"; {_chemistry(network, int(order[0]) + 1)}"
        if formula_units is not None:
            reason += f"; by volume the cell holds {formula_units:.2g} of it"
    if lookup is not None and lookup.matches:
        reason += f"; {_nearest(lookup)}"
    if verdict == "undecided" and len(chosen) > 1:
        reason += f"; {settings.coverage:.0%} of the probability lies in {len(chosen)} groups"
    return Judgement(verdict, reason + ".")


def information(log_probability: npt.NDArray[np.float64], log_prior: npt.NDArray[np.float64]) -> float:
    """Nats that the pattern has brought: the Kullback-Leibler divergence of [99] from the prior [99]."""
    # -inf times zero is zero here.
    finite = np.maximum(log_probability, -1e3)
    return float(np.sum(np.exp(log_probability) * (finite - log_prior)))


def contradiction(candidate: CandidateEvidence, nats: float) -> DecidingReflection | None:
    """The reflection that speaks most against a candidate that forbids it, if by more than `nats`."""
    seen = [r for r in candidate.deciding if r.forbidden and r.log_odds < -nats]
    return min(seen, key=lambda r: r.log_odds, default=None)


def _candidate(evidence: Evidence, number: int) -> CandidateEvidence | None:
    return next((c for c in evidence.candidates if c.group == number), None)


def _indexed(cells: tuple[ProposedCell, ...]) -> str:
    """The cell that indexing found, and how sure it is."""
    best = cells[0]
    lengths = " ".join(f"{v:.3f}" for v in best.cell[:3])
    angles = " ".join(f"{v:.2f}".rstrip("0").rstrip(".") for v in best.cell[3:])
    return (
        f"Indexing found the cell {lengths} {angles} ({best.lattice}, probability {best.probability:.2f}; "
        f"{best.n_indexed} of {best.n_lines} lines, M20 {best.m20:.0f})"
    )


def _alone(evidence: Evidence, lookup: Lookup | None, no_cell: float | None) -> str:
    who = "the network speaks alone" if lookup is None else "network and library speak alone"
    if no_cell is not None:
        return f"Indexing found no cell to rely on, so that {who}"
    if evidence.status == "not fitted":
        return f"The cell does not fit ({evidence.reason.rstrip('.')}), so that {who}"
    return f"Without a cell {who}"


def _novelty(network: Posterior) -> str:
    """How far, in brackets; empty where the posterior does not say."""
    return "" if network.novelty is None else f" ({network.novelty:.1f} standard deviations from ordinary)"


def _chemistry(network: Posterior, leading: int) -> str:
    """What the composition did: counted, or was found to contradict the pattern. leading: group number."""
    if not network.contradicts:
        return f"{network.composition} is counted in{_entries(network, leading)}"
    odds = float(np.exp(-(network.composition_odds or 0.0)))
    return (
        f"{network.composition} contradicts the pattern (odds of {odds:,.0f} to 1 against it) and is not "
        "counted: check that it is the right sample"
    )


def _entries(network: Posterior, leading: int) -> str:
    """The groups in which compounds of the composition are known, in brackets, and whether the leading one is
    among them; empty where none are."""
    whole = [(number, round(entries)) for number, entries in network.composition_entries if entries >= 0.5]
    if not whole:
        return ""
    named = [f"{entries} in {group(number).symbol}" for number, entries in whole[:_NAMED]]
    rest = sum(entries for _, entries in whole[_NAMED:])
    none = "" if any(number == leading for number, _ in whole) else f"; none in {group(leading).symbol}"
    return f" (known entries: {', '.join(named)}{f', {rest} in others' if rest else ''}{none})"


def _nearest(lookup: Lookup) -> str:
    best = lookup.matches[0]
    name = best.id if best.formula in ("", best.id) else f"{best.id} ({best.formula})"
    return f"the most similar known structure is {name}, similarity {best.similarity:.2f}"


def _odds(log_probability: npt.NDArray[np.float64]) -> str:
    first, second = (int(i) + 1 for i in ranking(log_probability)[:2])
    p = np.exp(log_probability)
    return (
        f"{group(first).symbol} has probability {p[first - 1]:.2f}, "
        f"{group(second).symbol} {p[second - 1]:.2f}"
    )


def _fitted_reason(
    log_probability: npt.NDArray[np.float64],
    network: Posterior,
    evidence: Evidence,
    leading: CandidateEvidence | None,
) -> str:
    """What the fit says of the leading group, and what the network says."""
    order = ranking(log_probability)
    first = int(order[0]) + 1
    if leading is None:
        return (
            f"The network holds to {group(first).symbol}, which the cell ({evidence.lattice}) cannot carry; "
            f"the fit prefers {evidence.candidates[0].symbol}"
        )
    runner = next((c for i in order[1:] if (c := _candidate(evidence, int(i) + 1))), None)
    if runner is None:
        text = f"{leading.symbol} is the only group of the lattice ({evidence.lattice})"
    else:
        lead = float(log_probability[first - 1] - log_probability[runner.group - 1])
        text = f"{leading.symbol} leads {runner.symbol} by {lead:.1f} nats"
    absent = [r for r in leading.deciding if r.forbidden and r.log_odds > 0.0]
    present = [r for r in leading.deciding if not r.forbidden and r.log_odds > 0.0]
    parts = []
    if absent:
        parts.append(
            f"{_names(absent)} {'is' if len(absent) == 1 else 'are'} absent"
            + (f" ({leading.n_forbidden} forbidden in range)" if leading.n_forbidden > len(absent) else "")
        )
    if present:
        parts.append(f"{_names(present)} {'is' if len(present) == 1 else 'are'} seen")
    if leading.n_forbidden == 0 and runner is not None:
        parts.append("it forbids nothing in range, and what others forbid is seen or may well be there")
    if parts:
        text += ": " + ", ".join(parts)
    alone = float(np.exp(network.log_probability[first - 1]))
    return f"{text}; the network alone gives it {alone:.2f}, {_quality(evidence)}"


def _quality(evidence: Evidence) -> str:
    """How good the fit is: Rwp, and its ratio to what counting statistics allow."""
    text = f"the fit has Rwp {evidence.rwp:.1f} %" if evidence.rwp is not None else "the fit stands"
    if evidence.goodness_of_fit is not None:
        text += f" ({evidence.goodness_of_fit:.1f} times the noise)"
    return text


def _name(reflection: DecidingReflection) -> str:
    return "({} {} {})".format(*reflection.hkl)


def _names(reflections: list[DecidingReflection]) -> str:
    strongest = sorted(reflections, key=lambda r: -abs(r.log_odds))
    named = ", ".join(_name(r) for r in strongest[:_NAMED])
    more = len(reflections) - _NAMED
    return f"{named} and {more} more" if more > 0 else named
