"""Fit how network and fit are weighed jointly, on simulated measurements of all kinds; resumable.

`eg-train study joint --structures DIR --out OUT` makes rows of `joint_samples` (one JSON line a measurement),
fits the weights of `eg_agent.identify.joint` by the probability of the true group, and then the correction of
`eg_agent.identify.refinement`, judges them out of fold (folds by formula) beside the plain product, takes the
power that makes these answers most likely (what was fitted is too sure of formulas that it has not seen), and
writes OUT/joint.json and OUT/joint.safetensors, which is what the package ships. No measured pattern takes
part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import Tensor, nn

from eg_agent.errors import BadInput, BadPattern
from eg_agent.identify import Identifier, IdentifySettings
from eg_agent.identify.fusion import N_GROUPS, fuse
from eg_agent.identify.joint import LATTICE, MOST, NETWORK, of_cell
from eg_agent.verify.traits import CONTEXT, TRAITS
from trainer.benchmark.joint_batch import Batch, Row, batch_of
from trainer.benchmark.joint_refine import Refining, corrected, inputs_of, refine
from trainer.benchmark.joint_samples import JointSamples, Looked
from trainer.benchmark.nulls import folds_by_compound
from trainer.benchmark.numbered_rows import numbered_rows
from trainer.metrics import Bootstrap

Floats = npt.NDArray[np.float64]

SEED, FOLDS = 17, 5
#: Steps of each network of the correction.
REFINING_STEPS = 800
#: Quantiles of the context beyond which it is not believed.
BELIEVED = (0.03, 0.97)
#: Steps, learning rate (falls to 0 along a cosine) and measurements a step.
STEPS, RATE, BATCH = 200, 0.03, 1500
#: What the weights are held to their beginnings by: at the centre, and with the context.
RIDGE = (1.5e-3, 5e-3)
#: Where the traits' weights begin: half of those of the pooled evidence, half of the absence networks', and
#: what neither knows at 0.
BEGIN = {"evidence": -0.5, "chi_square": -0.13, "forbidden": 0.55, "learned": -0.5, "whole": -0.5}
#: Where what the lattice counts begins.
BEGIN_LATTICE = 0.5
#: Between which the power is looked for.
POWERS = (0.3, 3.0)
#: Claims from here on are counted: the agent stops there.
SURE = 0.95


def run(
    structures: Path,
    out: Path,
    count: int,
    *,
    seed: int = SEED,
    minutes: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Rows of samples 0 to count - 1; those in OUT/rows.jsonl are not made again."""

    def prepare() -> Callable[[int], dict[str, Any]]:
        identifier = Identifier("default", "inorganic")
        samples = JointSamples(structures, identifier, seed)
        return lambda index: {"looks": _looks(samples, index)}

    entries = numbered_rows(out, count, prepare, minutes=minutes, progress=progress, check=_usable)
    return [_row(look) for entry in entries for look in entry["looks"]]


def _usable(entry: dict[str, Any]) -> None:
    """BadInput for measurements of an older version: they lack what the weights are fitted to."""
    for look in entry["looks"]:
        if "chance" not in look or any(len(traits) != len(TRAITS) for traits in look["traits"]):
            raise BadInput("--out holds measurements of an older version: give another folder.")


def _looks(samples: JointSamples, index: int) -> list[dict[str, Any]]:
    try:
        return [_entry(look) for look in samples(index)]
    except (BadInput, BadPattern):
        return []


def _entry(look: Looked) -> dict[str, Any]:
    found = look.found
    assert found.network is not None
    assert found.evidence is not None
    product = fuse(found.network.log_probability, found.evidence_only, IdentifySettings())
    said = found.network.log_probability - found.network.log_prior
    return {
        "kind": look.kind,
        "formula": look.formula,
        "truth": look.group,
        "chance": round(look.chance, 4),
        "seconds": round(look.seconds, 1),
        "said": np.round(said, 3).tolist(),
        "prior": np.round(found.network.log_prior, 3).tolist(),
        "numbers": [c.group for c in found.evidence.candidates],
        "traits": [np.round(c.traits, 4).tolist() for c in found.evidence.candidates],
        "context": np.round(found.evidence.context, 4).tolist(),
        "cell": np.round(found.evidence.cell or (), 5).tolist(),
        "product": np.round(product, 3).tolist(),
    }


def _row(entry: dict[str, Any]) -> Row:
    arrays = {name: np.array(entry[name]) for name in ("said", "prior", "traits", "context", "product")}
    numbers = np.array(entry["numbers"], dtype=np.int64)
    arrays["lattice"] = of_cell(tuple(entry["cell"]))
    chance = float(entry["chance"])
    return Row(entry["kind"], entry["formula"], int(entry["truth"]), numbers=numbers, chance=chance, **arrays)


