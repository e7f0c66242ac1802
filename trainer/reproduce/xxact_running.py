"""Make the runs of XxaCT-NN one by one and keep what each network answered on the test structures.

DIR/xxact/NAME/state, curve.csv   to resume from; figures on the validation structures
DIR/xxact/NAME/result.json        settings and cost of a finished run; it is what makes a run finished
DIR/xxact/NAME/scores.npz         answers on the test structures, of properties runs
DIR/xxact/views                   patterns, made once
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eg_agent.errors import BadInput
from eg_agent.model.checkpoint import load_weights, write_atomically
from eg_agent.model.xxact import Scale, Xxact
from trainer.context import LocalContext, choose_device
from trainer.multimodal.materials import TEST, Materials
from trainer.multimodal.views import CONDITIONS, condition, kept
from trainer.multimodal.xxact_config import XxactTrain, xxact_train_of
from trainer.multimodal.xxact_data import Sample, open_xxact
from trainer.multimodal.xxact_loop import TOGETHER, answers, in_units, train_xxact
from trainer.multimodal.xxact_loss import Labels
from trainer.reproduce.running import result_in
from trainer.reproduce.xxact_plan import Setting, XxactRun, config_of_run
from trainer.state import find_state, read_index, read_tensors

#: Seed of the noise of test patterns; training views have others.
TEST_SEED = 7


@dataclass(frozen=True)
class XxactOptions:
    """How to make runs. materials: file of eg-train materials. limit: test structures, or None for all.

    minutes: wall time of this call, after which it saves and stops. launch: trains somewhere else, on Ray:
    called with (settings, folder, state to begin from or None, minutes left), whether it came to its end.
    """

    materials: Path
    out: Path
    minutes: float | None = None
    threads: int | None = None
    device: str = "auto"
    limit: int | None = None
    launch: Callable[[XxactTrain, Path, Path | None, float], bool] | None = None


def folder_of_run(name: str, out: Path) -> Path:
    """Where a run's files are."""
    return out / "xxact" / name


def finished_run(name: str, out: Path) -> dict[str, Any] | None:
    """The result of a finished run, or None; BadInput for a damaged one."""
    return result_in(folder_of_run(name, out))


def make_xxact_runs(
    runs: Sequence[XxactRun], at: Setting, options: XxactOptions, say: Callable[[str], None]
) -> bool:
    """Make the runs that are not finished, in order; whether all are. Stops after `options.minutes`."""
    ends = time.monotonic() + 60.0 * (math.inf if options.minutes is None else options.minutes)
    device = choose_device(options.device)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    for number, run in enumerate(runs, 1):
        config = config_of_run(run, at)
        result = finished_run(run.name, options.out)
        if result is not None:
            if xxact_train_of(result["config"]) != config:
                raise BadInput(
                    f"{folder_of_run(run.name, options.out)} was made with other settings: "
                    "take another --out."
                )
            continue
        if time.monotonic() >= ends:
            return False
        say(f"run {number} of {len(runs)}: {run.name}, {config.samples:,} samples")
        if not _make_run(config, options, device, ends, say):
            return False
    return True


def _make_run(
    config: XxactTrain, options: XxactOptions, device: torch.device, ends: float, say: Callable[[str], None]
) -> bool:
    folder, views = folder_of_run(config.name, options.out), options.out / "xxact" / "views"
    begin = None
    if config.begin_from:
        begin = find_state(folder_of_run(config.begin_from, options.out))
        if begin is None or finished_run(config.begin_from, options.out) is None:
            raise BadInput(f"run {config.name} begins from {config.begin_from}, which is not finished.")
    data = open_xxact(options.materials, config, device, views)
    if options.launch is not None:
        if not options.launch(config, folder, begin, (ends - time.monotonic()) / 60.0):
            return False
    else:
        context = LocalContext(device, find_state(folder), deadline=ends)
        if train_xxact(config, data, context, folder, begin=begin, say=say).interrupted:
            return False
    state, index = state_of_run(config.name, options.out)
    network = network_of_state(state, index).to(device)
    if config.objective == "properties":
        inputs = ("both", "composition", "xrd") if config.inputs == "any" else (config.inputs,)
        found = test_answers(network, data.scales, inputs, options, device)
        buffer = BytesIO()
        np.savez_compressed(buffer, **found)  # pyright: ignore[reportArgumentType]
        write_atomically(folder / "scores.npz", buffer.getvalue())
    result = {
        "config": config.to_dict(),
        "parameters": network.parameters_count,
        "seconds": round(index["seconds"], 1),
        "structures": len(data.train),
        "labelled": data.labelled,
        "corpus": data.corpus,
        "curve": index["curve"],
        "machine": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
    }
    write_atomically(folder / "result.json", (json.dumps(result, indent=1) + "\n").encode())
    return True


