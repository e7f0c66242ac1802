"""What the package ships of a trained lattice prior: its weights, and where they come from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from eg_agent.identify.known_lattices import KnownLattices, tensors_of
from trainer.lattices.counting import JudgedBeside
from trainer.lattices.training import Judged, LatticeModule, LatticeTraining
from trainer.small_networks import ship_as

NAME = "lattice_prior"


def ship(
    network: LatticeModule,
    judged: Judged,
    known: KnownLattices,
    beside: JudgedBeside,
    training: LatticeTraining,
    out: Path,
    count: int,
    date: str,
) -> dict[str, Any]:
    """Write OUT/lattice_prior.safetensors and .json; what the second says."""
    about = {
        "trained_on": f"{count:,} lattices of computed and mineral structures (trainer.lattices); no pattern",
        "training": asdict(training),
        "held_out": asdict(judged),
        "held_out_beside_known": asdict(beside),
        "date": date,
    }
    ship_as(NAME, {**network.tensors(), **tensors_of(known)}, about, out)
    return about
