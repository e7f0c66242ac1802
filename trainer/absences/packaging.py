"""What the package ships of a trained absence network: its weights, and where they come from."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.numpy import save

from trainer.absences.network import AbsenceModule
from trainer.absences.store import A_FILE
from trainer.absences.training import AbsenceTraining, Judged

NAME = "absence_network"


def ship(
    network: AbsenceModule, judged: Judged, training: AbsenceTraining, out: Path, files: int, date: str
) -> dict[str, Any]:
    """Write OUT/absence_network.safetensors and .json; what the second says."""
    about = {
        "trained_on": f"{training.samples:,} line lists with errors, drawn from {A_FILE * files:,} of "
        "computed and mineral structures (trainer.absences); no measured pattern",
        "training": asdict(training),
        "held_out": asdict(judged),
        "date": date,
    }
    weights, card = out / f"{NAME}.safetensors", out / f"{NAME}.json"
    part = weights.with_suffix(".part")
    part.write_bytes(save(network.tensors()))
    part.rename(weights)
    card.write_text(json.dumps(about, indent=1) + "\n", "utf-8")
    return about
