"""XxaCT-NN on the launcher of the classifier: the same workers, storage, restarts and resizing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, cast

import ray
from rich.console import Console

from eg_agent.errors import BadInput
from trainer.cluster.desk import DeskWriter
from trainer.cluster.launcher import Cluster, _bring_home, _Launch, _remember
from trainer.cluster.session import connected, require_ray
from trainer.cluster.storage import open_storage
from trainer.config import Budget
from trainer.fit import Request
from trainer.multimodal.materials import Materials
from trainer.multimodal.xxact_config import XxactTrain
from trainer.multimodal.xxact_data import open_xxact
from trainer.multimodal.xxact_loop import train_xxact

Launch = Callable[[XxactTrain, Path, Path | None, float], bool]


def launcher(
    materials: Path, cluster: Cluster, *, threads: int | None = None, device: str = "auto"
) -> Launch:
    """What `trainer.reproduce.xxact_running.XxactOptions` takes as `launch`."""

    def launch(config: XxactTrain, folder: Path, begin: Path | None, minutes: float) -> bool:
        left = None if math.isinf(minutes) else minutes
        request = Request(materials, folder, threads=threads, device=device, minutes=left)
        return not fit_xxact_on_ray(config, request, cluster, begin)["interrupted"]

    return launch


def fit_xxact_on_ray(
    config: XxactTrain,
    request: Request,
    cluster: Cluster,
    begin: Path | None = None,
    console: Console | None = None,
) -> Mapping[str, float]:
    """Train (or go on training) on Ray; OUT/state is the last state, as after a run in one process.

    request: corpus is a file of `eg-train materials`. begin: state of another run whose weights it begins
    with. Returns step, seen (samples) and interrupted (0 or 1). Raises BadInput when Ray, the storage or
    the materials cannot be used, and when workers fail more often than allowed.
    """
    began = time.monotonic()
    if config.batch < cluster.workers[1]:
        raise BadInput(
            f"a batch of {config.batch} cannot be shared by {cluster.workers[1]} workers: take fewer."
        )
    require_ray()
    Materials.load(request.corpus)  # errors before Ray, which takes long
    request.out.mkdir(parents=True, exist_ok=True)
    storage = open_storage(cluster.storage or str(request.out / "ray"))
    threads = request.threads or 1
    files = None if begin is None else {p.name: p.read_bytes() for p in begin.iterdir() if p.is_file()}
    with connected(cluster.address, cpus=cluster.workers[0] * threads):
        launch = _Launch(
            config,
            Budget(patterns=config.samples),
            request,
            cluster,
            storage,
            console or Console(highlight=False),
            trains=train_on_worker,
        )
        result = launch.run(request.corpus.read_bytes(), cast(Any, files), threads, began)
        _bring_home(result.checkpoint, request.out)
    _remember(request.out, storage)
    return result.return_value


def train_on_worker(job: Any, folder: Path) -> dict[str, float]:
    """One worker's part of a run; called by `trainer.cluster.worker.work`."""
    from trainer.cluster.worker import RayContext

    context = RayContext(job, folder)
    path = folder / job.request.corpus.name
    path.write_bytes(ray.get(job.corpus))
    data = open_xxact(path, job.config, context.device)
    path.unlink()
    begin, files = None, cast("dict[str, bytes] | None", ray.get(job.parent))
    if files is not None:
        begin = folder / "begin"
        begin.mkdir()
        for name, content in files.items():
            (begin / name).write_bytes(content)
    console = Console(file=cast(IO[str], DeskWriter(job.desk)), highlight=False, width=200)
    training = train_xxact(
        job.config, data, context, folder, begin=begin, say=lambda line: console.print(line, soft_wrap=True)
    )
    return {
        "step": training.step,
        "seen": training.step * job.config.batch,
        "interrupted": float(training.interrupted),
    }
