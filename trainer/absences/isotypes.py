"""Samples as an isotype would give them, for training: the same absences, other lattices and intensities.

A network that sees a structure again and again knows it by its lattice and its strongest lines, and learns
little of absences from it any more. What an isotype with other elements has in common with it is which lines
are absent; so that is all that is left as it was.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from eg_agent.verify.line_features import FEATURES
from trainer.absences.network import Lines

#: Spread of the logarithm of intensities, one of these to a sample.
SPREADS = (0.0, 0.2, 0.5)
#: A line that stands this many standard errors high is there, and stays that high.
THERE = 4.0
#: Spread of a line's place (logarithm of the cube root of the cell's volume over d).
PLACE_SPREAD = 0.02

_STANDING, _INTENSITY = FEATURES.index("standing"), FEATURES.index("intensity")
_OF_STRONGEST, _PLACE = FEATURES.index("of_strongest"), FEATURES.index("place")


def like_isotypes(of: Lines, rng: np.random.Generator) -> Lines:
    """The samples with lines that are there stronger or weaker, and all places a little off.

    Lines below `THERE` standard errors keep their intensities: they may be absent.
    """
    values = of.values.clone()
    shape = values.shape[:2]
    place = torch.from_numpy(rng.normal(0.0, PLACE_SPREAD, shape).astype(np.float32))
    values[..., _PLACE] += place * of.there
    # features hold the signed logarithm of 1 + |standing|, and half of the logarithms of intensities
    standing = torch.sign(values[..., _STANDING]) * torch.expm1(values[..., _STANDING].abs())
    spread = torch.from_numpy(rng.choice(SPREADS, shape[0]).astype(np.float32))[:, None]
    change = spread * torch.from_numpy(rng.normal(size=shape).astype(np.float32))
    least = torch.log(THERE / standing.clamp(min=THERE))
    change = torch.where(standing > THERE, torch.maximum(change, least), torch.zeros(()))
    changed = standing * torch.exp(change)
    values[..., _STANDING] = torch.sign(changed) * torch.log1p(changed.abs())
    values[..., _INTENSITY] += 0.5 * change
    values[..., _OF_STRONGEST] += 0.5 * change
    return replace(of, values=values)
