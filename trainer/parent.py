"""The checkpoint that a run begins from: its weights, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from eg_agent.errors import BadInput
from eg_agent.model.checkpoint import Card, find_checkpoint, load_checkpoint, read_card
from eg_agent.model.network import Network
from trainer.config import TrainConfig

#: What a card says of its training's cost, added up along the line of parents.
COSTS = ("patterns", "hours", "training_flop")
#: Card and weights of a checkpoint, the files' content.
Files = tuple[bytes, bytes]


@dataclass(frozen=True)
class Parent:
    """Whose weights a run began with.

    checkpoint: as it was asked for. weights_sha256: of its weights file, since another file may take its
    name. patterns, hours, training_flop: what it had cost, with its own parents.
    """

    checkpoint: str
    weights_sha256: str
    patterns: float = 0.0
    hours: float = 0.0
    training_flop: float = 0.0

    @classmethod
    def of_card(cls, checkpoint: str, card: Card) -> Parent:
        """What is remembered of a checkpoint."""
        before = card.curriculum.get("begins_from") or {}
        costs = {name: float(card.cost.get(name, 0.0)) + float(before.get(name, 0.0)) for name in COSTS}
        return cls(checkpoint, card.weights_sha256, **costs)

    @classmethod
    def of_index(cls, index: Mapping[str, Any]) -> Parent | None:
        """What a state's index says of the parent; None for a run without one."""
        said = index.get("parent")
        return None if said is None else cls(**{f.name: said[f.name] for f in fields(cls) if f.name in said})


def parent_network(config: TrainConfig, card: Path | None = None) -> tuple[Network, Parent]:
    """The network that a run begins with, and what to remember of it.

    card: of the checkpoint, where it does not lie where `config.begin_from` says. BadInput for one that
    cannot be used, or is of another architecture or grid.
    """
    network, read = load_checkpoint(card or config.begin_from)
    if network.config != config.network:
        raise BadInput(
            f"checkpoint {config.begin_from} is of another architecture or grid than configuration "
            f"{config.name}: begin from one of the same, or without --from."
        )
    return network, Parent.of_card(config.begin_from, read)


def parent_of_state(index: Mapping[str, Any]) -> Parent | None:
    """The parent of the run that a state's index tells of; None where it had none.

    States from before runs noted it say only its name: the checkpoint that has the name now is taken, unless
    it was made by this very run.
    """
    name = index["config"].get("begin_from") or ""
    if "parent" in index or not name:
        return Parent.of_index(index)
    try:
        card = read_card(name)
    except BadInput:
        return Parent(name, "")
    its_own = (card.seed, card.cost.get("steps")) == (index["config"]["seed"], float(index["step"]))
    return Parent(name, "") if its_own else Parent.of_card(name, card)


def parent_files(config: TrainConfig, state: Path | None) -> Files | None:
    """The checkpoint that a run begins from, to be sent to where it runs; None for a run from fresh weights.

    state: that the run can go on from without; then a checkpoint that is gone or unfit does not matter.
    """
    if not config.begin_from:
        return None
    try:
        parent_network(config)
    except BadInput:
        if state is None:
            raise
        return None
    card = find_checkpoint(config.begin_from)
    return card.read_bytes(), card.with_suffix(".safetensors").read_bytes()


def write_parent(files: Files | None, folder: Path) -> Path | None:
    """Put a checkpoint that was sent into a folder; returns its card's path."""
    if files is None:
        return None
    card = folder / "parent.json"
    card.write_bytes(files[0])
    card.with_suffix(".safetensors").write_bytes(files[1])
    return card
