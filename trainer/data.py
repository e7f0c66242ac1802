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
from simulators.stream_config import Sampling, StreamConfig, stage1, stage2, texture
from trainer.config import TrainConfig
from trainer.held_out import HeldOut


def stage2_real() -> StreamConfig:
    """Stage 2 mostly of real structures; random and molecular crystals fill the groups that these lack.

    Early in training random crystals teach little (docs/log.md): at 36,000 patterns real structures alone
    reach what the mix of `stage2` reached with some 100,000.
    """
    return replace(stage2(), sampling=Sampling(real=0.88, random=0.08, molecular=0.04))


def ranges() -> StreamConfig:
    """`stage2_real` with two fifths of the patterns cut to any range, from anywhere to anywhere.

    For scans that stop early, areas of a detector, and live answers: the shipped network of before fell
    below its prior on the first third of a range (docs/log.md). Starts to 60 and ends from 25 degrees of
    Cu K-alpha reach every third of a range from 5 to 90.
    """
    real = stage2_real()
    recording = replace(real.recording, full_range_share=0.6, start=(5.0, 60.0), end=(25.0, 90.0))
    return replace(real, recording=recording)


def stage3() -> StreamConfig:
    """`stage2_real` with classes as they come, so that the network ends with a natural prior.

    The paper's third stage puts a prior and T = 5 over the answers; T is fitted when a run is exported.
    """
    real = stage2_real()
    return replace(real, sampling=replace(real.sampling, group_power=1.0, mineral_weight=1.0))


def mixed() -> StreamConfig:
    """`stage2_real` with a fifth of the powders textured (the paper's mixed champion)."""
    real = stage2_real()
    return replace(real, sample=replace(real.sample, texture_share=0.2))


def without_texture() -> StreamConfig:
    """`stage2_real` without preferred orientation and without spotty powders."""
    real = stage2_real()
    return replace(real, sample=replace(real.sample, texture_share=0.0, spotty_share=0.0))


def without_minerals() -> StreamConfig:
    """`stage2_real` with minerals counted as any computed structure is."""
    real = stage2_real()
    return replace(real, sampling=replace(real.sampling, mineral_weight=1.0))


def without_nuisances() -> StreamConfig:
    """The structures of `stage2_real`, with sample, instrument and recording of stage 1."""
    return replace(stage1(), sampling=stage2_real().sampling)


def without_real() -> StreamConfig:
    """The nuisances of `stage2_real` on random crystals alone, as in the paper."""
    return replace(stage2(), sampling=Sampling(real=0.0, random=1.0, molecular=0.0))


#: Stages of the curriculum by name; those with "without" are for ablations.
CURRICULA = {
    "stage1": stage1,
    "stage2": stage2,
    "stage2-real": stage2_real,
    "ranges": ranges,
    "stage3": stage3,
    "texture": texture,
    "mixed": mixed,
    "without-texture": without_texture,
    "without-minerals": without_minerals,
    "without-nuisances": without_nuisances,
    "without-real": without_real,
}
#: Added to a run's seed, so that held-out patterns do not share their nuisances with trained ones.
HELD_OUT_SEED = 7_919


@dataclass(frozen=True)
class Data:
    """stream: training patterns. held_out: of structures outside it. log_train_prior: [99] of the stream.

    corpus: the file's name and size in structures, for the record. curriculum: the stream's settings.
    earlier: (progress at which it ends, stream) of each stage before the last one, which is `stream`.
    """

    stream: Any
    held_out: HeldOut
    log_train_prior: npt.NDArray[np.float64]
    corpus: str
    curriculum: dict[str, Any]
    earlier: tuple[tuple[float, Any], ...] = ()


def open_data(path: Path, config: TrainConfig, device: torch.device) -> Data:
    """Read a corpus and open its training and held-out streams; BadInput when it is not one.

    The curriculum "retrain" has a bundle in place of a corpus (`trainer.retrain.bundle`).
    """
    if config.curriculum == "retrain":
        from trainer.retrain.bundle import open_bundle

        return open_bundle(path, config, device)
    for _, stage in config.stages:
        if stage not in CURRICULA:
            raise BadInput(f"unknown curriculum {stage!r}: one of {', '.join(CURRICULA)}.")
    if not path.is_file():
        raise BadInput(f"there is no corpus {path}: make one with eg-train prepare.")
    corpus = Corpus.load(path)
    settings = CURRICULA[config.curriculum]()
    apart = replace(settings, sampling=replace(settings.sampling, split="held_out"))
    grid = config.network.grid
    stream = PatternStream(corpus, settings, config.seed, grid, device)
    begins = [begin for begin, _ in config.stages[1:]]
    earlier = tuple(
        (end, PatternStream(corpus, CURRICULA[phase.stage](), config.seed, grid, device))
        for end, phase in zip(begins, config.earlier, strict=True)
    )
    held_out = PatternStream(corpus, apart, config.seed + HELD_OUT_SEED, grid, device)
    return Data(
        stream,
        HeldOut(held_out, config.held_out_patterns),
        smoothed(stream.group_probability(), uniform_share=1e-4),
        f"{path.stem} ({len(corpus):,} structures, SHA-256 {_digest(path)})",
        {
            "stage": config.curriculum,
            "earlier": [asdict(p) for p in config.earlier],
            **json.loads(json.dumps(asdict(settings))),
        },
        earlier,
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
