"""Some computed structures, and their materials with copies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from trainer.multimodal.copies import copy_training
from trainer.multimodal.materials import read_materials

ROWS = 400


@pytest.fixture(scope="session")
def table(structures, tmp_path_factory) -> Path:
    """Some rows of the computed structures as a parquet of their own."""
    path = tmp_path_factory.mktemp("structures") / "some.parquet"
    pd.read_parquet(structures / "materials_project.parquet").head(ROWS).to_parquet(path)
    return path


@pytest.fixture(scope="session")
def made(table, tmp_path_factory) -> Path:
    """Their materials, as a file, with a copy of each training structure."""
    path = tmp_path_factory.mktemp("materials") / "materials.npz"
    replace(read_materials(table), copies=copy_training(table, 1)).save(path)
    return path
