"""From a corpus file to the streams that a run trains on and is judged on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eg_agent.errors import BadInput
from eg_agent.model.prior import smoothed
from simulators.corpus import Corpus
from simulators.stream import PatternStream
from simulators.stream_config import Sampling, StreamConfig, stage1, stage2
from trainer.config import TrainConfig
from trainer.held_out import HeldOut


def stage2_real() -> StreamConfig:
    """Stage 2 mostly of real structures; random and molecular crystals fill the groups that these lack.

    Early in training random crystals teach little (docs/log.md): at 36,000 patterns real structures alone
    reach what the mix of `stage2` reached with some 100,000.
    """
    return replace(stage2(), sampling=Sampling(real=0.88, random=0.08, molecular=0.04))


#: Stages of the curriculum by name.
CURRICULA = {"stage1": stage1, "stage2": stage2, "stage2-real": stage2_real}
#: Added to a run's seed, so that held-out patterns do not share their nuisances with trained ones.
HELD_OUT_SEED = 7_919


@dataclass(frozen=True)
class Data:
    """stream: training patterns. held_out: of structures outside it. log_train_prior: [99] of the stream.

    corpus: the file's name and size in structures, for the record. curriculum: the stream's settings.
    """

    stream: Any
    held_out: HeldOut
    log_train_prior: npt.NDArray[np.float64]
    corpus: str
    curriculum: dict[str, Any]


def open_data(path: Path, config: TrainConfig, device: torch.device) -> Data:
    """Read a corpus and open its training and held-out streams; BadInput when it is not one."""
    if config.curriculum not in CURRICULA:
        raise BadInput(f"unknown curriculum {config.curriculum!r}: one of {', '.join(CURRICULA)}.")
    if not path.is_file():
        raise BadInput(f"there is no corpus {path}: make one with eg-train prepare.")
    corpus = Corpus.load(path)
    settings = CURRICULA[config.curriculum]()
    apart = replace(settings, sampling=replace(settings.sampling, split="held_out"))
    grid = config.network.grid
    stream = PatternStream(corpus, settings, config.seed, grid, device)
    held_out = PatternStream(corpus, apart, config.seed + HELD_OUT_SEED, grid, device)
    return Data(
        stream,
        HeldOut(held_out, config.held_out_patterns),
        smoothed(stream.group_probability(), uniform_share=1e-4),
        f"{path.stem} ({len(corpus):,} structures, SHA-256 {_digest(path)})",
        {"stage": config.curriculum, **json.loads(json.dumps(asdict(settings)))},
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
