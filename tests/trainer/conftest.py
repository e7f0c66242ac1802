"""A corpus small enough for any test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpus file of the textbook structures, every fourth one held out."""
    from simulators.corpus import COMPUTED, pack
    from simulators.textbook import textbook

    packed = pack((crystal, COMPUTED) for crystal in textbook())
    split = (np.arange(len(packed)) % 4 == 3).astype(np.uint8)
    path = tmp_path_factory.mktemp("corpus") / "textbook.npz"
    replace(packed, split=split).save(path)
    return path
