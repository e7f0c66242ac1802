"""Fine-tuning of a champion on a round's bundle, on Ray, through the launcher of every other run."""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from eg_agent.errors import BadInput, EgAgentError
from eg_agent.model.checkpoint import find_checkpoint, read_card
from eg_agent.ray_session import require_ray
from simulators.corpus import Corpus
from trainer.config import Budget, OptimConfig, ScheduleConfig, TrainConfig
from trainer.data import CURRICULA
from trainer.loss import light
from trainer.retrain.averaging import averaged
from trainer.retrain.bundle import CURRICULUM, write_bundle
from trainer.retrain.focus import focused
from trainer.retrain.recent import Recent

if TYPE_CHECKING:
    from trainer.retrain.rounds import Request

#: Seconds between two looks at the cluster's head, and looks in vain after which it is gone.
LOOK_SECONDS, MISSED = 2.0, 5


def tuning_config(request: Request, champion: Path) -> TrainConfig:
    """The run: the champion's network, from its weights, at a low learning rate that falls soon."""
    return TrainConfig(
        name=CURRICULUM,
        network=read_card(champion).architecture,
        curriculum=CURRICULUM,
        batch=request.batch,
        seed=request.seed,
        optim=OptimConfig(lr=request.lr),
        schedule=ScheduleConfig(warmup_steps=50, decay_share=0.7),
        loss=light(),
        checkpoint_seconds=request.checkpoint_seconds,
        held_out_seconds=1e9,
        held_out_patterns=256,
        begin_from=str(champion.resolve()),
    )


def fine_tuned(request: Request, folder: Path, train: Recent, judge: Recent, console: Console) -> Path | None:
    """Card of the network that was trained further and averaged with its champion (`averaged`), from the
    round's folder or trained now; None when asked to stop.

    Raises BadInput when Ray is away or goes away: what was stored stays, and the same call goes on.
    """
    from trainer.cluster.launcher import Cluster, fit_on_ray
    from trainer.fit import Request as FitRequest

    done = folder / "run" / "checkpoint.json"
    champion = find_checkpoint(folder / "champion.json")
    if done.is_file():
        return averaged(champion, done, request.keep, folder / "averaged.json")
    require_ray()  # before any thread imports it, as it reads its settings then
    bundle = folder / "bundle.npz"
    if not bundle.is_file():
        _bundle(request, bundle, champion, train, judge, console)
    fit = FitRequest(bundle, folder / "run", device=request.device, threads=request.threads)
    cluster = Cluster(request.ray, request.workers, request.storage, start_minutes=20.0)
    budget = Budget(patterns=request.patterns)
    watching = threading.Event()
    threading.Thread(target=_watch, args=(watching,), daemon=True).start()
    try:
        end = fit_on_ray(tuning_config(request, champion), budget, fit, cluster, console)
    except EgAgentError:
        raise
    except Exception as error:  # Ray raises many kinds when it is taken away
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        raise BadInput(
            f"Ray broke off ({reason}): start it again and give the same command, which goes on from the "
            "last stored state."
        ) from error
    finally:
        watching.set()
    if end["interrupted"]:
        return None
    return averaged(champion, done, request.keep, folder / "averaged.json")


def _watch(ended: threading.Event) -> None:
    """End this process with a sentence when the cluster's head is gone: Ray would end it without one.

    Nothing is lost by that: what is stored is stored, and this process holds nothing else.
    """
    import ray

    missed = 0
    while not ended.wait(LOOK_SECONDS):
        if not ray.is_initialized():
            continue
        try:
            host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), timeout=LOOK_SECONDS).close()
            missed = 0
        except (OSError, ValueError, RuntimeError):
            missed += 1
        if missed >= MISSED and not ended.is_set():
            sys.stderr.write(
                "eg-train: the head of the Ray cluster is gone: start it again and give the same command, "
                "which goes on from the last stored state.\n"
            )
            sys.stderr.flush()
            os._exit(2)


def _bundle(
    request: Request, path: Path, champion: Path, train: Recent, judge: Recent, console: Console
) -> None:
    grid = read_card(champion).architecture.grid
    two_theta = np.linspace(grid.two_theta_min, grid.two_theta_max, grid.length)
    focus = focused(train, two_theta)
    stage = str(read_card(champion).curriculum.get("stage", ""))
    excluded = [(run.formula, run.cell) for run in judge.runs] + benchmark_compounds(request)
    made = write_bundle(
        path,
        Corpus.load(request.corpus),
        train,
        focus,
        list(dict.fromkeys(excluded)),
        general=stage if stage in CURRICULA else "ranges",
        seed=request.seed,
    )
    lamps = ", ".join(f"{lamp.wavelength:.4g} angstrom" for lamp in focus.instrument.lamps)
    console.print(
        f"simulating {made.structures:,} structures ({made.near:,} with cells like those seen, "
        f"{made.left_out:,} left out that judge) at {lamps}, FWHM {focus.instrument.fwhm_median:.2g} deg, "
        f"background {focus.recording.background_median:.2g} of the highest line",
        soft_wrap=True,
    )


def benchmark_compounds(request: Request) -> list[tuple[str, tuple[float, ...]]]:
    """Formula and Niggli cell of the benchmark's compounds; none without a folder."""
    if request.data is None:
        return []
    from trainer.benchmark.data import Folder
    from trainer.retrain.compounds import Benchmark

    return Benchmark(Folder(request.data)).compounds
