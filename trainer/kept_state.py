"""The state of a small training in one file, with what it is a training of."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from eg_agent.errors import BadInput


class Stateful(Protocol):
    """What has a state: a network, an optimiser, a schedule."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


def kept(path: Path, about: str, done: int, parts: Mapping[str, Stateful]) -> None:
    """Write the state after `done` steps, whole or not at all."""
    part = path.with_suffix(".part")
    states = {name: of.state_dict() for name, of in parts.items()}
    torch.save({"about": about, "step": done, **states}, part)
    part.rename(path)


def taken_up(path: Path, about: str, parts: Mapping[str, Stateful]) -> int:
    """Steps that a stopped training has made, its state taken over; 0 where there is none. Raises BadInput
    for a damaged file, and for one of another training."""
    if not path.is_file():
        return 0
    try:
        state = torch.load(path, weights_only=True)
        known, done = state["about"], int(state["step"])
        own = {name: state[name] for name in parts}
    except (OSError, EOFError, RuntimeError, KeyError, TypeError, pickle.UnpicklingError):
        # what torch says of it advises to trust the file: nothing that a user should do
        raise BadInput(
            f"{path} holds no state of a training: it is damaged, or something else. Delete it to begin anew."
        ) from None
    if known != about:
        raise BadInput(f"{path} is of a training with other settings: give another --out, or delete it.")
    for name, of in parts.items():
        of.load_state_dict(own[name])
    return done
