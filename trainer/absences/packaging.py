"""What the package ships of a trained absence network: its weights, and where they come from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from eg_agent.verify.absence_network import WEIGHTS
from trainer.absences.network import AbsenceModule
from trainer.absences.store import A_FILE
from trainer.absences.together import Together, tensors_of
from trainer.absences.training import AbsenceTraining, Judged
from trainer.absences.whole import WholeTraining
from trainer.small_networks import ship_as

NAME = "absence_network"


@dataclass(frozen=True, eq=False)
class Trained:
    """Both networks with their trainings and how they do on held-out samples."""

    network: AbsenceModule
    judged: Judged
    training: AbsenceTraining
    members: Sequence[nn.Sequential]
    together: Together
    whole: WholeTraining


def ship(trained: Trained, out: Path, files: int, date: str) -> dict[str, Any]:
    """Write OUT/absence_network.safetensors and .json; what the second says."""
    about = {
        "trained_on": f"{trained.training.samples:,} line lists with errors, drawn from {A_FILE * files:,} "
        "of computed and mineral structures, copies of them and random molecular crystals "
        "(trainer.absences); no measured pattern",
        "training": asdict(trained.training),
        "held_out": asdict(trained.judged),
        "whole": asdict(trained.whole),
        "together": asdict(trained.together),
        "date": date,
    }
    if trained.training.further:
        package = json.loads(WEIGHTS.with_suffix(".json").read_text("utf-8"))
        about["before"] = {
            name: package[name] for name in ("trained_on", "training", "before") if name in package
        }
    ship_as(NAME, tensors_of(trained.network.tensors(), trained.members, trained.together), about, out)
    return about
