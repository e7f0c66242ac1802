"""A small corpus of random crystals, made once a test session."""

from __future__ import annotations

import numpy as np
import pytest

from eg_agent.symmetry import groups
from simulators.corpus import COMPUTED, MINERAL, MOLECULAR, RANDOM, Corpus, pack
from simulators.random_crystals import random_crystal


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    """Four crystals of each group: two as computed ones, a mineral, a random one; ten molecular."""
    crystals = []
    for group in groups():
        rng = np.random.default_rng(group.number)
        for source in (COMPUTED, COMPUTED, MINERAL, RANDOM):
            crystals.append((random_crystal(int(rng.choice(group.space_groups)), rng, max_atoms=24), source))
    for index in range(10):
        rng = np.random.default_rng([7, index])
        crystals.append((random_crystal(14, rng, "molecular", max_atoms=60), MOLECULAR))
    return pack(crystals)
