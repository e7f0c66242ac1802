"""What a run says of itself: a line or a progress bar on the console, CSV files, TensorBoard if asked."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from eg_agent.errors import BadInput, MissingExtra
from eg_agent.model.checkpoint import write_atomically
from trainer.loss import LossParts

if TYPE_CHECKING:
    from trainer.loop import Run, Training

#: Forward and backward cost this many forwards.
TRAINING_FACTOR = 3


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measured FLOP/s of one large matrix product: the denominator of MFU.

    On a CPU by processor time and torch's number of threads, so that other programs do not lower it.
    """
    n = 8192 if device.type == "cuda" else 768
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    for _ in range(20):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            began = time.perf_counter()
            torch.mm(a, b)
            torch.cuda.synchronize(device)
            seconds = time.perf_counter() - began
        else:
            began = time.process_time()
            torch.mm(a, b)
            seconds = (time.process_time() - began) / torch.get_num_threads()
        best = max(best, 2.0 * n**3 / max(seconds, 1e-9))
    return best


class RunLog:
    """Console, RUN/log.csv, RUN/held_out.csv and RUN/tensorboard of one run."""

    def __init__(self, folder: Path, console: Console | None = None, *, tensorboard: bool = False) -> None:
        self.folder = folder
        self.console = console or Console(highlight=False)
        self.progress: Progress | None = None
        self.flops = self.rate_limit = 0.0
        self.marks = (0.0, 0, 0.0)  # time, patterns and seconds waited at the last line
        self.writer: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard.writer import SummaryWriter
            except ImportError as error:
                raise MissingExtra("--tensorboard", "train") from error
            self.writer = SummaryWriter(str(folder / "tensorboard"))

    def started(
        self, training: Training, run: Run, world: int, device: torch.device, dtype: torch.dtype, reason: str
    ) -> None:
        """Say what is about to run, and forget lines of steps that the resumed state has not taken.

        world: workers like this one; rates are of all of them.
        """
        network, step, parent = training.network, training.step, training.parent
        self.flops = float(network.flops() * TRAINING_FACTOR)
        self.rate_limit = world * matmul_rate(device, dtype)
        self.marks = (time.monotonic(), step * run.config.batch, 0.0)
        for name in ("log.csv", "held_out.csv"):
            _keep_rows_up_to(self.folder / name, step)
        begins = "fresh start"
        if step:
            begins = f"resumed at step {step}"
        elif parent is not None:
            begins = f"begins from {parent.checkpoint} ({parent.weights_sha256[:16]})"
        self.console.print(
            f"{run.config.name}: {network.parameters_count / 1e6:.2f} M parameters, "
            f"{network.flops() / 1e6:.0f} MFLOP a pattern forward; {device}, {reason}; "
            f"{begins}, corpus {run.corpus}",
            soft_wrap=True,
        )
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            self.progress = progress = Progress(*columns, console=self.console)
            progress.add_task("training", total=1.0)
            progress.start()

    def step(
        self,
        training: Training,
        parts: LossParts,
        norm: torch.Tensor,
        lr: float,
        progress: float,
        waited: float,
    ) -> None:
        """One line of figures; losses are of the last batch."""
        now = time.monotonic()
        then, patterns, waited_before = self.marks
        rate = (training.patterns - patterns) / max(1e-9, now - then)
        row = {
            "step": training.step,
            "patterns": training.patterns,
            "seconds": round(training.seconds, 2),
            "progress": round(progress, 5),
            "patterns_per_second": round(rate, 2),
            "mfu": round(rate * self.flops / self.rate_limit, 4),
            "data_share": round((waited - waited_before) / max(1e-9, now - then), 4),
            "lr": lr,
            "grad_norm": float(norm),
            **{f"loss_{k}": float(v.detach()) for k, v in parts._asdict().items()},
        }
        self.marks = (now, training.patterns, waited)
        self._write("log.csv", row, training.step)
        text = (
            f"step {training.step}  {training.patterns:,} patterns  loss {row['loss_total']:.3f} "
            f"(aux {row['loss_aux']:.3f})  {rate:.0f}/s  MFU {row['mfu']:.0%}  data {row['data_share']:.0%}"
        )
        if self.progress is not None:
            self.progress.update(self.progress.task_ids[0], completed=progress, description=text)
        else:
            left = training.seconds * (1.0 / progress - 1.0) if progress > 0 else float("nan")
            self.console.print(f"{text}  {progress:.1%}, {left / 60:.0f} min left", soft_wrap=True)

    def held_out(self, training: Training) -> None:
        """Print and write the held-out figures."""
        figures = training.held_out
        self._write(
            "held_out.csv", {"step": training.step, "seen": training.patterns, **figures}, training.step
        )
        self.console.print(
            f"held out ({figures['patterns']:.0f} patterns): {figures['bits_over_prior']:+.3f} bits over "
            f"prior (split head {figures['split_bits_over_prior']:+.3f}), NLL {figures['nll']:.3f} against "
            f"{figures['prior_nll']:.3f}, top-1 {figures['top1']:.1%}, top-5 {figures['top5']:.1%}",
            soft_wrap=True,
        )

    def close(self) -> None:
        """Stop the bar and close the writer."""
        if self.progress is not None:
            self.progress.stop()
        if self.writer is not None:
            self.writer.close()

    def _write(self, name: str, row: Mapping[str, float], step: int) -> None:
        path = self.folder / name
        try:
            fresh = not path.exists()
            with path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, fieldnames=list(row))
                if fresh:
                    writer.writeheader()
                writer.writerow(row)
        except OSError as error:
            raise BadInput(
                f"{path} could not be written ({error.strerror}): free some space; "
                "the same command goes on from the last saved state."
            ) from error
        if self.writer is not None:
            for key, value in row.items():
                self.writer.add_scalar(f"{name.removesuffix('.csv')}/{key}", value, step)


def _keep_rows_up_to(path: Path, step: int) -> None:
    """Drop rows written after the state that a run resumes from (all of them for a fresh start)."""
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        names = reader.fieldnames or []
        rows = [row for row in reader if row.get("step", "").isdigit() and int(row["step"]) <= step]
    if not rows:
        path.unlink()
        return
    text = StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=names)
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())