class Weighing(nn.Module):
    """`eg_agent.identify.joint.weigh` for a batch, with weights that can be fitted."""

    low: Tensor
    high: Tensor
    most: Tensor

    def __init__(self, context: Tensor) -> None:
        super().__init__()
        z = len(CONTEXT)
        self.register_buffer("low", torch.quantile(context, BELIEVED[0], 0))
        self.register_buffer("high", torch.quantile(context, BELIEVED[1], 0))
        self.register_buffer("most", torch.tensor(MOST, dtype=torch.float32))
        self.register_buffer("begin", torch.tensor([BEGIN.get(name, 0.0) for name in TRAITS]))
        self.centre = nn.Parameter(torch.tensor([BEGIN.get(name, 0.0) for name in TRAITS]))
        self.slope = nn.Parameter(torch.zeros(len(TRAITS), z))
        self.network = nn.Parameter(torch.tensor([0.9, *[0.0] * (z + 1)]))
        self.lattice = nn.Parameter(torch.tensor([BEGIN_LATTICE, *[0.0] * z]))
        self.prior = nn.Parameter(torch.tensor(0.7))
        self.misled = nn.Parameter(torch.tensor(-3.9))

    def believed(self, context: Tensor) -> Tensor:
        """[n, z] the context, as far as it is believed."""
        return torch.maximum(torch.minimum(context, self.high), self.low)

    def forward(self, of: Batch) -> Tensor:
        """[n, 99] nats, normalised."""
        z = self.believed(of.context)
        by_trait = torch.minimum(self.centre + z @ self.slope.T, self.most)
        value = (of.traits * by_trait[:, None, :]).sum(2)
        value = torch.full((len(z), N_GROUPS + 1), -1e4).scatter(1, of.place, value)[:, :N_GROUPS]
        misled = torch.sigmoid(self.misled)
        share = torch.log(misled) - float(np.log(N_GROUPS))
        said = torch.logaddexp(torch.log1p(-misled) + torch.log_softmax(value, 1), share)
        power = self.network[0] + z @ self.network[1:-1] + self.network[-1] * of.undecided
        by_lattice = (self.lattice[0] + z @ self.lattice[1:]).clamp(*LATTICE)[:, None]
        total = power.clamp(*NETWORK)[:, None] * of.said + self.prior * of.prior
        total = total + by_lattice * of.lattice + said
        return torch.log_softmax(total, 1)

    def ridge(self) -> Tensor:
        """What keeps the weights near their beginnings, relative to one measurement's mean loss."""
        begin = self.get_buffer("begin")
        centre = (self.centre - begin).pow(2).sum() + (self.misled + 3.9).pow(2)
        centre = centre + (self.lattice[0] - BEGIN_LATTICE).pow(2)
        slopes = (self.slope, self.network[1:], self.lattice[1:])
        with_context = torch.stack([slope.pow(2).sum() for slope in slopes]).sum()
        return RIDGE[0] * centre + RIDGE[1] * with_context

    def as_json(self, power: float = 1.0) -> dict[str, Any]:
        """Weights in the form that `eg_agent.identify.joint.weights_of` reads; power: of the posterior."""

        def plain(values: Tensor) -> list[float]:
            return np.round(values.detach().double().numpy(), 4).tolist()

        both = torch.cat([self.centre[:, None], self.slope], 1)
        return {
            "traits": {name: plain(row) for name, row in zip(TRAITS, both, strict=True)},
            "network": plain(self.network),
            "lattice": plain(self.lattice),
            "prior": round(float(self.prior.detach()), 4),
            "misled": round(float(torch.sigmoid(self.misled).detach()), 5),
            "power": power,
            "context": {
                name: [round(float(a), 4), round(float(b), 4)]
                for name, a, b in zip(CONTEXT, self.low, self.high, strict=True)
            },
        }


@dataclass(frozen=True, eq=False)
class Fitted:
    """Weights, and what corrects them."""

    weights: Weighing
    refining: Refining

    @torch.inference_mode()
    def __call__(self, of: Batch) -> Tensor:
        """[n, 99] nats, normalised."""
        first = self.weights(of)
        inputs = inputs_of(of, first, self.weights.believed(of.context))
        return corrected(first, self.refining(inputs), of.place)


def fit_all(batch: Batch, seed: int = 0, steps: int | None = None) -> Fitted:
    """The weights, and after them what corrects them; steps: of the correction."""
    weights = fit(batch, seed)
    with torch.no_grad():
        first, context = weights(batch), weights.believed(batch.context)
    return Fitted(weights, refine(batch, first, context, seed, steps or REFINING_STEPS))


