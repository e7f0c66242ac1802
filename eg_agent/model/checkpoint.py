"""Checkpoints: NAME.safetensors with the weights and NAME.json, its card. No pickle anywhere.

A checkpoint that knows chemistry has NAME.composition.safetensors beside them.

The card carries the hash of the weights file, so that weights and card cannot be mixed up, and all
that is needed to answer with them: architecture, grid, training prior, calibration. What is only to be
read by people (curriculum, cost, benchmark rows) is beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from eg_agent.errors import BadInput
from eg_agent.model.composition import CompositionCard, CompositionHead
from eg_agent.model.composition_reader import CompositionReader
from eg_agent.model.conformal import ConformalSets
from eg_agent.model.fusion import Calibration, LibraryWeights
from eg_agent.model.known_compositions import KnownCompositions
from eg_agent.model.network import N_GROUPS, Network, NetworkConfig
from eg_agent.model.novelty import NoveltyReference
from eg_agent.model.promoted import Promoted, is_promoted
from eg_agent.values import VALUE_CONFIG, from_json, to_json

#: Version of the card's layout. A card with a greater one was written by a newer eg-agent.
CARD_VERSION = 1


@dataclass(frozen=True)
class Card:
    """What stands beside the weights.

    name, size: e.g. "default", "small". description: one or two sentences for people.
    architecture: the `NetworkConfig`, grid included.
    log_train_prior: [99] nats, the class prior of training, divided out at inference.
    calibration: how the two heads become one posterior, and calibrated_on: which patterns that was fitted on.
    sets: how prediction sets are made. novelty: the reference for what the network was not made for.
    library: how much network and library count where a library takes part.
    composition: of the head that reads a composition beside the pattern; None where there is none.
    expected: what calibration promises on patterns like those it was fitted on, judged out of fold by
        compound: "coverage" of the sets and its interval, "set_size", "ece", and date, data, "folds".
    log_prior, prior: [99] nats, the prior that was fitted with the calibration (answered with as prior
        "fitted"), and what it was made of; empty where there is none.
    curriculum, corpora, seed: what it was trained on. cost, machine: patterns, steps, hours, FLOP, on what.
    held_out: figures on simulated patterns of structures that were not trained on.
    benchmark: rows of `eg-train benchmark`, by name of the data; empty until they were made.
    limits: what not to use it for.
    promotion: of a checkpoint that was trained further on verified runs: whom it was judged against, by which
        gates, with what result, and the runs (`eg-train retrain`); empty for others.
    created: date (UTC). code: version of eg-agent that wrote it.
    weights_sha256: of the weights file; its first 16 digits are `hash`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    name: str
    architecture: NetworkConfig
    log_train_prior: tuple[float, ...]
    calibration: Calibration = field(default_factory=Calibration)
    calibrated_on: str = "nothing: defaults"
    sets: ConformalSets = field(default_factory=ConformalSets)
    novelty: NoveltyReference | None = None
    library: LibraryWeights = field(default_factory=LibraryWeights)
    composition: CompositionCard | None = None
    expected: dict[str, Any] = field(default_factory=dict)
    log_prior: tuple[float, ...] = ()
    prior: str = ""
    size: str = ""
    description: str = ""
    curriculum: dict[str, Any] = field(default_factory=dict)
    corpora: tuple[str, ...] = ()
    seed: int = 0
    cost: dict[str, float] = field(default_factory=dict)
    machine: str = ""
    held_out: dict[str, float] = field(default_factory=dict)
    benchmark: dict[str, Any] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    promotion: dict[str, Any] = field(default_factory=dict)
    created: str = ""
    code: str = ""
    weights_sha256: str = ""
    card_version: int = CARD_VERSION

    @property
    def hash(self) -> str:
        """First 16 hex digits of the weights' SHA-256."""
        return self.weights_sha256[:16]


def shipped_names() -> tuple[str, ...]:
    """Names of the checkpoints inside the package."""
    folder = resources.files("eg_agent.model").joinpath("checkpoints")
    if not folder.is_dir():
        return ()
    return tuple(sorted(p.name.removesuffix(".json") for p in folder.iterdir() if p.name.endswith(".json")))