def test_answers(
    network: Xxact,
    scales: tuple[Scale, Scale],
    inputs: Sequence[str],
    options: XxactOptions,
    device: torch.device,
) -> dict[str, npt.NDArray[Any]]:
    """Answers on the test structures that have an energy under every condition, and on all when clean.

    Arrays INPUTS.CONDITION.energy [n, 2] and .gap [n, 2] (location and Laplace scale, eV), .system [n, 7]
    logits; formula, energy, gap, system: what is true, of the "all" rows; labelled: which of these have an
    energy, the rows of the conditions.
    """
    materials = Materials.load(options.materials)
    rows = np.flatnonzero(materials.part == TEST)
    rows = np.random.default_rng(TEST_SEED).permutation(rows)[: options.limit]
    test = materials.only(rows)
    labelled = np.flatnonzero(np.isfinite(test.energy))
    with_energy = test.only(labelled)
    found: dict[str, npt.NDArray[Any]] = {
        "formula": test.formulas,
        "energy": test.energy,
        "gap": test.gap,
        "system": test.system.numpy(),
        "labelled": labelled,
    }
    for given in inputs:
        names = ("clean",) if given == "composition" else CONDITIONS
        for name in names:
            said = _said(network, scales, with_energy, given, name, options, device)
            found |= {f"{given}.{name}.{key}": value for key, value in said.items()}
        said = _said(network, scales, test, given, "clean", options, device)
        found[f"{given}.all.system"] = said["system"]
    return found


def _said(
    network: Xxact,
    scales: tuple[Scale, Scale],
    materials: Materials,
    inputs: str,
    name: str,
    options: XxactOptions,
    device: torch.device,
) -> dict[str, npt.NDArray[Any]]:
    grid = network.config.grid
    path = options.out / "xxact" / "views" / f"test-{len(materials)}-{grid.length}-{name}.npz"

    def make() -> Any:
        return condition(name, materials.corpus, grid, device, seed=TEST_SEED)

    view = kept(path, make, len(materials)).to(device)
    given = materials.chemistry.to(device)
    nothing = torch.zeros(TOGETHER, device=device)
    labels = Labels(nothing, nothing, nothing.long())  # not looked at
    samples = []
    for part in torch.arange(len(materials), device=device).split(TOGETHER):
        samples.append(Sample(*view.take(part), type(given)(*(x[part] for x in given)), labels))
    said = answers(network, samples, inputs)
    energy, gap = (in_units(x, scale) for x, scale in zip(said[:2], scales, strict=True))
    return {
        "energy": energy.cpu().numpy(),
        "gap": gap.cpu().numpy(),
        "system": said.system_BS.cpu().numpy(),
    }


def network_of_state(state: Path, index: Mapping[str, Any]) -> Xxact:
    """The network of a state, in evaluation mode."""
    network = Xxact(xxact_train_of(index["config"]).network)
    mine = {n.removeprefix("network."): t for n, t in read_tensors(state).items() if n.startswith("network.")}
    load_weights(network, mine, str(state))
    return network.eval()


def state_of_run(name: str, out: Path) -> tuple[Path, dict[str, Any]]:
    """State folder and index of a finished run; BadInput where there is none."""
    state = find_state(folder_of_run(name, out))
    if state is None:
        raise BadInput(f"{out} holds no finished run {name}.")
    return state, read_index(state)
