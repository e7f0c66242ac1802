"""The training loop: patterns a second, MFU, share of time spent waiting for data.

`python tests/bench/train.py [--config NAME] [--steps N] [--corpus FILE] [--workers N] [--json]`: a single
process on one core, in bf16 where the machine multiplies it, and in fp32; on all cores, with patterns made in
the background; and Ray workers of one core each (`--workers 0` leaves them out). Without a corpus a small one
is packed from textbook structures.

Rates are by the clock. On one core there are rates by processor time as well, which other programs do not
lower, and MFU and the share of data are of these. MFU is against one large matrix product measured in the
same run.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from eg_agent.reporting import reported
from simulators.corpus import COMPUTED, pack
from simulators.textbook import textbook
from trainer.config import Budget, Precision, TrainConfig, config
from trainer.context import LocalContext, choose_device
from trainer.data import open_data
from trainer.fit import Request, cores, make_run
from trainer.log import RunLog
from trainer.loop import PATTERNS_TOGETHER, train


@dataclass(frozen=True)
class Case:
    """A way to run the loop. workers: of Ray; 0 for a process without it. threads: CPU threads of each.

    precision: in place of the configuration's.
    """

    threads: int
    background: bool
    workers: int = 0
    precision: Precision | None = None


def small_corpus(folder: Path) -> Path:
    """A corpus of textbook structures, a quarter of them held out."""
    packed = pack((crystal, COMPUTED) for crystal in textbook())
    path = folder / "textbook.npz"
    replace(packed, split=(np.arange(len(packed)) % 4 == 3).astype(np.uint8)).save(path)
    return path


class Clocked:
    """A stream that notes the processor time (s) at which each block of patterns is asked for and given."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.times: list[tuple[float, float]] = []

    def batch(self, start: int, n: int) -> Any:
        asked = time.process_time()
        made = self.stream.batch(start, n)
        self.times.append((asked, time.process_time()))
        return made


def by_processor_time(clocked: Clocked, patterns: int) -> dict[str, float]:
    """Rate and share of data over blocks of `patterns`, without the first (it warms up) and the last."""
    asked, given = np.array(clocked.times)[1:].T
    blocks = np.diff(asked)
    return {
        "patterns_per_cpu_second": round(float(patterns * len(blocks) / blocks.sum()), 2),
        "data_share": round(float((given - asked)[:-1].sum() / blocks.sum()), 4),
    }


def measure(
    settings: TrainConfig, steps: int, corpus: Path | None, device: str, case: Case
) -> dict[str, float]:
    """Figures of `steps` steps (whole blocks of patterns) after a block to warm up, which is left out."""
    settings = replace(settings, precision=case.precision or settings.precision)
    together = max(1, PATTERNS_TOGETHER // settings.batch)
    blocks = max(2, -(-steps // together))
    settings = replace(
        settings, log_steps=together, held_out_patterns=8, checkpoint_seconds=1e9, held_out_seconds=1e9
    )
    budget = Budget(patterns=settings.batch * together * (blocks + 1))
    cpu: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        request = Request(corpus or small_corpus(folder), folder / "run", device=device, threads=case.threads)
        request.out.mkdir()
        if case.workers:
            from trainer.cluster.launcher import Cluster, fit_on_ray

            cluster = Cluster("local", (case.workers, case.workers), None)
            fit_on_ray(settings, budget, request, cluster, Console(file=StringIO()))
        else:
            torch.set_num_threads(case.threads)
            where = choose_device(device)
            run = make_run(settings, budget, open_data(request.corpus, settings, where), request, where)
            clocked = Clocked(run.stream)
            run = replace(run, stream=clocked, background=case.background)
            log = RunLog(request.out, Console(file=StringIO()))
            training = train(run, LocalContext(where), log)
            log.close()
            if training.interrupted:
                raise SystemExit("stopped before there were figures")
            if where.type == "cpu" and case.threads == 1 and not case.background:
                cpu = by_processor_time(clocked, settings.batch * together)
        path = next(iter(sorted(folder.rglob("log.csv"))))
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))[1:]
    return {**figures_of(rows, settings.batch * together, cpu), "threads": float(case.threads), **cpu}


def figures_of(rows: list[dict[str, str]], patterns: int, cpu: dict[str, float]) -> dict[str, float]:
    """Figures of the log's rows, each of so many patterns."""
    seconds = np.array([patterns / float(row["patterns_per_second"]) for row in rows])
    share = np.array([float(row["data_share"]) for row in rows])
    rate = patterns * len(rows) / seconds.sum()
    per_pattern = float(np.median([float(r["mfu"]) / float(r["patterns_per_second"]) for r in rows]))
    return {
        "patterns_per_second": round(float(rate), 2),
        "mfu": round(per_pattern * cpu.get("patterns_per_cpu_second", float(rate)), 4),
        "data_share": round(float((share * seconds).sum() / seconds.sum()), 4),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--config", default="cpu-small")
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    cases = {
        "single process, one core": Case(1, background=False),
        "single process, one core, fp32": Case(1, background=False, precision="fp32"),
    }
    if cores() > 1:
        cases["single process, all cores"] = Case(cores(), background=True)
    if given.workers and find_spec("ray") is not None:
        cases[f"Ray, {given.workers} workers"] = Case(1, background=True, workers=given.workers)
    settings = config(given.config)
    made: dict[str, dict[str, float]] = {}
    for name, case in cases.items():
        made[name] = measure(settings, given.steps, given.corpus, given.device, case)
        figures = made[name]
        if not given.json:
            sys.stdout.write(
                f"{given.config}, {name}: {figures['patterns_per_second']:.0f} patterns/s, "
                f"MFU {figures['mfu']:.0%}, waiting for data {figures['data_share']:.1%}\n"
            )
    if given.json:
        said = {"config": given.config, "batch": settings.batch, "cores": cores(), **made}
        sys.stdout.write(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    reported(main, "tests.bench.train")
