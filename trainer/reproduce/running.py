"""Make the runs of a plan one by one, and keep what each network answered.

DIR/runs/NAME/result.json   figures of a finished run; it is what makes a run finished
DIR/runs/NAME/scores.npz    raw answers of both heads on simulated and on measured patterns
DIR/runs/NAME/checkpoint.*  weights and card
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eg_agent.errors import BadInput
from eg_agent.model.checkpoint import load_checkpoint, write_atomically
from eg_agent.model.network import N_LATTICES, N_SYSTEMS, Network
from eg_agent.symmetry import published_codes
from trainer.config import Budget, TrainConfig, config_of
from trainer.data import open_data
from trainer.fit import Request, fit
from trainer.held_out import HeldOut
from trainer.reproduce.plan import Spec, config_of_spec

#: First held-out pattern that networks are judged on: none of the calibration's or of the log's.
JUDGED_START = 2_000_000


@dataclass(frozen=True)
class Options:
    """How to make runs.

    corpus: of structures. out: results. data: folder of measured patterns, or None. patterns: the budget.
    simulated: held-out patterns that each network is judged on. limit: measured rows, None for all.
    """

    corpus: Path
    out: Path
    data: Path | None = None
    patterns: int = 64_000
    simulated: int = 2048
    limit: int | None = None
    minutes: float | None = None
    threads: int | None = None
    device: str = "auto"


def folder_of(spec: Spec, out: Path) -> Path:
    """Where a run's files are."""
    return out / "runs" / spec.name


def finished(spec: Spec, out: Path) -> dict[str, Any] | None:
    """The result of a finished run, or None; BadInput for a damaged one."""
    return result_in(folder_of(spec, out))


def result_in(folder: Path) -> dict[str, Any] | None:
    """The result in a run's folder, or None where it is not finished; BadInput for a damaged one."""
    path = folder / "result.json"
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise BadInput(f"{path} is damaged ({error}): remove {path.parent} to make the run again.") from error


def make_runs(specs: list[Spec], base: TrainConfig, options: Options, say: Callable[[str], None]) -> bool:
    """Make the runs that are not finished, in order; whether all are. Stops after `options.minutes`.

    BadInput where --out holds runs of another budget: figures of two budgets do not compare.
    """
    ends = time.monotonic() + 60.0 * (math.inf if options.minutes is None else options.minutes)
    for number, spec in enumerate(specs, 1):
        asked = {
            "spec": asdict(spec),
            "patterns": max(1, round(options.patterns * spec.share)),
            "config": config_of_spec(spec, base, options.patterns).to_dict(),
        }
        result = finished(spec, options.out)
        if result is not None:
            if not _same_settings(result, asked):
                raise BadInput(
                    f"{folder_of(spec, options.out)} was made with other settings: take another --out."
                )
            continue
        left = (ends - time.monotonic()) / 60.0
        if left <= 0:
            return False
        say(f"run {number} of {len(specs)}: {spec.name}, {asked['patterns']:,} patterns")
        if not _make(spec, base, options, asked, None if options.minutes is None else left):
            return False
    return True


