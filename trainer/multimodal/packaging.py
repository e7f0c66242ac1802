"""From a finished run of XxaCT-NN to a checkpoint that ships: weights, card, and intervals that hold."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from eg_agent.errors import BadInput
from eg_agent.model.checkpoint import load_weights
from eg_agent.model.properties import COVERAGE, PropertyCard, Widening, save_properties
from eg_agent.model.xxact import Scale, Xxact, optional
from trainer.multimodal.materials import TEST, VALIDATION, Materials
from trainer.multimodal.views import condition
from trainer.multimodal.xxact_config import XxactTrain, xxact_train_of
from trainer.multimodal.xxact_data import Sample
from trainer.multimodal.xxact_loop import TOGETHER, answers, in_units
from trainer.multimodal.xxact_loss import Labels
from trainer.state import find_state, read_index, read_tensors

LIMITS = (
    "Trained on computed structures and their simulated patterns; energies are those of the Materials "
    "Project at 0 K, gaps those of its density functional, which are too small.",
    "One phase whose composition is known. X-ray patterns of powders.",
    "Its crystal system is an expectation, no evidence, and counts for nothing in an identification.",
)


def package(run: Path, materials_path: Path, out: Path, name: str) -> PropertyCard:
    """Write OUT.safetensors and OUT.card.json of a run's state; BadInput where it is not finished."""
    state = find_state(run)
    if state is None:
        raise BadInput(f"{run} holds no state of a run.")
    index, tensors = read_index(state), read_tensors(state)
    config = xxact_train_of(index["config"])
    if index["step"] < config.steps:
        raise BadInput(f"{run} is at step {index['step']:,} of {config.steps:,}: go on with it first.")
    network = Xxact(replace(config.network, symmetry=False, match=False))
    mine = {n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")}
    load_weights(network, {n: t for n, t in mine.items() if not optional(n)}, str(state))
    scales = Scale(*index["scales"][0]), Scale(*index["scales"][1])
    materials = Materials.load(materials_path)
    rows = np.flatnonzero((materials.part == VALIDATION) & np.isfinite(materials.energy))
    judged = materials.only(rows)
    widening, figures = widened(network, judged, scales)
    card = PropertyCard(
        name=name,
        architecture=network.config,
        energy=scales[0],
        gap=scales[1],
        widening=widening,
        trained_on=f"{index['corpus']}; {config.name}, {config.samples:,} samples, inputs {config.inputs}",
        formulas="CRC-32 of the reduced formula modulo 100: 0-9 test, 10-11 validation, 12-99 trained",
        held_out=figures,
        cost={"samples": float(config.samples), "hours": round(index["seconds"] / 3600, 3)},
        limits=(*LIMITS, *_untrained(config)),
        created=datetime.now(UTC).strftime("%Y-%m-%d"),
    )
    seen = materials.part != TEST
    if config.rows == "labelled":
        seen &= np.isfinite(materials.energy)
    trained = set(materials.formulas[seen].tolist())
    if config.copies and materials.copies is not None:  # nothing is known of these, but they were shown
        trained |= set(materials.copies.formulas)
    return save_properties(out, network, card, trained)


def _untrained(config: XxactTrain) -> tuple[str, ...]:
    """What a run was not trained on, and is not to be asked."""
    names = {"formation energy": "energy", "band gap": "gap", "crystal system": "system"}
    without = [name for name, weight in names.items() if not getattr(config.weights, weight)]
    said = [f"Not trained on: {', '.join(without)}; what it says of them means nothing."] if without else []
    if config.inputs != "any":
        shown = {"both": "composition and pattern together", "xrd": "a pattern alone"}
        said.append(
            f"Trained on {shown.get(config.inputs, 'a composition alone')}; nothing else may be shown."
        )
    if config.patterns == "clean" and config.inputs != "composition":
        said.append("Trained on clean patterns alone: of patterns as they are measured it says little.")
    return tuple(said)


def widened(
    network: Xxact, judged: Materials, scales: tuple[Scale, Scale]
) -> tuple[dict[str, Widening], dict[str, float]]:
    """Factors on the Laplace scales with which COVERAGE of these structures lie in their intervals, by what
    is shown, and figures on them."""
    view = condition("clean", judged.corpus, network.config.grid, torch.device("cpu"))
    nothing = torch.zeros(TOGETHER)
    labels = Labels(nothing, nothing, nothing.long())
    samples = [
        Sample(*view.take(part), type(judged.chemistry)(*(x[part] for x in judged.chemistry)), labels)
        for part in torch.arange(len(judged)).split(TOGETHER)
    ]
    found, figures = {}, {"structures": float(len(judged))}
    for inputs in ("both", "composition", "xrd"):
        said = answers(network, samples, inputs)
        factors = []
        for part, scale, label, word in (
            (said.energy_B2, scales[0], judged.energy, "energy_mae"),
            (said.gap_B2, scales[1], judged.gap, "gap_mae"),
        ):
            value, width = in_units(part, scale).double().numpy().T
            known = np.isfinite(label)
            error = np.abs(value - label)[known]
            figures[f"{inputs}_{word}"] = round(float(error.mean()), 4)
            factors.append(round(_factor(error, width[known]), 4))
        right = said.system_BS.argmax(1) == judged.system
        figures[f"{inputs}_accuracy"] = round(float(right.float().mean()), 4)
        found[inputs] = Widening(*factors)
    return found, figures


def _factor(error: npt.NDArray[np.float64], width: npt.NDArray[np.float64]) -> float:
    """The conformal quantile of the errors over their half intervals, with one sample's margin."""
    ratio = np.sort(error / (-math.log(1.0 - COVERAGE) * width))
    place = min(len(ratio) - 1, math.ceil((len(ratio) + 1) * COVERAGE) - 1)
    return float(max(1e-3, ratio[place]))
