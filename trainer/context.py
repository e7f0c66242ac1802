"""Where a loop runs: the few things it must know of its surroundings, and the local form of them.

A launcher gives the loop its own `Context` (`trainer.cluster` for Ray); nothing in the loop imports it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from eg_agent.errors import BadInput
from trainer.config import Precision


class Context(Protocol):
    """Rank, world size and device of this worker, and how it talks to the others."""

    @property
    def rank(self) -> int: ...
    @property
    def world(self) -> int: ...
    @property
    def device(self) -> torch.device: ...
    def wrap(self, network: nn.Module) -> nn.Module:
        """The network as it is to be called in training (synchronising gradients if there are others)."""
        ...

    def agree(self, value: float) -> float:
        """Rank 0's value, on every rank."""
        ...

    def load(self) -> Path | None:
        """Folder of the state to resume from, or None for a fresh start."""
        ...

    def report(self, metrics: Mapping[str, float], state: Path | None) -> None:
        """Hand metrics, and the folder of a state just written, to whoever launched the run."""
        ...

    def barrier(self) -> None:
        """Wait for all ranks."""
        ...

    def stopping(self) -> bool:
        """Whether whoever launched the run asks it to save and stop. Ask it on rank 0 and `agree`."""
        ...


@dataclass(frozen=True)
class LocalContext:
    """One process. resume: folder of a state to go on from. deadline: monotonic time to stop at."""

    device: torch.device
    resume: Path | None = None
    rank: int = 0
    world: int = 1
    deadline: float = math.inf

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network itself."""
        return network

    def agree(self, value: float) -> float:
        """The value itself."""
        return value

    def load(self) -> Path | None:
        """The state given at construction."""
        return self.resume

    def report(self, metrics: Mapping[str, float], state: Path | None) -> None:
        """Nobody to tell: the run's folder has it all."""

    def barrier(self) -> None:
        """Nobody to wait for."""

    def stopping(self) -> bool:
        """Whether the deadline has passed; signals come to this process itself."""
        return time.monotonic() >= self.deadline


def shard(batch: int, rank: int, world: int) -> tuple[int, int]:
    """First pattern and number of patterns of a rank's part of a batch.

    Parts differ by at most one, so that any number of workers may share a batch: losses, means over a
    part, are weighted by `number * world / batch`. BadInput when there are more workers than patterns.
    """
    if batch < world:
        raise BadInput(f"a batch of {batch} cannot be shared by {world} workers: raise --batch.")
    first, end = rank * batch // world, (rank + 1) * batch // world
    return first, end - first


def choose_device(name: str = "auto") -> torch.device:
    """ "auto", "cpu", "cuda" or "cuda:N" as a device that exists."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadInput(f"unknown device {name!r}: auto, cpu, cuda or cuda:N.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BadInput("there is no CUDA device that this torch can use: leave --device out, or take cpu.")
    return device


def compute_type(device: torch.device, precision: Precision = "auto") -> tuple[torch.dtype, str]:
    """Type that matrix products and convolutions are done in, and why."""
    if precision == "fp32":
        return torch.float32, "fp32: as the configuration asks"
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.bfloat16, "bf16 autocast: the GPU multiplies it in hardware; weights stay fp32"
    if device.type == "cuda":
        return torch.float32, "fp32: this GPU has no bf16"
    if getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)():  # torch has no public word for it
        return torch.bfloat16, "bf16 autocast: the CPU multiplies it in hardware (AVX-512); weights stay fp32"
    return torch.float32, "fp32: without AVX-512 BF16 a CPU trains about three times slower in bf16"
