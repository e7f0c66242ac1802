"""The known compositions of a checkpoint: which entries they are, and how much their counts are trusted.

Trust is fitted on entries of formulas that the network of compositions never saw: each is predicted from the
other entries of its composition and from what the network says. Entries with a measured structure judge,
where there are any: computed ones hold many structures that nobody made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import gemmi
import numpy as np
import numpy.typing as npt
import torch

from eg_agent.chemistry import Composition
from eg_agent.model.composition import CompositionHead
from eg_agent.model.known_compositions import KnownCompositions, Trust
from eg_agent.model.prior import FloatArray, normalised
from trainer.multimodal.chemistries import Compositions

#: What is tried, as `Trust` has it.
NETWORK = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
EXACT = (0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0)
WIDTHS = (0.005, 0.01, 0.015, 0.02, 0.03, 0.05)
ELEMENTS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
#: Entries that judge, at most.
JUDGES = 3000


def known_of(entries: Compositions, log_prior_G: FloatArray) -> KnownCompositions:
    """Entries with amounts, to be looked up."""
    return KnownCompositions.of_entries(_rows(entries), log_prior_G)


def _rows(entries: Compositions) -> Iterator[tuple[npt.NDArray[np.int64], FloatArray, int]]:
    element_NE = entries.chemistry.element_BE.numpy()
    share_NE = entries.chemistry.share_BE.double().numpy()
    group_N = entries.group.numpy()
    for element_E, share_E, group in zip(element_NE, share_NE, group_N, strict=True):
        there = element_E > 0
        yield element_E[there], share_E[there], int(group) + 1


@dataclass(frozen=True)
class Fitted:
    """trust, and nats of the true group with it on `n` entries: of amounts and of elements, by the network
    alone, as it is, and by both."""

    trust: Trust
    n: int
    exact_alone: float
    exact: float
    elements_alone: float
    elements: float

    def figures(self) -> dict[str, float]:
        """For the card: how many entries judged, and their nats."""
        return {
            "entries": float(self.n),
            "entries_exact_alone": self.exact_alone,
            "entries_exact": self.exact,
            "entries_elements_alone": self.elements_alone,
            "entries_elements": self.elements,
        }


def fitted_trust(
    head: CompositionHead,
    known: KnownCompositions,
    judges: Compositions,
    log_prior_G: FloatArray,
    seed: int = 0,
) -> Fitted | None:
    """The trust with the most likelihood; None where nothing was held out.

    known: all that can be looked up, with the judges among them. judges: entries whose formulas the network
    never saw.
    """
    if not len(judges):
        return None
    chosen = torch.randperm(len(judges), generator=torch.Generator().manual_seed(seed))[:JUDGES]
    judges = judges.only(chosen)
    label = judges.group.numpy()
    told = [_composition(numbers, shares) for numbers, shares, _ in _rows(judges)]
    said = {exact: _said(head, judges, exact) for exact in (True, False)}
    nats = {
        power: [_nats(np.exp(normalised(log_prior_G + power * said[exact])), label) for exact in said]
        for power in NETWORK
    }
    power = min(NETWORK, key=lambda one: sum(nats[one]))
    best: dict[bool, tuple[float, tuple[float, float]]] = {}
    for exact in said:
        base_NG = np.exp(normalised(log_prior_G + power * said[exact]))
        asked = told if exact else [one.without_amounts() for one in told]
        tried = []
        for width in WIDTHS if exact else WIDTHS[:1]:
            others_NG = np.array([known.counts(one, width) for one in asked])
            others_NG[np.arange(len(label)), label] -= 1.0  # without the judge itself
            others_NG = others_NG.clip(min=0.0)
            for worth in EXACT if exact else ELEMENTS:
                total_NG = others_NG + worth * base_NG
                total_NG /= total_NG.sum(axis=1, keepdims=True)
                tried.append((_nats(total_NG, label), (worth, width)))
        best[exact] = min(tried)
    (exact_nats, (exact_worth, width)), (elements_nats, (elements_worth, _)) = best[True], best[False]
    trust = Trust(exact=exact_worth, elements=elements_worth, width=width, network=power)
    exact_alone, elements_alone = nats[1.0]
    return Fitted(trust, len(label), exact_alone, exact_nats, elements_alone, elements_nats)


def _composition(numbers: npt.NDArray[np.int64], shares: FloatArray) -> Composition:
    symbols = [gemmi.Element(int(number)).name for number in numbers]
    return Composition.of_amounts(dict(zip(symbols, shares.tolist(), strict=True)))


@torch.inference_mode()
def _said(head: CompositionHead, judges: Compositions, exact: bool) -> FloatArray:
    """[n, 99] nats that the network adds to its prior."""
    parts = [
        head.groups(judges.take(rows, torch.full((len(rows),), exact)))
        for rows in torch.arange(len(judges)).split(512)
    ]
    return torch.cat(parts).double().numpy()


def _nats(probability_NG: FloatArray, label_N: npt.NDArray[np.int64]) -> float:
    return -float(np.log(probability_NG[np.arange(len(label_N)), label_N]).mean())
