"""`--what properties`: a multimodal checkpoint on structures of a parquet, patterns simulated from them.

Each structure is shown as composition and pattern, as composition alone and as pattern alone. Structures
whose formula the checkpoint was trained on are left out, or counted apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from eg_agent.chemistry import Composition
from eg_agent.errors import BadInput
from eg_agent.model.properties import PropertyModel
from trainer.multimodal.materials import Materials, formulas_of, read_materials
from trainer.multimodal.property_metrics import PropertyBootstrap, as_json
from trainer.multimodal.views import CLEAN_FWHM, condition

#: What is shown, and how it is called.
SHOWN = {"both": "composition and pattern", "composition": "composition alone", "xrd": "pattern alone"}
#: Metric -> (heading, decimals).
METRICS = {
    "formation_energy_mae": ("formation energy, eV/atom", 3),
    "band_gap_mae": ("band gap, eV", 3),
    "crystal_system_accuracy": ("crystal system right", 3),
}


def run_properties(
    structures: Path,
    checkpoint: str | Path = "default",
    *,
    with_trained: bool = False,
    limit: int | None = None,
    patterns: str = "clean",
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Errors with 95 % intervals by formula, as JSON types.

    n: structures; both, composition, xrd: formation_energy_mae (eV/atom), band_gap_mae (eV) and
    crystal_system_accuracy, each value, low and high, None where no structure has the label.
    left_out: structures whose formula was trained or validated on; with_trained: these too, under "trained".
    patterns: a condition of `trainer.multimodal.views`. limit: structures, drawn with the seed.
    Raises BadInput where nothing is left, and for a file or checkpoint that cannot be used.
    """
    model = PropertyModel.load(checkpoint)
    trained = model.trained_formulas
    formulas = formulas_of(structures)
    seen = np.array([formula in trained for formula in formulas], dtype=bool)
    if seen.all():
        raise BadInput(
            f"every formula of {structures} was trained on: nothing is left to judge. "
            "--with-trained counts them apart."
        )
    chosen = _chosen(~seen, limit, seed)
    materials = read_materials(structures, rows=chosen, progress=progress)
    result = {
        **_judged(model, materials, patterns, seed),
        "left_out": 0 if with_trained else int(seen.sum()),
        "settings": {
            "what": "properties",
            "structures": structures.name,
            "checkpoint": model.card.hash,
            "limits": list(model.card.limits),
            "patterns": f"{patterns}, simulated from the structures",
            "smearing_fwhm": CLEAN_FWHM,
            "limit": limit,
            "seed": seed,
        },
    }
    if with_trained and seen.any():
        materials = read_materials(structures, rows=_chosen(seen, limit, seed), progress=progress)
        result["trained"] = _judged(model, materials, patterns, seed)
    return result


def _chosen(which: np.ndarray, limit: int | None, seed: int) -> list[int]:
    """Rows where `which`, or `limit` of them."""
    return np.sort(np.random.default_rng(seed).permutation(np.flatnonzero(which))[:limit]).tolist()


def _judged(model: PropertyModel, part: Materials, patterns: str, seed: int) -> dict[str, Any]:
    device = next(model.network.parameters()).device
    view = condition(patterns, part.corpus, model.grid, device, seed=seed)
    compositions = [Composition.of_formula(formula) for formula in part.formulas.tolist()]
    intensity, coverage = view.take(torch.arange(len(part), device=device))
    means = PropertyBootstrap(part.formulas.tolist(), seed=seed)
    found: dict[str, Any] = {"n": len(part), "formulas": means.bootstrap.n_compounds}
    for name in SHOWN:
        pattern = (None, None) if name == "composition" else (intensity, coverage)
        said = model.said(*pattern, None if name == "xrd" else compositions)
        right = said.system.argmax(1) == part.system.numpy()
        errors = {
            "formation_energy_mae": np.abs(said.energy[:, 0] - part.energy),
            "band_gap_mae": np.abs(said.gap[:, 0] - part.gap),
            "crystal_system_accuracy": right.astype(np.float64),
        }
        found[name] = {metric: as_json(means.mean(values)) for metric, values in errors.items()}
    return found


def print_properties(result: Mapping[str, Any], console: Console) -> None:
    """The result for people."""
    for words, part in (("Formulas that were not trained on", result), ("Trained on", result.get("trained"))):
        if part is None:
            continue
        table = Table(
            title=f"{words}: {part['n']:,} structures of {part['formulas']:,} formulas",
            title_justify="left",
            box=box.SIMPLE_HEAD,
        )
        table.add_column("shown", no_wrap=True)
        for heading, _ in METRICS.values():
            table.add_column(heading, justify="right")
        for name, shown in SHOWN.items():
            cells = []
            for metric, (_, decimals) in METRICS.items():
                value, low, high = (part[name][metric][key] for key in ("value", "low", "high"))
                cells.append(
                    "-"
                    if value is None
                    else f"{value:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"
                )
            table.add_row(shown, *cells)
        console.print(table)
    if result["left_out"]:
        console.print(f"{result['left_out']:,} structures are left out, as their formulas were trained on.")
    console.print(f"Patterns: {result['settings']['patterns']}. Intervals of 95 % resample formulas.")
    for said in result["settings"]["limits"]:  # what it was not trained on is in the tables, too
        console.print(said)
