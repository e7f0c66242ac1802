"""Patterns made ahead of the steps that need them: several steps' at once, and in the background.

A stream spends much of a small batch on what does not depend on its size, so patterns are made in blocks
of several steps. Blocks lie at fixed places (block b holds steps b * together to (b + 1) * together - 1),
so a run that resumes in the middle of one makes the very same block, and takes the very same steps.

In the background the next block is made while the network is trained on this one: torch's operators hold
no lock, so this costs no time where there is a core to spare.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import torch
from torch import Tensor


class PatternBatch(Protocol):
    """intensity [B, L] float32, coverage [B, L] bool, group [B] int64 (number - 1)."""

    @property
    def intensity(self) -> Tensor: ...
    @property
    def coverage(self) -> Tensor: ...
    @property
    def group(self) -> Tensor: ...


class Stream(Protocol):
    """What the loop needs of `simulators.PatternStream`."""

    def batch(self, start: int, n: int) -> PatternBatch:
        """Patterns start .. start + n - 1, on the stream's device."""
        ...


@dataclass(frozen=True)
class Share:
    """A rank's part of a batch. space_group: [B] 1-230, 0 where unknown, of a stream that says them."""

    intensity: Tensor
    coverage: Tensor
    group: Tensor
    space_group: Tensor | None = None


class Ahead:
    """The batches of one rank, step by step; leave its `with` block to end the background thread.

    batch: patterns a step over all ranks. first, share: first pattern and number of this rank's in it.
    together: steps in a block.
    """

    def __init__(self, batch: int, first: int, share: int, *, together: int, background: bool) -> None:
        self._batch, self._first, self._share = batch, first, share
        self._together = together
        self._pool = _background() if background else None
        self._at: tuple[Stream, int] | None = None
        self._block: list[Share] = []
        self._coming: tuple[Stream, int, Future[list[Share]]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def share(self, stream: Stream, step: int) -> Share:
        """This rank's patterns of a step; steps are asked for in order, and a stream may change at any."""
        number, within = divmod(step, self._together)
        if self._at is None or self._at[0] is not stream or self._at[1] != number:
            self._block = self._take(stream, number)
            self._at = stream, number
        return self._block[within]

    def _take(self, stream: Stream, number: int) -> list[Share]:
        if self._pool is None:
            return self._make(stream, number)
        coming = self._coming
        if coming is None or coming[0] is not stream or coming[1] != number:
            future = self._pool.submit(self._make, stream, number)
        else:
            future = coming[2]
        block = future.result()
        self._coming = stream, number + 1, self._pool.submit(self._make, stream, number + 1)
        return block

    @torch.no_grad()
    def _make(self, stream: Stream, number: int) -> list[Share]:
        starts = [(number * self._together + step) * self._batch for step in range(self._together)]
        if self._share < self._batch:  # another rank's patterns lie between those of two steps
            return [_part(stream.batch(at + self._first, self._share), 0, self._share) for at in starts]
        whole = stream.batch(starts[0], self._together * self._batch)
        return [_part(whole, at - starts[0], self._batch) for at in starts]


def _background() -> ThreadPoolExecutor:
    """A thread that takes a quarter of torch's threads, at least one, and leaves this thread all of them."""
    mine = torch.get_num_threads()
    pool = ThreadPoolExecutor(1, "patterns")
    pool.submit(_take_threads, max(1, mine // 4)).result()
    torch.set_num_threads(mine)
    return pool


def _take_threads(number: int) -> None:
    torch.get_num_threads()  # a thread takes over torch's number at its first use: that must come before
    torch.set_num_threads(number)


def _part(made: PatternBatch, start: int, n: int) -> Share:
    rows = slice(start, start + n)
    space_group: Tensor | None = getattr(made, "space_group", None)
    return Share(
        made.intensity[rows],
        made.coverage[rows],
        made.group[rows],
        None if space_group is None else space_group[rows],
    )
