"""Ranks over gloo, each a process: the same patterns and the same weights as one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch


def go(folder: Path, world: int) -> list[Path]:
    folder.mkdir()
    script = str(Path(__file__).with_name("one_rank.py"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    ranks = [
        subprocess.Popen([sys.executable, script, str(rank), str(world), str(folder)], env=environment)
        for rank in range(world)
    ]
    try:
        assert [rank.wait(timeout=200) for rank in ranks] == [0] * world
    finally:
        for rank in ranks:
            rank.kill()
    return [folder / f"rank-{rank}" for rank in range(world)]


def patterns(ranks: list[Path]) -> list[int]:
    asked = [tuple(pair) for rank in ranks for pair in json.loads((rank / "asked.json").read_text())]
    return sorted(i for first, n in asked for i in range(first, first + n))


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    return go(tmp_path_factory.mktemp("group") / "one", 1)[0]


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_take_the_steps_of_one_process(tmp_path, alone, world):
    ranks = go(tmp_path / "many", world)  # 3 ranks share batches of 8: 2, 3 and 3 patterns
    assert patterns(ranks) == patterns([alone]) == list(range(96))
    expected = torch.load(alone / "weights.pt")
    for rank in ranks:
        for name, value in torch.load(rank / "weights.pt").items():
            torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-5)
