"""One file that a retraining run trains on, on any machine: structures, verified patterns, settings.

Patterns come from four places, mixed so that every batch holds some of each (`SHARES`): the verified patterns
themselves, shaken; structures with cells like theirs, and others, on an instrument like theirs; and the
champion's own curriculum, so that what it could is not forgotten. Structures of compounds that judge
(the calibration side, the benchmark) are left out of all of them.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import TypeAdapter, ValidationError

from eg_agent.errors import BadInput
from eg_agent.library.cells import near_cells, niggli
from eg_agent.model.prior import smoothed
from simulators.corpus import Corpus
from simulators.stream import Batch, PatternStream
from simulators.stream_config import StreamConfig
from trainer.benchmark.cells import centring_of
from trainer.config import TrainConfig
from trainer.data import CURRICULA, HELD_OUT_SEED, Data
from trainer.held_out import HeldOut
from trainer.retrain.recent import Recent

#: Name of the curriculum whose corpus is a bundle.
CURRICULUM = "retrain"
#: Parts of twenty patterns in a row that come from each place.
SHARES = {"measured": 3, "cells": 4, "instrument": 8, "general": 5}
#: Structures kept of a corpus, and structures with cells like one that was seen.
STRUCTURES, NEAREST = 40_000, 100
#: Degrees by which a verified pattern is moved, and its noise against what it has, at the most.
SHIFT, NOISE = 0.05, 0.7

_STREAM: TypeAdapter[StreamConfig] = TypeAdapter(StreamConfig)


@dataclass(frozen=True)
class Made:
    """What a bundle holds, in numbers, for the record."""

    structures: int
    near: int
    measured: int
    left_out: int


def write_bundle(
    path: Path,
    corpus: Corpus,
    train: Recent,
    focus: StreamConfig,
    excluded: Sequence[tuple[str, tuple[float, ...]]],
    *,
    general: str = "ranges",
    seed: int = 0,
    structures: int = STRUCTURES,
) -> Made:
    """Write a bundle; excluded: (reduced formula or "", Niggli cell) of the compounds that judge."""
    rng = np.random.default_rng(seed)
    held = np.flatnonzero(corpus.split == 1)
    rows = np.flatnonzero(corpus.split == 0)
    rows = np.sort(rng.permutation(rows)[:structures])
    rows = np.concatenate([rows, held])
    reduced = _niggli_of(corpus, rows)
    formulas = {formula for formula, _ in excluded if formula}
    said = corpus.formulas
    out = np.array([said[row] in formulas for row in rows], dtype=bool)
    for _, cell in excluded:
        out[near_cells(tuple(cell), reduced)] = True  # type: ignore[arg-type]
    kept, reduced = rows[~out], reduced[~out]
    small = subset(corpus, kept)
    near = _like(small, reduced, train)
    arrays: dict[str, Any] = {f.name: getattr(small, f.name) for f in fields(Corpus)}
    arrays["near"] = near
    arrays["measured_intensity"] = train.intensity.astype(np.float16)
    arrays["measured_coverage"] = train.coverage
    arrays["measured_group"] = train.labels.astype(np.uint8)
    settings = {"focus": json.loads(_STREAM.dump_json(focus)), "general": general}
    arrays["retrain"] = np.frombuffer(json.dumps(settings).encode(), dtype=np.uint8)
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content.getvalue())
    part.replace(path)
    return Made(len(kept), len(near), len(train), int(out.sum()))


def subset(corpus: Corpus, rows: npt.NDArray[np.int64]) -> Corpus:
    """Some structures of a corpus."""
    counts = np.diff(corpus.offset)[rows]
    ends = corpus.offset.tolist()
    peaks = np.concatenate([np.arange(ends[r], ends[r + 1], dtype=np.int64) for r in rows.tolist()])

    def lines(texts: list[str]) -> npt.NDArray[np.uint8]:
        return np.frombuffer("".join(texts[r] + "\n" for r in rows).encode(), dtype=np.uint8)

    by_row = ("cell", "strain_type", "group", "space_group", "source", "split")
    return replace(
        corpus,
        **{name: getattr(corpus, name)[rows] for name in by_row},
        offset=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        hkl=corpus.hkl[peaks],
        level=corpus.level[peaks],
        name_text=lines(corpus.names),
        formula_text=lines(corpus.formulas),
    )


def _niggli_of(corpus: Corpus, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """[n, 6] Niggli cells of structures; far from everything where a cell is not one."""
    letters = {number: centring_of(number) for number in range(1, 231)}
    found = np.empty((len(rows), 6))
    for i, row in enumerate(rows):
        cell = corpus.cell[row].astype(np.float64)
        try:
            found[i] = niggli(cell, letters[int(corpus.space_group[row])])
        except (BadInput, KeyError):
            found[i] = (1e6, 1e6, 1e6, 90.0, 90.0, 90.0)
    return found


def _like(corpus: Corpus, reduced: npt.NDArray[np.float64], train: Recent) -> npt.NDArray[np.int64]:
    """Structures to train on whose group was seen and whose cell is nearest to one that was seen with it."""
    lengths = np.log(np.sort(reduced[:, :3], axis=1))
    chosen: set[int] = set()
    for run in train.runs:
        rows = np.flatnonzero((corpus.group == run.group) & (corpus.split == 0))
        if len(rows):
            away = np.abs(lengths[rows] - np.log(np.sort(run.cell[:3]))).max(axis=1)
            chosen.update(rows[np.argsort(away)[:NEAREST]].tolist())
    return np.array(sorted(chosen), dtype=np.int64)


class Measured:
    """Verified patterns, each time moved a little and noisier; pattern i is a function of (seed, i)."""

    def __init__(
        self,
        intensity: npt.NDArray[np.float32],
        coverage: npt.NDArray[np.bool_],
        group: npt.NDArray[np.int64],
        seed: int,
        step: float,
    ) -> None:
        self._intensity, self._coverage, self._group = intensity, coverage, group
        self._seed, self._step = seed, step
        # white noise of each, from second differences, which lines hardly enter in the median
        second = np.abs(np.diff(intensity.astype(np.float64), 2, axis=1))
        self._noise = np.array(
            [
                np.median(row[covered[2:]]) if covered[2:].any() else 0.0
                for row, covered in zip(second, coverage)
            ]
        ) / (0.6745 * np.sqrt(6.0))

    def group_probability(self) -> npt.NDArray[np.float64]:
        """[99] share of each group."""
        return np.bincount(self._group, minlength=99) / len(self._group)

    def batch(self, start: int, n: int) -> Batch:
        """Patterns start to start + n - 1."""
        length = self._intensity.shape[1]
        out = np.zeros((n, length), np.float32)
        covered = np.zeros((n, length), bool)
        group = np.zeros(n, np.int64)
        axis = np.arange(length)
        for i in range(n):
            rng = np.random.default_rng((self._seed, start + i))
            which = int(rng.integers(len(self._group)))
            coverage = self._coverage[which]
            y = self._intensity[which].astype(np.float64)
            y = np.interp(axis + rng.uniform(-SHIFT, SHIFT) / self._step, axis, y)
            y += rng.uniform(0.0, NOISE) * self._noise[which] * rng.normal(size=length)
            y = np.maximum(y, 0.0) * coverage
            out[i] = y / max(float(y.max()), 1e-9)
            covered[i], group[i] = coverage, self._group[which]
        unknown = torch.full((n,), -1, dtype=torch.int64)
        zeros = torch.zeros(n, dtype=torch.int64)
        return Batch(
            torch.from_numpy(out), torch.from_numpy(covered), torch.from_numpy(group), unknown, zeros
        )


class Mixed:
    """Several streams, pattern by pattern in a fixed order; pattern i is a function of i and theirs."""

    def __init__(self, parts: Sequence[tuple[int, Any]]) -> None:
        self._streams = [stream for _, stream in parts]
        shares = np.array([share for share, _ in parts], dtype=np.int64)
        self._weight = shares / shares.sum()
        period = int(shares.sum())
        # each in its turn, as evenly as whole patterns allow
        due = [((k + 0.5) / share, number) for number, share in enumerate(shares) for k in range(share)]
        self._order = np.array([number for _, number in sorted(due)])
        before = np.zeros((period + 1, len(shares)), dtype=np.int64)
        for i, number in enumerate(self._order):
            before[i + 1] = before[i]
            before[i + 1, number] += 1
        self._before = before

    def _count(self, i: int) -> npt.NDArray[np.int64]:
        """Patterns of each stream among the first i."""
        turns, rest = divmod(i, len(self._order))
        return turns * self._before[-1] + self._before[rest]

    def group_probability(self) -> npt.NDArray[np.float64]:
        """[99] of the mixture."""
        return sum(w * s.group_probability() for w, s in zip(self._weight, self._streams))  # type: ignore[return-value]

    def batch(self, start: int, n: int) -> Batch:
        """Patterns start to start + n - 1."""
        first, last = self._count(start), self._count(start + n)
        which = self._order[np.arange(start, start + n) % len(self._order)]
        parts, places = [], []
        for number, stream in enumerate(self._streams):
            if last[number] > first[number]:
                parts.append(stream.batch(int(first[number]), int(last[number] - first[number])))
                places.append(torch.from_numpy(np.flatnonzero(which == number)))
        device = max((part.intensity.device for part in parts), key=lambda d: d.type == "cuda")
        order = torch.argsort(torch.cat(places)).to(device)
        return Batch(
            *(torch.cat([getattr(part, f.name).to(device) for part in parts])[order] for f in fields(Batch))
        )


def open_bundle(path: Path, config: TrainConfig, device: torch.device) -> Data:
    """The streams of a bundle, as `trainer.data.open_data` gives those of a corpus."""
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
        settings = json.loads(arrays["retrain"].tobytes())
        focus = _STREAM.validate_json(json.dumps(settings["focus"]))
        corpus = Corpus(**{f.name: arrays[f.name] for f in fields(Corpus)})
    except (OSError, KeyError, ValueError, ValidationError, zipfile.BadZipFile) as error:
        raise BadInput(
            f"{path} is no bundle of eg-train retrain, or is damaged: start a new round."
        ) from error
    grid = config.network.grid
    step = (grid.two_theta_max - grid.two_theta_min) / (grid.length - 1)
    near = subset(corpus, arrays["near"]) if len(arrays["near"]) else corpus
    general = CURRICULA[settings["general"]]()

    def stream(source: Corpus, stage: StreamConfig, offset: int) -> PatternStream:
        return PatternStream(source, stage, config.seed + offset, grid, device)

    group = arrays["measured_group"].astype(np.int64)
    measured = Measured(
        arrays["measured_intensity"].astype(np.float32), arrays["measured_coverage"], group, config.seed, step
    )
    parts: dict[str, Any] = {
        "measured": measured,
        "cells": stream(near, focus, 1),
        "instrument": stream(corpus, focus, 2),
        "general": stream(corpus, general, 3),
    }
    mixed = Mixed([(SHARES[name], part) for name, part in parts.items()])
    apart = replace(focus, sampling=replace(focus.sampling, split="held_out"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return Data(
        mixed,
        HeldOut(stream(corpus, apart, HELD_OUT_SEED), config.held_out_patterns),
        smoothed(mixed.group_probability(), uniform_share=1e-3),
        f"retraining bundle ({len(corpus):,} structures, {len(group)} verified patterns, SHA-256 {digest})",
        {"stage": CURRICULUM, "earlier": [], "shares": SHARES, **asdict(general), "focus": asdict(focus)},
    )
