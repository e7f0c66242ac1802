"""A corpus of the textbook structures, and a run small enough for two busy cores."""

from __future__ import annotations

import pytest

from eg_agent.model.network import NetworkConfig
from trainer.config import ScheduleConfig, TrainConfig


@pytest.fixture(scope="session")
def plain() -> TrainConfig:
    """A run without batch norm and in fp32, so that it does not depend on how a batch is shared."""
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
        precision="fp32",  # in bf16 sums of halves differ by more than what is compared
        network=network,
        batch=8,
        schedule=ScheduleConfig(warmup_steps=5),
        checkpoint_seconds=2.0,
        held_out_seconds=1e9,
        held_out_patterns=64,
        log_steps=10,
    )
