"""What the package ships of a trained lattice prior: its weights, and where they come from."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.numpy import save

from trainer.lattices.training import Judged, LatticeModule, LatticeTraining

NAME = "lattice_prior"


def ship(
    network: LatticeModule, judged: Judged, training: LatticeTraining, out: Path, count: int, date: str
) -> dict[str, Any]:
    """Write OUT/lattice_prior.safetensors and .json; what the second says."""
    about = {
        "trained_on": f"{count:,} lattices of computed and mineral structures (trainer.lattices); no pattern",
        "training": asdict(training),
        "held_out": asdict(judged),
        "date": date,
    }
    out.mkdir(parents=True, exist_ok=True)
    weights, card = out / f"{NAME}.safetensors", out / f"{NAME}.json"
    part = weights.with_suffix(".part")
    part.write_bytes(save(network.tensors()))
    part.rename(weights)
    card.write_text(json.dumps(about, indent=1) + "\n", "utf-8")
    return about
