"""What a trained network sees in simulated patterns, kept in a file: its features, and which crystal it was.

The composition head is trained on top of a network that stays as it is, so that patterns go through it
once. A stopped run goes on where it was: pattern i is a function of (seed, i).
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.model.classifier import Classifier
from simulators.corpus import Corpus
from simulators.stream import PatternStream
from trainer.data import CURRICULA, HELD_OUT_SEED

#: Patterns that are made together, and between two savings.
TOGETHER = 256
SAVE_EVERY = 40 * TOGETHER

Split = Literal["train", "held_out"]


@dataclass(frozen=True, eq=False)
class Features:
    """feature: float16 [n, R]. group: int64 [n], number minus 1. structure: int64 [n], row of the corpus.

    hash: of the network.
    """

    feature: npt.NDArray[np.float16]
    group: npt.NDArray[np.int64]
    structure: npt.NDArray[np.int64]
    hash: str

    def __len__(self) -> int:
        return len(self.group)


def read(path: Path) -> Features:
    """Read what `made` wrote; BadInput for another file."""
    try:
        with np.load(path, allow_pickle=False) as data:
            return Features(data["feature"], data["group"], data["structure"], str(data["hash"]))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        raise BadInput(
            f"{path} does not hold features of patterns: delete it, or give another name."
        ) from None


def write(path: Path, features: Features) -> None:
    """The file appears whole or not at all."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez(
            file,
            feature=features.feature,
            group=features.group,
            structure=features.structure,
            hash=np.array(features.hash),
        )
    part.replace(path)


def made(
    path: Path,
    classifier: Classifier,
    corpus: Corpus,
    patterns: int,
    split: Split,
    *,
    stage: str = "ranges",
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Features:
    """Features of the first `patterns` patterns of a stage; what `path` holds already is not made again.

    Held-out structures have another seed, so that they share no nuisance with trained ones.
    """
    config = CURRICULA[stage]()
    config = replace(config, sampling=replace(config.sampling, split=split))
    seed += HELD_OUT_SEED if split == "held_out" else 0
    stream = PatternStream(corpus, config, seed, classifier.grid, "cpu")
    parts: list[Features] = []
    if path.exists():
        before = read(path)
        if before.hash != classifier.checkpoint_hash:
            raise BadInput(f"{path} holds features of network {before.hash}: give another folder.")
        parts.append(before)
    done = saved = sum(map(len, parts))
    while done < patterns:
        batch = stream.batch(done, TOGETHER)
        outputs = classifier.projected_outputs(batch.intensity.numpy(), batch.coverage.numpy())
        parts.append(
            Features(
                outputs.features.astype(np.float16),
                batch.group.numpy(),
                batch.structure.numpy(),
                classifier.checkpoint_hash,
            )
        )
        done += TOGETHER
        progress(min(done, patterns), patterns)
        if done - saved >= SAVE_EVERY:
            parts, saved = [joined(parts)], done
            write(path, parts[0])
    found = joined(parts)
    if done > saved:
        write(path, found)
    return found


def joined(parts: list[Features]) -> Features:
    """Several in their order as one."""
    if len(parts) == 1:
        return parts[0]
    return Features(
        np.concatenate([p.feature for p in parts]),
        np.concatenate([p.group for p in parts]),
        np.concatenate([p.structure for p in parts]),
        parts[0].hash,
    )
