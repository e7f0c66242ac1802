"""`fit_on_ray`: one run on a group of Ray Train workers that may grow, shrink and lose members.

OUT is as after `trainer.fit.fit`. STORAGE (a folder or URL, by default OUT/ray) is what workers write
to and restart from; it must be visible from every node. Every run that ends in an orderly way leaves its
last state in OUT/state too, so the next call may be with Ray or without.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from eg_agent.errors import BadInput
from eg_agent.model.checkpoint import write_atomically
from trainer.cluster.desk import Desk
from trainer.cluster.session import connected, require_ray
from trainer.cluster.storage import Storage, open_storage
from trainer.config import Budget, TrainConfig
from trainer.data import open_data
from trainer.fit import Request, begin_folder, export
from trainer.parent import Files, parent_files
from trainer.state import find_state, read_index

#: Seconds between two looks at the workers' desk.
LOOK_SECONDS = 0.3
#: Checkpoints kept in the storage.
KEPT = 2


@dataclass(frozen=True)
class Cluster:
    """Where and on how many workers a run goes.

    address: "local", "auto" or "HOST:PORT". workers: fewest and most; Ray takes what there is between.
    storage: folder or URL of this run, for all nodes to write; none: OUT/ray.
    max_failures: worker groups that may be lost; start_failures: that may fail to start.
    start_minutes: to wait for the fewest workers. resize_seconds: between two looks for more workers.
    """

    address: str = "local"
    workers: tuple[int, int] = (1, 1)
    storage: str | None = None
    max_failures: int = 8
    start_failures: int = 4
    start_minutes: float = 10.0
    resize_seconds: float = 60.0


def workers_range(text: str) -> tuple[int, int]:
    """ "4" or "2:16" as fewest and most workers; BadInput for anything else."""
    found = re.fullmatch(r"(\d{1,5})(?::(\d{1,5}))?", text.strip())
    least = int(found[1]) if found else 0
    most = int(found[2]) if found and found[2] else least
    if least < 1 or most < least:
        raise BadInput(f"--workers {text!r} is neither a number of workers nor a range like 2:16.")
    return least, most


def fit_on_ray(
    config: TrainConfig, budget: Budget, request: Request, cluster: Cluster, console: Console | None = None
) -> Mapping[str, float]:
    """Train (or go on training) on Ray and write OUT/checkpoint when the budget is used up.

    `request.minutes` counts from this call, Ray's start included. Returns step, seen (patterns),
    interrupted (0 or 1) and the last held-out figures. Raises BadInput when Ray, the
    storage, the corpus or a resumed state cannot be used, and when workers fail more often than allowed.
    """
    began = time.monotonic()
    console = console or Console(highlight=False)
    if config.batch < cluster.workers[1]:
        raise BadInput(
            f"a batch of {config.batch} cannot be shared by {cluster.workers[1]} workers: raise --batch."
        )
    require_ray()
    data = open_data(request.corpus, config, torch.device("cpu"))  # errors before Ray, which takes long
    parent = parent_files(config, find_state(request.out) if request.resume == "auto" else None)
    storage = open_storage(cluster.storage or str(request.out / "ray"))
    threads = request.threads or 1
    with connected(cluster.address, cpus=cluster.workers[0] * threads):
        if request.resume == "never":
            storage.clear()
        begin_folder(config, request)
        launch = _Launch(config, budget, request, cluster, storage, console)
        result = launch.run(request.corpus.read_bytes(), parent, threads, began)
        _bring_home(result.checkpoint, request.out)
    _remember(request.out, storage)
    end: dict[str, float] = result.return_value
    if end["interrupted"]:
        console.print("stopped; saved. The same command goes on from here.", soft_wrap=True)
    else:
        card = export(request.out, request.out / "checkpoint", "checkpoint", data=data)
        console.print(f"wrote {request.out / 'checkpoint.json'} ({card.hash})", soft_wrap=True)
    return end


class _Launch:
    """One call: a trainer in a thread of its own, while this one prints, listens to signals and waits."""

    def __init__(
        self,
        config: Any,
        budget: Budget,
        request: Request,
        cluster: Cluster,
        storage: Storage,
        console: Console,
        trains: Callable[..., dict[str, float]] | None = None,
    ) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.config, self.budget, self.request = config, budget, request
        self.cluster, self.storage, self.console = cluster, storage, console
        self.trains = trains
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.desk: Any = ray.remote(Desk).options(num_cpus=0, scheduling_strategy=here).remote()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self, corpus: bytes, parent: Files | None, threads: int, began: float) -> Any:
        """Ray's result of the run. corpus: the file's content, parent: those of the checkpoint that it
        begins from. began: monotonic time of the call."""
        import ray

        nodes = len([n for n in ray.nodes() if n["Alive"]])
        if nodes > 1 and self.storage.local:
            self.console.print(
                f"{self.storage.text} must be a folder that all {nodes} nodes share.", soft_wrap=True
            )
        trainer = self._trainer(corpus, parent, threads)
        thread = threading.Thread(target=self._fit, args=(trainer,), daemon=True)
        with _signals(self.desk):
            thread.start()
            self._attend(thread, began)
        self._print()
        refusal = ray.get(self.desk.refusal.remote())
        if refusal is not None:
            raise BadInput(refusal)
        if self.error is not None:
            raise BadInput(f"the run on Ray ended: {_reason(self.error)}") from self.error
        return self.result

    def _fit(self, trainer: Any) -> None:
        try:
            self.result = trainer.fit()
        except BaseException as error:
            self.error = error

    def _attend(self, thread: threading.Thread, began: float) -> None:
        import ray

        minutes = self.request.minutes
        deadline = math.inf if minutes is None else began + 60.0 * minutes
        patience = time.monotonic() + 60.0 * self.cluster.start_minutes
        while thread.is_alive():
            thread.join(LOOK_SECONDS)
            self._print()
            if time.monotonic() > deadline:
                self.desk.ask_to_stop.remote()
                deadline = math.inf
            if time.monotonic() > patience:
                if not ray.get(self.desk.groups.remote()):
                    raise BadInput(self._short_of_workers())
                patience = math.inf

    def _short_of_workers(self) -> str:
        import ray

        has = ray.cluster_resources()
        return (
            f"Ray did not start {self.cluster.workers[0]} workers in {self.cluster.start_minutes:g} min: "
            f"the cluster has {has.get('CPU', 0):g} cores and {has.get('GPU', 0):g} GPUs in all; "
            "lower --workers or --threads, or add nodes."
        )

    def _print(self) -> None:
        import ray

        for line in ray.get(self.desk.take.remote()):
            self.console.print(line, soft_wrap=True, markup=False)

    def _trainer(self, corpus: bytes, parent: Files | None, threads: int) -> Any:
        import ray
        from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
        from ray.train.v2.api.config import LoggingConfig

        from trainer.cluster.group import PATIENCE
        from trainer.cluster.herald import Herald
        from trainer.cluster.worker import Job, work

        least, most = self.cluster.workers
        gpu = self.request.device.startswith("cuda") or (
            self.request.device == "auto" and ray.cluster_resources().get("GPU", 0) > 0
        )
        given = ray.put(corpus), ray.put(parent)
        job = Job(
            self.config, self.budget, self.request, *given, self._start(), self.desk, threads, self.trains
        )
        return TorchTrainer(
            lambda: work(job),
            torch_config=TorchConfig(timeout_s=int(PATIENCE.total_seconds())),
            scaling_config=ScalingConfig(
                num_workers=least if least == most else (least, most),
                use_gpu=gpu,
                resources_per_worker={"CPU": threads, **({"GPU": 1} if gpu else {})},
                elastic_resize_monitor_interval_s=self.cluster.resize_seconds,
            ),
            run_config=RunConfig(
                name=self.storage.name,
                storage_path=self.storage.parent,
                storage_filesystem=self.storage.filesystem,
                failure_config=FailureConfig(
                    max_failures=self.cluster.max_failures,
                    controller_failure_limit=self.cluster.start_failures,
                ),
                checkpoint_config=CheckpointConfig(num_to_keep=KEPT),
                callbacks=[Herald(self.desk)],
                logging_config=LoggingConfig(log_level="ERROR"),
            ),
        )

    def _start(self) -> Any:
        """OUT/state as a Ray checkpoint in the storage, unless it came from there."""
        from ray.train import Checkpoint

        state = find_state(self.request.out) if self.request.resume == "auto" else None
        if state is None or _remembered(self.request.out) == [self.storage.path, read_index(state)["step"]]:
            return None
        return Checkpoint(self.storage.put(state, "start"), self.storage.filesystem)


@contextmanager
def _signals(desk: Any) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM asks the workers to save and stop; the second one acts as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(signum: int, frame: Any) -> None:
        desk.ask_to_stop.remote()
        signal.signal(signum, before[signal.Signals(signum)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _bring_home(checkpoint: Any, out: Path) -> None:
    """Make a checkpoint in the storage OUT/state, and its logs OUT's."""
    from trainer.cluster.worker import move_figures

    new, current, old = (out / name for name in ("state.new", "state", "state.old"))
    shutil.rmtree(new, ignore_errors=True)
    checkpoint.to_directory(str(new))
    read_index(new)  # every shard is whole, or this says which one is not
    move_figures(new, out)
    shutil.rmtree(old, ignore_errors=True)
    if current.exists():
        current.rename(old)
    new.rename(current)
    shutil.rmtree(old, ignore_errors=True)


def _remember(out: Path, storage: Storage) -> None:
    """Note which state of which storage OUT/state is."""
    note = [storage.path, read_index(out / "state")["step"]]
    write_atomically(out / "storage.json", (json.dumps(note) + "\n").encode())


def _remembered(out: Path) -> Any:
    try:
        return json.loads((out / "storage.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _reason(error: BaseException) -> str:
    """One line of what ended a run of Ray Train, and where to read more."""
    inner = getattr(error, "worker_failures", None)
    cause: BaseException = (
        next(iter(inner.values())) if inner else getattr(error, "controller_failure", error)
    )
    lines = [line.strip() for line in str(cause).strip().splitlines() if line.strip()]
    said = lines[-1] if lines else type(cause).__name__
    return (
        f"{said.rstrip('.')}. Ray's logs are in /tmp/ray/session_latest/logs; the last saved state is intact."
    )
