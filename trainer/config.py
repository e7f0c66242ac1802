"""Configurations of training runs: Python functions that return typed dataclasses, so a typo is an error."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from eg_agent.errors import BadInput
from eg_agent.model import architectures
from eg_agent.model.network import NetworkConfig
from eg_agent.values import VALUE_CONFIG
from trainer.loss import LossConfig, light

#: Products in bf16 where the machine multiplies it in hardware, or in fp32 whatever it is.
Precision = Literal["auto", "fp32"]


@dataclass(frozen=True)
class OptimConfig:
    """AdamW. lr: peak. weight_decay: on matrices only. clip: of the gradient's norm. ema: decay a step."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.02
    clip: float = 1.0
    ema: float = 0.998


@dataclass(frozen=True)
class ScheduleConfig:
    """Learning rate: linear warm-up over `warmup_steps`, flat, then linear to 0 over the last `decay_share`
    of the budget (of patterns or of time)."""

    warmup_steps: int = 300
    decay_share: float = 0.5


@dataclass(frozen=True)
class Budget:
    """When a run ends: one of patterns, seconds of training, or a time on the clock (unix seconds)."""

    patterns: int | None = None
    seconds: float | None = None
    until: float | None = None

    def __post_init__(self) -> None:
        given = [v for v in (self.patterns, self.seconds, self.until) if v is not None]
        if len(given) != 1 or not 0 < given[0] < math.inf:  # NaN is neither, and would never end
            raise BadInput("give exactly one budget, greater than 0: --patterns, --seconds or --until.")

    def progress(self, patterns: int, seconds: float) -> float:
        """Share of the budget that is used, 0 to 1, after `patterns` patterns and `seconds` of training."""
        if self.patterns is not None:
            return min(1.0, patterns / self.patterns)
        if self.seconds is not None:
            return min(1.0, seconds / self.seconds)
        left = max(0.0, (self.until or 0.0) - time.time())
        return 1.0 if left == 0.0 else seconds / (seconds + left)


@dataclass(frozen=True)
class Phase:
    """A stage of the curriculum (`trainer.data.CURRICULA`) and the share of the budget that it gets."""

    stage: str
    share: float


@dataclass(frozen=True)
class TrainConfig:
    """What a run is, apart from its budget, corpus and device.

    name: of the configuration. network: architecture and grid.
    curriculum: stage of the patterns (`trainer.data.CURRICULA`), or the last one where there are several:
        its patterns are held out, and its prior is the network's.
    earlier: stages before it, in order; what they leave of the budget is the last one's.
    batch: patterns a step over all workers. log_steps: steps between two lines of the log.
    checkpoint_seconds, held_out_seconds: between two of them. held_out_patterns: in one evaluation.
    begin_from: checkpoint (name or .json) whose weights the run begins with; "" for fresh ones.
    precision: of products; "auto": bf16 where the machine multiplies it in hardware.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    name: str
    network: NetworkConfig
    curriculum: str = "stage2"
    earlier: tuple[Phase, ...] = ()
    batch: int = 32
    seed: int = 0
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    checkpoint_seconds: float = 180.0
    held_out_seconds: float = 300.0
    held_out_patterns: int = 1024
    log_steps: int = 50
    begin_from: str = ""
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        shares = [phase.share for phase in self.earlier]
        if any(share <= 0 for share in shares) or sum(shares) >= 1:
            raise BadInput("shares of the earlier stages must be above 0, and below 1 together.")

    @property
    def stages(self) -> tuple[tuple[float, str], ...]:
        """(progress from 0 to 1 at which it begins, stage) of every stage, in order."""
        begin, found = 0.0, []
        for phase in self.earlier:
            found.append((begin, phase.stage))
            begin += phase.share
        return (*found, (begin, self.curriculum))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return json.loads(json.dumps(asdict(self)))


def small() -> TrainConfig:
    """Ours for one CPU core: 1.4 M parameters, about 110 patterns a second."""
    return TrainConfig(name="small", network=architectures.small())


def cpu_small() -> TrainConfig:
    """The shipped default, for one CPU core: a residual network of 2.2 M parameters, 150 patterns a second.

    Of as many patterns (32,000, same structures) it learns more than the transformers tried: 1.31 bits over
    prior on held-out simulated structures, against 1.19 with two transformer blocks behind the same trunk
    and 0.78 of `small`; 0.84, 0.72 and 0.49 on measured patterns (docs/log.md).
    """
    return TrainConfig(
        name="cpu-small",
        network=architectures.residual(),
        curriculum="stage2-real",
        schedule=ScheduleConfig(warmup_steps=300, decay_share=0.6),
        loss=light(),
    )


def cpu_continued() -> TrainConfig:
    """`cpu-small` from a trained checkpoint (`--from`): half the learning rate, falling nearly at once."""
    return replace(
        cpu_small(),
        name="cpu-continued",
        curriculum="ranges",
        optim=OptimConfig(lr=5e-4),
        schedule=ScheduleConfig(warmup_steps=300, decay_share=0.8),
        begin_from="default",
    )


def cpu_long() -> TrainConfig:
    """`cpu-continued` for millions of patterns: a corpus with copies, twice the batch, the full rate."""
    return replace(cpu_continued(), name="cpu-long", batch=64, optim=OptimConfig(lr=1e-3))


def cpu_staged() -> TrainConfig:
    """`cpu-small` through the paper's stages: balanced and clean, realistic, then classes as they come."""
    return replace(
        cpu_small(),
        name="cpu-staged",
        earlier=(Phase("stage1", 0.15), Phase("stage2-real", 0.6)),
        curriculum="stage3",
    )


