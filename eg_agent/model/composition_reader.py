"""What a checkpoint makes of a composition: a network that generalises, and the compounds that are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from eg_agent.chemistry import Composition
from eg_agent.model.composition import CompositionHead, chemistry
from eg_agent.model.known_compositions import KnownCompositions, Trust
from eg_agent.model.network import N_GROUPS
from eg_agent.model.prior import FloatArray

#: Entries below which a group is not named.
LEAST_ENTRIES = 0.1


@dataclass(frozen=True, eq=False)
class CompositionReader:
    """head: the network. known: entries by their composition, with what they count; None: the network alone.

    Axes, as suffixes of names: B patterns, R features of the pattern's network, G 99 groups.
    """

    head: CompositionHead
    known: KnownCompositions | None = None
    trust: Trust = field(default_factory=Trust)

    @torch.inference_mode()
    def read(
        self, feature_BR: FloatArray, compositions: Sequence[Composition]
    ) -> tuple[FloatArray, FloatArray]:
        """What compositions add to the log prior [B, 99], nats, and log-odds [B] that each fits its pattern.

        feature_BR: of the patterns, what the auxiliary head of their network reads.
        """
        device = next(self.head.parameters()).device
        said = self.head(torch.from_numpy(feature_BR).float().to(device), chemistry(compositions).to(device))
        added_BG, match_B = (part.double().cpu().numpy() for part in said)
        if self.known is not None:
            added_BG = self.known.added(added_BG, compositions, self.trust)
        return added_BG, match_B

    def entries(self, composition: Composition) -> FloatArray:
        """[99] known entries of a composition, or of its elements where only they are told; one with other
        amounts counts less."""
        return np.zeros(N_GROUPS) if self.known is None else self.known.counts(composition, self.trust.width)

    def most_entries(self, composition: Composition) -> tuple[tuple[int, float], ...]:
        """(group number, entries) of those with a tenth of an entry or more, most first."""
        found = self.entries(composition)
        order = [int(i) for i in np.argsort(-found, kind="stable") if found[i] >= LEAST_ENTRIES]
        return tuple((i + 1, round(float(found[i]), 2)) for i in order)
