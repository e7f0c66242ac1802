"""`averaged`: the challenger between the champion and what it was trained to, weight by weight.

A network that was trained further on few instruments forgets some of the others. The average of its weights
and those it began from keeps most of what was gained and loses much less elsewhere (Wortsman et al., Robust
fine-tuning of zero-shot models, arXiv:2109.01903; docs/decisions/0015).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from eg_agent.model.checkpoint import load_checkpoint, save_checkpoint


def averaged(champion: Path, trained: Path, keep: float, target: Path) -> Path:
    """Write TARGET.json and .safetensors: `keep` of the champion's weights and 1 - keep of the trained ones'.

    The class prior of training, which inference divides out, is averaged in logarithms, as biases are. The
    figures of the trained network on held-out patterns are not those of the average, and are left out.
    """
    first, begun = load_checkpoint(champion)
    second, card = load_checkpoint(trained)
    old, new = first.state_dict(), second.state_dict()
    second.load_state_dict(
        {
            name: (keep * old[name].double() + (1.0 - keep) * value.double()).to(value.dtype)
            if value.is_floating_point()
            else value
            for name, value in new.items()
        }
    )
    log_prior = keep * np.array(begun.log_train_prior) + (1.0 - keep) * np.array(card.log_train_prior)
    log_prior -= np.logaddexp.reduce(log_prior)
    card = replace(card, log_train_prior=tuple(float(v) for v in log_prior), held_out={})
    save_checkpoint(target, second, card)
    return target