def cpu_hybrid() -> TrainConfig:
    """`cpu-small` with two transformer blocks behind a narrower trunk: for longer runs."""
    return replace(cpu_small(), name="cpu-hybrid", network=architectures.hybrid())


def gpu_base() -> TrainConfig:
    """For one GPU: 12 M parameters, 128 tokens, bf16; patterns are made on the device.

    Where the machine is lent ten minutes at a time, the same command starts and goes on:
    `eg-train fit --config gpu-base --corpus FILE --out DIR --seconds 1500 --minutes 9 --compile`.
    """
    return TrainConfig(
        name="gpu-base",
        network=architectures.base(),
        curriculum="stage2-real",
        batch=1024,
        optim=OptimConfig(lr=1e-3, weight_decay=0.05, ema=0.998),
        schedule=ScheduleConfig(warmup_steps=500, decay_share=0.6),
        loss=light(),
        held_out_patterns=8192,
        checkpoint_seconds=120.0,
        held_out_seconds=60.0,
    )


def paper() -> TrainConfig:
    """The published network and optimiser settings: batch 128, weight decay 1e-4, warm-up 1000."""
    return TrainConfig(
        name="paper",
        network=architectures.paper(),
        batch=128,
        optim=OptimConfig(lr=1e-3, betas=(0.9, 0.999), weight_decay=1e-4),
        schedule=ScheduleConfig(warmup_steps=1000),
    )


def small_gpu() -> TrainConfig:
    """The network of `small` with batches that fill a GPU; patterns are made on it too.

    For a machine that is lent for ten minutes at a time, the same command starts and goes on:
    `eg-train fit --config small-gpu --corpus FILE --out DIR --seconds 1500 --compile --max-shard-mb 16`
    under `timeout --signal=TERM 570`: it saves and stops, and the next call resumes.
    """
    return TrainConfig(
        name="small-gpu",
        network=architectures.small(),
        batch=2048,
        optim=OptimConfig(lr=3e-3, ema=0.995),
        schedule=ScheduleConfig(warmup_steps=500),
        held_out_patterns=8192,
        checkpoint_seconds=120.0,
        held_out_seconds=60.0,
    )


def tiny() -> TrainConfig:
    """For tests and smoke runs; in fp32, so that runs can be compared to the last digits."""
    return TrainConfig(
        name="tiny",
        network=architectures.tiny(),
        batch=8,
        schedule=ScheduleConfig(warmup_steps=2),
        held_out_patterns=16,
        log_steps=1,
        precision="fp32",
    )


#: Configurations by the name that `eg-train fit --config` takes.
CONFIGS = {
    "cpu-small": cpu_small,
    "cpu-hybrid": cpu_hybrid,
    "cpu-continued": cpu_continued,
    "cpu-long": cpu_long,
    "cpu-staged": cpu_staged,
    "gpu-base": gpu_base,
    "small": small,
    "small-gpu": small_gpu,
    "paper": paper,
    "tiny": tiny,
}


def config(name: str) -> TrainConfig:
    """A configuration by name; BadInput lists the names."""
    if name not in CONFIGS:
        raise BadInput(f"unknown configuration {name!r}: one of {', '.join(CONFIGS)}.")
    return CONFIGS[name]()


def config_of(data: Mapping[str, Any]) -> TrainConfig:
    """The `TrainConfig` that a state's index holds; a field from after its time has its default."""
    try:
        return TypeAdapter(TrainConfig).validate_json(json.dumps(data))
    except ValidationError as error:
        name = data.get("name") if isinstance(data, Mapping) else data
        raise BadInput(
            f"the run's configuration {name!r} was written by another version "
            f"({error.errors()[0]['msg']}); known now: {', '.join(CONFIGS)}."
        ) from error
