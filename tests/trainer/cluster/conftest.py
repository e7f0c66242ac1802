"""A corpus of the textbook structures, and a run small enough for two busy cores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eg_agent.model.network import NetworkConfig
from simulators.corpus import COMPUTED, pack
from simulators.textbook import textbook
from trainer.config import ScheduleConfig, TrainConfig


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """Corpus file of the textbook structures, every fourth one held out."""
    packed = pack((crystal, COMPUTED) for crystal in textbook())
    split = (np.arange(len(packed)) % 4 == 3).astype(np.uint8)
    path = tmp_path_factory.mktemp("corpus") / "textbook.npz"
    replace(packed, split=split).save(path)
    return path


@pytest.fixture(scope="session")
def plain() -> TrainConfig:
    """A run without batch norm, so that it does not depend on how a batch is shared."""
    network = NetworkConfig(
        length=512,
        channels=("sqrt", "coverage", "sin2theta"),
        stem="patch",
        patch=16,
        width=16,
        depth=1,
        heads=2,
        mlp_ratio=2,
    )
    return TrainConfig(
        name="plain",
        network=network,
        batch=8,
        schedule=ScheduleConfig(warmup_steps=5),
        checkpoint_seconds=2.0,
        held_out_seconds=1e9,
        held_out_patterns=64,
        log_steps=10,
    )
