"""What the package ships of a trained absence network: its weights, and where they come from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainer.absences.network import AbsenceModule
from trainer.absences.store import A_FILE
from trainer.absences.training import AbsenceTraining, Judged
from trainer.small_networks import ship_as

NAME = "absence_network"


def ship(
    network: AbsenceModule, judged: Judged, training: AbsenceTraining, out: Path, files: int, date: str
) -> dict[str, Any]:
    """Write OUT/absence_network.safetensors and .json; what the second says."""
    about = {
        "trained_on": f"{training.samples:,} line lists with errors, drawn from {A_FILE * files:,} of "
        "computed and mineral structures, copies of them and random molecular crystals (trainer.absences); "
        "no measured pattern",
        "training": asdict(training),
        "held_out": asdict(judged),
        "date": date,
    }
    ship_as(NAME, network.tensors(), about, out)
    return about
