"""Patterns made ahead: those that the steps ask for, in blocks at fixed places, and no thread left over."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.ahead import Ahead
from trainer.context import shard


@dataclass
class Made:
    intensity: torch.Tensor
    coverage: torch.Tensor
    group: torch.Tensor
    space_group: torch.Tensor


class Numbered:
    """A stream whose pattern i says i."""

    def __init__(self, offset: int = 0, fails_at: int | None = None) -> None:
        self.offset, self.fails_at = offset, fails_at
        self.asked: list[tuple[int, int]] = []

    def batch(self, start: int, n: int) -> Made:
        self.asked.append((start, n))
        if self.fails_at is not None and start >= self.fails_at:
            raise ValueError("no such pattern")
        number = torch.arange(start, start + n) + self.offset
        row = number[:, None].expand(n, 4)
        return Made(row.float(), row >= 0, number % 99, number % 231)


@given(
    batch=st.integers(1, 9),
    world=st.integers(1, 4),
    together=st.integers(1, 5),
    first=st.integers(0, 12),
    steps=st.integers(1, 9),
    background=st.booleans(),
)
def test_every_step_gets_its_patterns_from_blocks_at_fixed_places(
    batch, world, together, first, steps, background
):
    world = min(world, batch)
    found = {step: [] for step in range(first, first + steps)}
    for rank in range(world):
        at, share = shard(batch, rank, world)
        stream = Numbered()
        with Ahead(batch, at, share, together=together, background=background) as ahead:
            for step, patterns in found.items():
                made = ahead.share(stream, step)
                patterns += made.intensity[:, 0].int().tolist()
                assert made.group.tolist() == [p % 99 for p in made.intensity[:, 0].int().tolist()]
                assert made.space_group is not None
                assert made.coverage.shape == (share, 4)
        if world == 1:
            assert all(start % (together * batch) == 0 and n == together * batch for start, n in stream.asked)
        else:
            assert all(start % batch == at and n == share for start, n in stream.asked)
    for step, patterns in found.items():
        assert patterns == list(range(step * batch, (step + 1) * batch))


@pytest.mark.parametrize("background", [False, True])
def test_a_stage_may_change_within_a_block(background):
    early, late = Numbered(), Numbered(offset=1000)
    with Ahead(2, 0, 2, together=3, background=background) as ahead:
        said = [ahead.share(early if step < 4 else late, step).intensity[0, 0].item() for step in range(7)]
    assert said == [0, 2, 4, 6, 1008, 1010, 1012]


def test_an_error_of_the_stream_reaches_the_step_and_ends_the_thread():
    stream = Numbered(fails_at=8)

    def go() -> None:
        with Ahead(2, 0, 2, together=2, background=True) as ahead:
            for step in range(9):
                assert ahead.share(stream, step).intensity[0, 0] == 2 * step < 8

    with pytest.raises(ValueError, match="no such pattern"):
        go()
    assert not [t for t in threading.enumerate() if t.name.startswith("patterns")]


def test_the_background_takes_few_of_torchs_threads():
    class Counting(Numbered):
        def batch(self, start: int, n: int) -> Made:
            threads.append(torch.get_num_threads())
            return super().batch(start, n)

    threads: list[int] = []
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(8)
        with Ahead(2, 0, 2, together=2, background=True) as ahead:
            ahead.share(Counting(), 0)
            assert torch.get_num_threads() == 8
    finally:
        torch.set_num_threads(before)
    assert set(threads) == {2}
