"""The training loop: patterns a second, MFU, share of time spent waiting for data.

`python -m tests.bench.train [--config NAME] [--steps N] [--corpus FILE] [--ray] [--json]`. Without a corpus
a small one is packed from textbook structures. Rates are by the clock; in a single process on a CPU also
by processor time, which other programs do not lower, and MFU and the share of data are then of that. MFU is
against one large matrix product measured in the same run. With --ray one Ray worker makes the run as well.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from simulators.corpus import COMPUTED, pack
from simulators.textbook import textbook
from trainer.config import Budget, config
from trainer.context import LocalContext, choose_device
from trainer.data import open_data
from trainer.fit import Request, make_run
from trainer.log import RunLog
from trainer.loop import train


def small_corpus(folder: Path) -> Path:
    """A corpus of textbook structures, a quarter of them held out."""
    packed = pack((crystal, COMPUTED) for crystal in textbook())
    path = folder / "textbook.npz"
    replace(packed, split=(np.arange(len(packed)) % 4 == 3).astype(np.uint8)).save(path)
    return path


class Clocked:
    """A stream that notes the processor time (s) at which each batch is asked for and given."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.times: list[tuple[float, float]] = []

    def batch(self, start: int, n: int) -> Any:
        asked = time.process_time()
        made = self.stream.batch(start, n)
        self.times.append((asked, time.process_time()))
        return made


def by_processor_time(clocked: Clocked, batch: int) -> dict[str, float]:
    """Rate and share of data, without the first step (it warms up) and the last (its end is not seen)."""
    asked, given = np.array(clocked.times)[1:].T
    steps = np.diff(asked)
    return {
        "patterns_per_cpu_second": round(float(batch * len(steps) / steps.sum()), 2),
        "data_share": round(float((given - asked)[:-1].sum() / steps.sum()), 4),
    }


def measure(
    name: str, steps: int, corpus: Path | None, device: str, *, ray: bool = False
) -> dict[str, float]:
    """Figures of `steps` steps after one step to warm up, which is left out."""
    settings = replace(config(name), log_steps=1, held_out_patterns=8)
    cpu: dict[str, float] = {}
    settings = replace(settings, checkpoint_seconds=1e9, held_out_seconds=1e9)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        request = Request(corpus or small_corpus(folder), folder / "run", device=device)
        request.out.mkdir()
        budget = Budget(patterns=settings.batch * (steps + 1))
        if ray:
            from trainer.cluster.launcher import Cluster, fit_on_ray

            fit_on_ray(settings, budget, request, Cluster("local", (1, 1), None))
        else:
            where = choose_device(device)
            run = make_run(settings, budget, open_data(request.corpus, settings, where), request, where)
            log = RunLog(request.out, Console(file=StringIO()))
            clocked = Clocked(run.stream)
            run = replace(run, stream=clocked)
            train(run, LocalContext(where), log)
            log.close()
            if where.type == "cpu":
                cpu = by_processor_time(clocked, settings.batch)
        path = next(iter(sorted(folder.rglob("log.csv"))))
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))[1:]
    seconds = np.array([settings.batch / float(row["patterns_per_second"]) for row in rows])
    share = np.array([float(row["data_share"]) for row in rows])
    rate = settings.batch * len(rows) / seconds.sum()
    per_pattern = float(np.median([float(r["mfu"]) / float(r["patterns_per_second"]) for r in rows]))
    mfu = per_pattern * (cpu["patterns_per_cpu_second"] if cpu else float(rate))
    return {
        "patterns_per_second": round(float(rate), 2),
        "mfu": round(mfu, 4),
        "data_share": round(float((share * seconds).sum() / seconds.sum()), 4),
        "batch": float(settings.batch),
        "threads": float(torch.get_num_threads()),
        **cpu,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="cpu-small")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    made = {"single process": measure(given.config, given.steps, given.corpus, given.device)}
    if given.ray:
        made["Ray, one worker"] = measure(given.config, given.steps, given.corpus, given.device, ray=True)
    if given.json:
        sys.stdout.write(json.dumps({"config": given.config, **made}, indent=1) + "\n")
        return
    for name, figures in made.items():
        sys.stdout.write(
            f"{given.config}, {name}: {figures['patterns_per_second']:.0f} patterns/s, "
            f"MFU {figures['mfu']:.0%}, waiting for data {figures['data_share']:.0%}\n"
        )


if __name__ == "__main__":
    main()