def find_checkpoint(name_or_path: str | Path) -> Path:
    """Path of the card of a shipped checkpoint (by name) or of a file (.json, .safetensors or neither).

    A folder with promoted checkpoints gives the one that counts now (`eg_agent.model.promoted`).
    """
    name = str(name_or_path)
    if name in shipped_names():
        return Path(str(resources.files("eg_agent.model").joinpath("checkpoints", f"{name}.json")))
    path = Path(name)
    if is_promoted(path):
        promoted = Promoted(path)
        return promoted.card(promoted.pointer().current)
    card = (
        path if path.suffix == ".json" else path.with_name(path.name.removesuffix(".safetensors") + ".json")
    )
    if not card.is_file():
        known = ", ".join(shipped_names()) or "none in this installation"
        raise BadInput(
            f"no checkpoint {name!r}: give a shipped name ({known}) or the path of a card (.json)."
        )
    return card


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside `path` and rename, so that a full disk or a kill leaves the old file whole."""
    write_together({path: content})


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write files that belong together: none takes its name before all are on the disk.

    BadInput when one cannot be written; then all are as they were.
    """
    parts = {path: path.with_name(path.name + ".part") for path in contents}
    path = next(iter(parts))
    try:
        for path, part in parts.items():
            with part.open("wb") as file:
                file.write(contents[path])
                file.flush()
                os.fsync(file.fileno())
        for path, part in parts.items():
            part.replace(path)
    except OSError as error:
        for part in parts.values():
            part.unlink(missing_ok=True)
        raise BadInput(
            f"{path} could not be written ({error.strerror}): free some space, or choose another folder."
        ) from error


