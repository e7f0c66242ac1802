"""`fit`: from a corpus to a trained, calibrated checkpoint; `export`: from a run to a package.

RUN/run.json                        what was asked for
RUN/state/                          to resume from (trainer.state)
RUN/log.csv, RUN/held_out.csv       figures
RUN/checkpoint.safetensors, .json   averaged weights and card, written at the end
"""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

import eg_agent
from eg_agent.errors import BadInput
from eg_agent.model.checkpoint import Card, save_checkpoint, write_atomically
from trainer.calibrate import fit_temperature
from trainer.config import Budget, TrainConfig, config_of
from trainer.context import LocalContext, choose_device
from trainer.data import Data, open_data
from trainer.held_out import HeldOut, evaluate, scores
from trainer.log import TRAINING_FACTOR, RunLog
from trainer.loop import Run, Training, load_averaged, train
from trainer.parent import parent_network, parent_of_state
from trainer.state import find_state

#: Held-out patterns that the shipped calibration is fitted on.
CALIBRATION_PATTERNS = 2048
#: First held-out pattern of the calibration: beyond those that the log's figures come from.
CALIBRATION_START = 1_000_000


@dataclass(frozen=True)
class Request:
    """What `fit` is asked for, beside the configuration and the budget.

    minutes: wall time of this call, after which it saves and stops; the same request goes on from there.
    """

    corpus: Path
    out: Path
    resume: Literal["auto", "never"] = "auto"
    device: str = "auto"
    threads: int | None = None
    max_shard_mb: float = 16.0
    compile: bool = False
    tensorboard: bool = False
    minutes: float | None = None


def fit(config: TrainConfig, budget: Budget, request: Request, *, log: RunLog | None = None) -> Training:
    """Train (or go on training) and write RUN/checkpoint when the budget is used up."""
    deadline = time.monotonic() + 60.0 * (math.inf if request.minutes is None else request.minutes)
    device = choose_device(request.device)
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    state = find_state(request.out) if request.resume == "auto" else None
    data = open_data(request.corpus, config, device)
    if config.begin_from and state is None:
        parent_network(config)  # a user's error is told before anything is written
    begin_folder(config, request)
    context = LocalContext(device, state, deadline=deadline)
    run = make_run(config, budget, data, request, device)
    log = log or RunLog(request.out, tensorboard=request.tensorboard)
    try:
        training = train(run, context, log)
        if not training.interrupted and context.rank == 0:
            card = export(request.out, request.out / "checkpoint", "checkpoint", data=data)
            log.console.print(f"wrote {request.out / 'checkpoint.json'} ({card.hash})", soft_wrap=True)
        elif context.rank == 0:
            log.console.print("stopped; saved. The same command goes on from here.", soft_wrap=True)
    finally:
        log.close()
    return training


def begin_folder(config: TrainConfig, request: Request) -> None:
    """Make OUT and write what was asked for; BadInput when it cannot be written."""
    try:
        request.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"--out {request.out} cannot be made ({error.strerror}): choose another folder."
        ) from error
    asked = {"corpus": str(request.corpus.resolve()), "config": config.name, "seed": config.seed}
    write_atomically(request.out / "run.json", (json.dumps(asked, indent=1) + "\n").encode())


def make_run(
    config: TrainConfig,
    budget: Budget,
    data: Data,
    request: Request,
    device: torch.device,
    parent: Path | None = None,
) -> Run:
    """The loop's view of a request.

    On a CPU patterns are made in the background where there is another core: with several workers on a
    node it fills the time in which they wait for each other. parent: as of `Run`.
    """
    return Run(
        config=config,
        budget=budget,
        stream=data.stream,
        earlier=data.earlier,
        log_train_prior=data.log_train_prior,
        held_out=data.held_out,
        folder=request.out,
        corpus=data.corpus,
        max_shard_mb=request.max_shard_mb,
        compile="inductor" if request.compile else None,
        tensorboard=request.tensorboard,
        background=device.type == "cpu" and cores() > 1,
        parent=parent,
    )


def cores() -> int:
    """Logical cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Offset:
    """A stream that begins elsewhere, so that calibration and log do not see the same patterns."""

    def __init__(self, stream: Any, start: int) -> None:
        self.stream, self.start = stream, start

    def batch(self, start: int, n: int) -> Any:
        return self.stream.batch(self.start + start, n)


def export(
    run: Path,
    target: Path,
    name: str,
    *,
    data: Data | None = None,
    corpus: Path | None = None,
    description: str = "",
    calibration_patterns: int = CALIBRATION_PATTERNS,
) -> Card:
    """Calibrate a run's averaged weights on held-out patterns and write TARGET.safetensors and TARGET.json.

    corpus: needed only when the file named in run.json has moved. Raises BadInput for a folder without
    a state.
    """
    state = find_state(run)
    if state is None:
        raise BadInput(f"{run} holds no training state: give the --out folder of eg-train fit.")
    network, index = load_averaged(state)
    if data is None:
        config = config_of(index["config"])
        data = open_data(corpus or _recorded_corpus(run), config, torch.device("cpu"))
    held = HeldOut(_Offset(data.held_out.stream, CALIBRATION_START), calibration_patterns)
    split, aux, labels = scores(network, held)
    train_prior = np.array(index["log_train_prior"])
    figures = evaluate(network, data.held_out, train_prior)
    calibration = fit_temperature(split, aux, train_prior, train_prior, labels)
    seen, seconds = int(index["patterns"]), float(index["seconds"])
    parent = parent_of_state(index)
    begins_from = {} if parent is None else {"begins_from": asdict(parent)}
    card = Card(
        name=name,
        architecture=network.config,
        log_train_prior=tuple(round(v, 6) for v in train_prior.tolist()),
        calibration=calibration,
        calibrated_on=f"{calibration_patterns} simulated patterns of held-out structures",
        size=f"{index['config']['name']}: {network.parameters_count / 1e6:.2f} M parameters",
        description=description,
        curriculum={**data.curriculum, **begins_from},
        corpora=(data.corpus,),
        seed=int(index["config"]["seed"]),
        cost={
            "patterns": float(seen),
            "steps": float(index["step"]),
            "hours": round(seconds / 3600.0, 3),
            "training_flop": float(f"{TRAINING_FACTOR * network.flops() * seen:.3g}"),
        },
        machine=f"{index.get('machine', 'unknown')}, torch {torch.__version__}",
        held_out={k: round(v, 4) for k, v in figures.items()},
        limits=(
            "Trained on simulated patterns only; calibrated on simulated patterns, so expect it to be "
            "overconfident on measured ones.",
            "X-ray patterns of crystalline powders with one main phase.",
            "Background is seen as it is: air scatter at low angles costs accuracy.",
        ),
        created=datetime.now(UTC).strftime("%Y-%m-%d"),
        code=eg_agent.__version__,
    )
    return save_checkpoint(target, network, card)


def _recorded_corpus(run: Path) -> Path:
    try:
        return Path(json.loads((run / "run.json").read_text("utf-8"))["corpus"])
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{run} does not say which corpus it was trained on: give --corpus.") from error
