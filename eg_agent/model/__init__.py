"""The network that reads a pattern: checkpoints, calibration and priors in, a `Posterior` out.

torch is loaded by `Classifier`, `Network` and the checkpoint functions only, when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eg_agent.model.fusion import Calibration
from eg_agent.model.posterior import Posterior
from eg_agent.model.prior import log_prior, prior_names

if TYPE_CHECKING:
    from eg_agent.model.architectures import NETWORKS
    from eg_agent.model.checkpoint import Card, load_checkpoint, read_card, save_checkpoint, shipped_names
    from eg_agent.model.classifier import Classifier
    from eg_agent.model.network import Heads, Network, NetworkConfig

_LAZY = {
    **dict.fromkeys(
        ("Card", "load_checkpoint", "read_card", "save_checkpoint", "shipped_names"), "checkpoint"
    ),
    "Classifier": "classifier",
    "NETWORKS": "architectures",
    **dict.fromkeys(("Heads", "Network", "NetworkConfig"), "network"),
}

__all__ = [
    "NETWORKS",
    "Calibration",
    "Card",
    "Classifier",
    "Heads",
    "Network",
    "NetworkConfig",
    "Posterior",
    "load_checkpoint",
    "log_prior",
    "prior_names",
    "read_card",
    "save_checkpoint",
    "shipped_names",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