def _same_settings(result: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Whether a finished run is the one that is asked for; a setting from after its time had its default."""
    if any(result.get(name) != asked[name] for name in ("spec", "patterns")):
        return False
    return config_of(result["config"]) == config_of(asked["config"])


def _make(
    spec: Spec, base: TrainConfig, options: Options, asked: dict[str, Any], minutes: float | None
) -> bool:
    config, folder = config_of_spec(spec, base, options.patterns), folder_of(spec, options.out)
    request = Request(options.corpus, folder, threads=options.threads, device=options.device, minutes=minutes)
    training = fit(config, Budget(patterns=asked["patterns"]), request)
    if training.interrupted:
        return False
    network, card = load_checkpoint(folder / "checkpoint")
    found: dict[str, Any] = {"train_prior": np.array(card.log_train_prior)}
    # One seed for all: every network is judged on the same patterns, as pairing them needs.
    same = replace(config, curriculum=base.curriculum, earlier=(), seed=base.seed)
    common = open_data(options.corpus, same, torch.device("cpu"))
    judged = HeldOut(_From(common.held_out.stream, JUDGED_START), options.simulated)
    answers, valid = judge(network, judged)
    found |= {**answers, "sim_prior": common.log_train_prior}
    if options.data is not None:
        found |= measured(folder / "checkpoint", options.data, options.limit)
    buffer = BytesIO()
    np.savez_compressed(buffer, **found)
    write_atomically(folder / "scores.npz", buffer.getvalue())
    result = {
        **asked,
        "parameters": network.parameters_count,
        "flops": network.flops(),
        "seconds": training.seconds,
        "calibration": asdict(card.calibration),
        "checkpoint": card.hash,
        "split_valid": valid,
        "measured": options.data is not None,
    }
    write_atomically(folder / "result.json", (json.dumps(result, indent=1) + "\n").encode())
    shutil.rmtree(folder / "state", ignore_errors=True)  # ten times the checkpoint, and of no more use
    return True


class _From:
    """A stream that begins elsewhere."""

    def __init__(self, stream: Any, start: int) -> None:
        self.stream, self.start = stream, start

    def batch(self, start: int, n: int) -> Any:
        return self.stream.batch(self.start + start, n)


@torch.inference_mode()
def judge(network: Network, held_out: HeldOut) -> tuple[dict[str, npt.NDArray[Any]], dict[str, float]]:
    """Raw answers of both heads on held-out patterns, and how often the split head's bits are a group at all.

    valid: share of patterns where the most probable value of each of the 37 bits, read alone, is one of the
    99 codes; right: the true one.
    """
    codes = np.array(published_codes(), dtype=np.int64)
    split, aux, labels, valid, right = [], [], [], 0, 0
    for start in range(0, held_out.patterns, 64):
        batch = held_out.stream.batch(start, min(64, held_out.patterns - start))
        heads = network(batch.intensity, batch.coverage)
        label = batch.group.numpy()
        same = (bits_alone(network, heads.split)[:, None, :] == codes).all(2)
        valid += int(same.any(1).sum())
        right += int(same[np.arange(len(same)), label].sum())
        split.append(network.split_scores(heads.split).double().numpy())
        aux.append(heads.aux.double().numpy())
        labels.append(label)
    found = {"sim_split": split, "sim_aux": aux, "sim_label": labels}
    shares = {"valid": valid / held_out.patterns, "right": right / held_out.patterns}
    return {name: np.concatenate(parts) for name, parts in found.items()}, shares


def bits_alone(network: Network, split: torch.Tensor) -> npt.NDArray[np.int64]:
    """[n, 37] the most probable value of each bit: one crystal system, one lattice, and every operator."""
    bits = torch.zeros_like(split, dtype=torch.int64)
    systems, lattices = split[:, :N_SYSTEMS], split[:, N_SYSTEMS : N_SYSTEMS + N_LATTICES]
    bits[torch.arange(len(bits)), systems.argmax(1)] = 1
    bits[torch.arange(len(bits)), N_SYSTEMS + lattices.argmax(1)] = 1
    bits[:, N_SYSTEMS + N_LATTICES :] = split[:, N_SYSTEMS + N_LATTICES :] > network.log_pos_weight_O
    return bits.numpy()


def measured(checkpoint: Path, data: Path, limit: int | None) -> dict[str, npt.NDArray[Any]]:
    """Raw answers on the benchmark rows of a folder; refused patterns answer nothing (zeros, answered False).

    signal: the highest point over the noise, from differences of neighbouring points (median, robust).
    """
    from trainer.benchmark import Folder, predict
    from trainer.benchmark.predictors import NetworkRecipe

    folder = Folder(data)
    cases = folder.cases("benchmark", limit=limit)
    found = predict(folder, cases, NetworkRecipe(str(checkpoint), "mineral"))
    split, aux = np.zeros((2, len(cases), 99))
    for i, answer in enumerate(found.answers):
        if answer.raw is not None:
            split[i], aux[i] = answer.raw["split"], answer.raw["aux"]
    return {
        "real_split": split,
        "real_aux": aux,
        "real_label": np.array([case.group - 1 for case in cases]),
        "real_answered": np.array([answer.raw is not None for answer in found.answers]),
        "real_compound": np.array([case.compound for case in cases]),
        "real_source": np.array([case.source for case in cases]),
        "real_signal": np.array([signal_to_noise(folder.points(case.id)[1]) for case in cases]),
    }


def signal_to_noise(intensity: npt.NDArray[np.float64]) -> float:
    """Height of the highest point over the median, against the noise that second differences show."""
    second = np.diff(intensity, 2)
    noise = 1.4826 * float(np.median(np.abs(second - np.median(second)))) / math.sqrt(6.0)
    return float(
        (intensity.max() - np.median(intensity)) / max(noise, 1e-9 * float(np.ptp(intensity)) + 1e-300)
    )
