"""One rank of a run over torch.distributed, started by test_group.py: RANK WORLD FOLDER."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from rich.console import Console

from trainer.cluster.group import GroupContext
from trainer.config import Budget, tiny
from trainer.held_out import HeldOut
from trainer.log import RunLog
from trainer.loop import Run, train

UNIFORM = np.full(99, -np.log(99.0))


class Made:
    """A batch of patterns."""

    def __init__(self, start: int, n: int) -> None:
        self.intensity, self.group = torch.zeros(n, 512), torch.zeros(n, dtype=torch.int64)
        self.coverage = torch.ones(n, 512, dtype=torch.bool)
        for row, i in enumerate(range(start, start + n)):
            generator = torch.Generator().manual_seed(i)
            self.group[row] = int(torch.randint(10, (1,), generator=generator))
            self.intensity[row] = torch.rand(512, generator=generator)
            self.intensity[row, 40 * int(self.group[row]) + 20] = 9.0


class Recorded:
    """A stream that remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def batch(self, start: int, n: int) -> Made:
        self.asked.append((start, n))
        return Made(start, n)


class Alone(GroupContext):
    """Nothing to resume from and nobody to tell."""

    def load(self) -> Path | None:
        return None

    def report(self, metrics: Mapping[str, float], state: Path | None) -> None:
        pass

    def stopping(self) -> bool:
        return False


def main(rank: int, world: int, folder: Path) -> None:
    """Train 12 steps and write what was asked of the stream, and the weights."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    config = tiny()
    network = replace(config.network, channels=("sqrt", "sin2theta"), stem="patch", patch=16)
    config = replace(config, network=network, held_out_seconds=1e9, checkpoint_seconds=1e9)
    stream, mine = Recorded(), folder / f"rank-{rank}"
    mine.mkdir()
    # blocks of three steps, so that the last one ends with the run
    run = Run(
        config, Budget(patterns=96), stream, UNIFORM, HeldOut(Recorded(), 8), mine, "peaks", together=24
    )
    training = train(run, Alone(torch.device("cpu")), RunLog(mine, Console(file=StringIO())))
    (mine / "asked.json").write_text(json.dumps(stream.asked))
    torch.save(training.network.state_dict(), mine / "weights.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
