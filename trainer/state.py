"""Training state on disk: safetensors shards of bounded size and a JSON index, replaced as a whole.

    RUN/state/index.json            step, patterns, seconds, configuration, shards with their SHA-256
    RUN/state/shard-000.safetensors ...

A state is written into RUN/state.new, then renamed; the one before is kept as RUN/state.old until
that has happened. Whatever moment a run is killed at, one of the three is whole.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from eg_agent.errors import BadInput
from eg_agent.model.checkpoint import write_atomically

INDEX = "index.json"
#: Where a whole state may be after a kill, newest first.
PLACES = ("state", "state.new", "state.old")


def shards(tensors: Mapping[str, Tensor], max_bytes: int) -> Iterator[dict[str, Tensor]]:
    """Group tensors, in order, into dictionaries of at most `max_bytes` (file header included)."""
    current: dict[str, Tensor] = {}
    used = 0
    for name, value in tensors.items():
        size = value.numel() * value.element_size() + 256 + len(name)  # room for its header entry
        if size > max_bytes:
            raise BadInput(
                f"tensor {name} alone has {size / 2**20:.1f} MiB: raise --max-shard-mb above that."
            )
        if current and used + size > max_bytes:
            yield current
            current, used = {}, 0
        current[name] = value
        used += size
    if current:
        yield current


def write_state(
    run: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], max_shard_mb: float
) -> Path:
    """Write a state and make it the current one; returns its folder.

    BadInput when the disk is full or the folder cannot be written; what was written is removed again, and
    the state before is the current one as it was.
    """
    new, current, old = (run / name for name in ("state.new", "state", "state.old"))
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        listing = []
        for i, part in enumerate(shards(tensors, int(max_shard_mb * 2**20))):
            content = save_tensors({n: t.detach().cpu().contiguous() for n, t in part.items()})
            name = f"shard-{i:03d}.safetensors"
            write_atomically(new / name, content)
            listing.append({"file": name, "sha256": hashlib.sha256(content).hexdigest()})
        index = {**meta, "shards": listing}
        write_atomically(new / INDEX, (json.dumps(index, indent=1) + "\n").encode())
        shutil.rmtree(old, ignore_errors=True)
        if current.exists():
            current.rename(old)
        new.rename(current)
    except BadInput:
        shutil.rmtree(new, ignore_errors=True)
        raise
    except OSError as error:
        raise BadInput(
            f"the training state {new} could not be written ({error.strerror}): free some space, or choose "
            "another --out; the state before is intact."
        ) from error
    shutil.rmtree(old, ignore_errors=True)
    return current


def find_state(run: Path) -> Path | None:
    """Folder of the newest whole state of a run, or None. BadInput when there are only damaged ones."""
    damaged = None
    for name in PLACES:
        if not (run / name / INDEX).is_file():
            continue
        try:
            read_index(run / name)
            return run / name
        except BadInput as error:
            damaged = error
    if damaged is not None:
        raise damaged
    return None


def read_index(folder: Path) -> dict[str, Any]:
    """The index, after checking every shard against its hash; BadInput says which one is damaged."""
    try:
        index = json.loads((folder / INDEX).read_bytes())
        listing = [(entry["file"], entry["sha256"]) for entry in index["shards"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{folder / INDEX} is not the index of a training state ({error}).") from error
    for name, expected in listing:
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise BadInput(
                f"shard {path} is missing or damaged: remove {folder} to start again, or restore it."
            )
    return index


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a state, on the CPU."""
    tensors: dict[str, Tensor] = {}
    for entry in read_index(folder)["shards"]:
        try:
            tensors.update(load_tensors((folder / entry["file"]).read_bytes()))
        except SafetensorError as error:
            raise BadInput(f"shard {folder / entry['file']} is not a safetensors file ({error}).") from error
    return tensors


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Moments and counts of an optimizer as named tensors: "optimizer.<parameter>.<key>"."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{i}.{key}": torch.as_tensor(v) for i, entry in state.items() for key, v in entry.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put `flatten_optimizer`'s tensors back."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, i, key = name.split(".", 2)
            state.setdefault(int(i), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
