"""The two files that the package ships of a small numpy network: its weights, and where they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save


def ship_as(name: str, tensors: Mapping[str, np.ndarray], about: dict[str, Any], out: Path) -> None:
    """Write OUT/`name`.safetensors, whole or not at all, and OUT/`name`.json."""
    out.mkdir(parents=True, exist_ok=True)
    weights = out / f"{name}.safetensors"
    part = weights.with_suffix(".part")
    part.write_bytes(save(dict(tensors)))
    part.rename(weights)
    weights.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n", "utf-8")