def fit(batch: Batch, seed: int = 0, steps: int = STEPS) -> Weighing:
    """The weights that make the true groups most probable."""
    torch.manual_seed(seed)
    found = Weighing(batch.context)
    optimiser = torch.optim.Adam(found.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    count = len(batch.truth)
    for _ in range(steps):
        part = batch if count <= BATCH else batch[torch.randperm(count)[:BATCH]]
        own = found(part).gather(1, part.truth[:, None])[:, 0]
        loss = -(own * part.weight).sum() / part.weight.sum() + found.ridge()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    return found


def out_of_fold(rows: Sequence[Row], seed: int = 0) -> tuple[float, dict[str, Any]]:
    """The power that calibrates, and with it -log probability, first, share and right of claims of 95 %,
    beside what is not calibrated, not corrected, and the plain product; by kind. What is judged of a fold has
    the power of the other folds."""
    formulas = [row.formula for row in rows]
    folds = torch.from_numpy(folds_by_compound(formulas, FOLDS, seed))
    batch = batch_of(rows)
    joint, linear = torch.zeros(len(rows), N_GROUPS), torch.zeros(len(rows), N_GROUPS)
    for fold in range(FOLDS):
        fitted = fit_all(batch[folds != fold], seed + fold)
        joint[folds == fold] = fitted(batch[folds == fold])
        with torch.no_grad():
            linear[folds == fold] = fitted.weights(batch[folds == fold])
    raw, truth = joint.double().numpy(), batch.truth.numpy()
    weight, number = batch.weight.double().numpy(), folds.numpy()
    calibrated = np.empty_like(raw)
    for fold in range(FOLDS):
        own, rest = number == fold, number != fold
        power = calibrating_power(raw[rest], truth[rest], weight[rest])
        calibrated[own] = log_softmax(power * raw[own], axis=1)
    answers = {
        "joint": calibrated,
        "as_fitted": raw,
        "uncorrected": linear.double().numpy(),
        "product": np.array([row.product for row in rows]),
    }
    misfit, chance = np.array([row.kind == "misfit" for row in rows]), np.array([r.chance for r in rows])
    found: dict[str, Any] = {"measurements": len(rows), "formulas": len(set(formulas)), "folds": FOLDS}
    for name, chosen in (("counted", ~misfit), ("measured_misfit", misfit)):
        if chosen.any():
            found[name] = {
                key: _figures(value[chosen], truth[chosen], chance[chosen]) for key, value in answers.items()
            }
    own = {key: -value[np.arange(truth.size), truth] for key, value in answers.items()}
    boot = Bootstrap(formulas, seed=seed)
    sums = boot.sums(np.stack([chance * (own["joint"] - own["product"]), chance], axis=1))
    gain = boot.interval(sums[:, 0] / sums[:, 1])
    found["gain_in_nll"] = [round(v, 3) for v in (gain.value, gain.low, gain.high)]
    return round(calibrating_power(raw, truth, weight), 3), found


def calibrating_power(log_p: Floats, truth: npt.NDArray[np.int64], weight: Floats) -> float:
    """The power of posteriors [n, 99] (nats) with which the true groups [n], counted from 0, are most
    likely; weight: [n] of each."""

    def loss(power: Floats) -> float:
        own = log_softmax(power[0] * log_p, axis=1)[np.arange(truth.size), truth]
        return -float((own * weight).sum() / weight.sum())

    return float(minimize(loss, np.ones(1), bounds=[POWERS]).x[0])


def _figures(log_p: Floats, truth: npt.NDArray[np.int64], chance: Floats) -> dict[str, float]:
    """Each measurement by the chance that its structure was made."""
    first, most = log_p.argmax(axis=1) == truth, np.exp(log_p.max(axis=1))
    sure = most >= SURE

    def mean(values: npt.NDArray[Any], chosen: npt.NDArray[np.bool_]) -> float:
        return float(np.average(values[chosen], weights=chance[chosen])) if chosen.any() else float("nan")

    every = np.ones(truth.size, dtype=bool)
    figures = {
        "nll": mean(-log_p[np.arange(truth.size), truth], every),
        "first": mean(first, every),
        "sure": mean(sure, every),
        "right_when_sure": mean(first, sure),
        "claimed_when_sure": mean(most, sure),
    }
    return {name: round(value, 3) for name, value in figures.items()}


def as_shipped(rows: Sequence[Row], date: str, seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What goes into joint.safetensors and joint.json: weights of all rows, where they come from, and how
    they do out of fold."""
    fitted = fit_all(batch_of(rows), seed)
    power, judged = out_of_fold(rows, seed)
    kinds = Counter(row.kind for row in rows)
    said = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    about = {
        "weights": fitted.weights.as_json(power),
        "fitted_on": f"{len(rows)} simulated measurements ({said}) of {len({r.formula for r in rows})} "
        "formulas that training never saw (trainer.benchmark.joint_samples); no measured pattern",
        "fitted_by": "conditional logit over the extinction groups (trainer.benchmark.joint_fit), and what "
        "corrects it (trainer.benchmark.joint_refine); the power by its answers out of fold",
        "date": date,
        "out_of_fold": judged,
    }
    return fitted.refining.tensors(), about