def save_checkpoint(path: str | Path, network: Network, card: Card, *, half: bool = True) -> Card:
    """Write PATH.safetensors and PATH.json, both or neither; returns the card with the weights' hash.

    half: store matrices as fp16 (vectors, so biases and norms, stay fp32); they are used as fp32.
    """
    path = Path(path)
    path = path.with_name(path.name.removesuffix(".json").removesuffix(".safetensors"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"folder {path.parent} cannot be made ({error.strerror}): choose another one."
        ) from error
    tensors = {}
    for name, value in network.state_dict().items():
        shrink = half and value.is_floating_point() and value.ndim > 1
        tensors[name] = (value.half() if shrink else value).detach().cpu().contiguous()
    weights = save_tensors(tensors)
    card = replace(
        card,
        architecture=network.config,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        card_version=CARD_VERSION,
    )
    write_together(
        {
            path.with_name(path.name + ".safetensors"): weights,
            path.with_name(path.name + ".json"): (to_json(card, indent=1) + "\n").encode(),
        }
    )
    return card


def read_card(name_or_path: str | Path) -> Card:
    """The card alone, without the weights; raises BadInput for one that cannot be used."""
    path = find_checkpoint(name_or_path)
    try:
        raw = json.loads(path.read_bytes())
        version = raw.get("card_version") if isinstance(raw, dict) else None
        if not isinstance(version, int):
            raise BadInput(f"{path} is not a card of an eg-agent checkpoint.")
        if version > CARD_VERSION:
            raise BadInput(
                f"{path} has card version {version}, this eg-agent reads up to {CARD_VERSION}: update it."
            )
        card = from_json(Card, path.read_bytes())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadInput(f"card {path} is not readable JSON ({error}): fetch the checkpoint again.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(
            f"card {path} is not valid at {where!r}: {first['msg']}. Fetch the checkpoint again."
        ) from error
    if len(card.log_train_prior) != N_GROUPS or not np.all(np.isfinite(card.log_train_prior)):
        raise BadInput(f"card {path} must hold a training prior of {N_GROUPS} finite log-probabilities.")
    return card


def load_checkpoint(name_or_path: str | Path, *, device: str | torch.device = "cpu") -> tuple[Network, Card]:
    """The network in evaluation mode, fp32, and its card. Raises BadInput for a damaged or foreign pair."""
    card_path = find_checkpoint(name_or_path)  # once: a promoted folder may change its mind in between
    card = read_card(card_path)
    path = card_path.with_suffix(".safetensors")
    tensors = read_weights(path, card.weights_sha256)
    network = Network(card.architecture)
    load_weights(network, tensors, str(path))
    return network.to(device).eval(), card


#: What the names of tensors begin with that are known compositions, not weights of the head.
_KNOWN = "known."


def composition_file(card_path: Path) -> Path:
    """Weights of the composition head that belong to a card."""
    return card_path.with_name(card_path.stem + ".composition.safetensors")


def save_composition(path: str | Path, card: Card, reader: CompositionReader, about: CompositionCard) -> Card:
    """Put what reads compositions beside a checkpoint that is there: its weights and the card, or neither."""
    card_path = find_checkpoint(path)
    tensors = {
        name: (value.half() if value.ndim > 1 else value).detach().cpu().contiguous()
        for name, value in reader.head.state_dict().items()
    }
    if reader.known is not None:
        tensors |= {_KNOWN + name: value for name, value in reader.known.tensors().items()}
    weights = save_tensors(tensors)
    about = replace(
        about,
        config=reader.head.config,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        trust=None if reader.known is None else reader.trust,
        known_entries=0 if reader.known is None else len(reader.known),
    )
    card = replace(card, composition=about)
    write_together(
        {composition_file(card_path): weights, card_path: (to_json(card, indent=1) + "\n").encode()}
    )
    return card


def load_composition(
    name_or_path: str | Path, card: Card, *, device: str | torch.device = "cpu"
) -> CompositionReader | None:
    """What of a checkpoint reads compositions, in evaluation mode; None where its card knows of none."""
    about = card.composition
    if about is None:
        return None
    path = composition_file(find_checkpoint(name_or_path))
    tensors = read_weights(path, about.weights_sha256)
    known = {name.removeprefix(_KNOWN): t for name, t in tensors.items() if name.startswith(_KNOWN)}
    head = CompositionHead(about.config)
    load_weights(head, {n: t for n, t in tensors.items() if not n.startswith(_KNOWN)}, str(path))
    head = head.to(device).eval()
    if about.trust is None:
        return CompositionReader(head)
    return CompositionReader(head, KnownCompositions.of_tensors(known), about.trust)


def read_weights(path: Path, sha256: str) -> dict[str, torch.Tensor]:
    """The tensors of a weights file; BadInput where it is not the one that its card names."""
    try:
        weights = path.read_bytes()
    except OSError as error:
        raise BadInput(
            f"weights {path} cannot be read ({error.strerror}): they belong beside their card."
        ) from error
    found = hashlib.sha256(weights).hexdigest()
    if found != sha256:
        raise BadInput(
            f"weights {path} do not belong to their card or are damaged "
            f"(SHA-256 {found[:16]}, the card says {sha256[:16]}): fetch both files again."
        )
    try:
        return load_tensors(weights)
    except SafetensorError as error:
        raise BadInput(f"weights {path} are not a safetensors file ({error}).") from error


def load_weights(network: torch.nn.Module, tensors: Mapping[str, torch.Tensor], where: str) -> None:
    """Copy tensors into a network of the same architecture; BadInput names what does not fit."""
    expected = network.state_dict()
    wrong = sorted(expected.keys() ^ tensors.keys())
    wrong += sorted(n for n in expected.keys() & tensors.keys() if expected[n].shape != tensors[n].shape)
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise BadInput(f"{where} does not fit the card's architecture: {', '.join(wrong[:3])}{more} differ.")
    network.load_state_dict({n: t.to(expected[n].dtype) for n, t in tensors.items()})


def config_from_dict(data: Mapping[str, Any]) -> NetworkConfig:
    """A `NetworkConfig` from plain JSON types; unknown or mistyped fields raise BadInput."""
    try:
        return TypeAdapter(NetworkConfig).validate_json(json.dumps(dict(data)))
    except ValidationError as error:
        raise BadInput(f"not a network configuration: {error.errors()[0]['msg']}") from error


def config_to_dict(config: NetworkConfig) -> dict[str, Any]:
    """A `NetworkConfig` as plain JSON types."""
    return json.loads(json.dumps(asdict(config)))
