"""What runs on each worker: the plain loop, with a context that talks to Ray Train."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

import ray
import ray.train
import ray.train.torch
import torch
from ray.train import Checkpoint
from rich.console import Console

from eg_agent.errors import EgAgentError
from trainer.cluster.desk import DeskWriter
from trainer.cluster.group import GroupContext
from trainer.config import Budget
from trainer.context import Context
from trainer.data import open_data
from trainer.fit import Request, make_run
from trainer.log import RunLog
from trainer.loop import train
from trainer.parent import write_parent
from trainer.state import INDEX

#: Figures of a run that travel with its state, so that they go on where it goes on.
FIGURES = ("log.csv", "held_out.csv", "tensorboard")
#: Seconds between two looks at whether somebody asked to stop.
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Job:
    """All that a worker is given.

    corpus, parent: references to the content of the corpus file, and of the checkpoint that the run begins
    from or None, in Ray's object store, so that workers need not see the files. start: a state to go on
    from when the storage holds none that is further on. trains: what is trained with it, in place of the
    classifier: called with the job and a folder, returns what rank 0 has to say of the end.
    """

    config: Any
    budget: Budget
    request: Request
    corpus: Any
    parent: Any
    start: Checkpoint | None
    desk: Any
    threads: int
    trains: Callable[[Job, Path], dict[str, float]] | None = None


class RayContext(GroupContext):
    """The `Context` of a Ray Train worker. folder: of this worker; rank 0 writes the run there."""

    def __init__(self, job: Job, folder: Path) -> None:
        super().__init__(ray.train.torch.get_device())
        self._job, self._folder = job, folder
        self._answer: Any = None
        self._stop, self._looked = False, 0.0

    def load(self) -> Path | None:
        """The state that is furthest on, copied to this machine; figures are put back beside it."""
        found = [
            Path(checkpoint.to_directory(str(self._folder / name)))
            for name, checkpoint in (("latest", ray.train.get_checkpoint()), ("start", self._job.start))
            if checkpoint is not None
        ]
        if not found:
            return None
        best = max(found, key=_step)
        if self.rank == 0:
            copy_figures(best, self._folder)
        return best

    def report(self, metrics: Mapping[str, float], state: Path | None) -> None:
        """Store the state, with the figures so far; every rank must call this, and waits for the others."""
        checkpoint = None
        if state is not None:
            copy_figures(self._folder, state)
            checkpoint = Checkpoint.from_directory(state)
        ray.train.report(dict(metrics), checkpoint=checkpoint)

    def stopping(self) -> bool:
        """Whether the launcher asked to stop; never waits for the answer."""
        if self.rank == 0 and self._answer is None and time.monotonic() - self._looked > LOOK_SECONDS:
            self._answer, self._looked = self._job.desk.stopping.remote(), time.monotonic()
        if self._answer is not None and ray.wait([self._answer], timeout=0)[0]:
            self._stop, self._answer = bool(ray.get(self._answer)), None
        return self._stop


def work(job: Job) -> dict[str, float]:
    """Train as one worker of a group; returns what rank 0 has to say of the end.

    A user's error is left at the desk before it is raised: Ray tries again, the next workers find it there
    and give up, and the launcher tells the user.
    """
    if ray.get(job.desk.refusal.remote()) is not None:
        return {}
    rank, world = ray.train.get_context().get_world_rank(), ray.train.get_context().get_world_size()
    job.desk.hello.remote(rank, world, f"{socket.gethostname()} (pid {os.getpid()})")
    torch.set_num_threads(job.threads)
    with tempfile.TemporaryDirectory(prefix=f"rank-{rank}-", dir=Path.cwd()) as name:
        try:
            return (job.trains or _train)(job, Path(name))
        except EgAgentError as error:
            ray.get(job.desk.refuse.remote(str(error)))
            raise


def _train(job: Job, folder: Path) -> dict[str, float]:
    context = RayContext(job, folder)
    if context.device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    corpus = folder / job.request.corpus.name
    corpus.write_bytes(ray.get(job.corpus))
    data = open_data(corpus, job.config, context.device)
    corpus.unlink()
    parent = write_parent(ray.get(job.parent), folder)
    request = replace(job.request, out=folder)
    run = make_run(job.config, job.budget, data, request, context.device, parent)
    log = RunLog(folder, Console(file=cast(IO[str], DeskWriter(job.desk)), highlight=False, width=100))
    checked: Context = context
    try:
        training = train(run, checked, log)
    finally:
        log.close()
    return {
        "step": training.step,
        "seen": training.patterns,
        "interrupted": float(training.interrupted),
        **training.held_out,
    }


def copy_figures(source: Path, target: Path) -> None:
    """Copy logs and TensorBoard events from one folder of a run to another."""
    for name in FIGURES:
        if (source / name).is_file():
            shutil.copy(source / name, target / name)
        elif (source / name).is_dir():
            shutil.copytree(source / name, target / name, dirs_exist_ok=True)


def move_figures(source: Path, target: Path) -> None:
    """The same, and delete them at the source."""
    copy_figures(source, target)
    for name in FIGURES:
        if (source / name).is_dir():
            shutil.rmtree(source / name)
        else:
            (source / name).unlink(missing_ok=True)


def _step(state: Path) -> int:
    try:
        return int(json.loads((state / INDEX).read_bytes())["step"])
    except (OSError, ValueError, KeyError):
        return -1  # damaged: taken only when there is no other, and then refused by name
