"""Simulated patterns to a folder, shard by shard, over processes, resumable (see `simulators.stored`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eg_agent.errors import BadInput
from eg_agent.patterns import Grid
from simulators.stored import (
    MANIFEST,
    Manifest,
    package_versions,
    read_manifest,
    rows_in,
    shard_path,
    write_manifest,
    write_shard,
)

if TYPE_CHECKING:
    from simulators.corpus import Corpus
    from simulators.stream import PatternStream
    from simulators.wyckoff.source import WyckoffSource

#: Functions of `simulators.stream_config` that give the settings of a stage.
STAGES = ("stage1", "stage2", "texture", "beamline")
#: Patterns computed at once. Part of the format: sums over another batch could differ in their last bit.
BATCH = 256
#: Patterns a file, at the most.
SHARD = 2048


@dataclass(frozen=True)
class Request:
    """What is to be simulated.

    stage: name of a stage of `simulators.stream_config`. count: patterns. corpus: file from
    `eg-train prepare`, or None for the sampler of random crystals (`simulators.wyckoff`).
    workers: processes; they change nothing in the patterns. split: "train" or "held_out" structures.
    """

    stage: str
    count: int
    seed: int
    corpus: Path | None
    grid: Grid
    workers: int = 1
    device: str = "cpu"
    shard_size: int = SHARD
    split: str = "train"

    def __post_init__(self) -> None:
        if self.count < 1 or self.workers < 1 or self.shard_size < 1:
            raise BadInput("--count, --workers and --shard-size must be at least 1.")
        if not 0 <= self.seed < 2**63:
            raise BadInput(f"--seed {self.seed} must be 0 or more.")
        if self.device != "cpu" and self.workers > 1:
            raise BadInput(
                "several --workers share no accelerator: leave --workers at 1, or use --device cpu."
            )


def settings(request: Request) -> Any:
    """The `StreamConfig` of a request. Raises BadInput for a stage that does not exist."""
    from dataclasses import replace

    from simulators import stream_config

    if request.stage not in STAGES:
        raise BadInput(f"unknown stage {request.stage!r}: one of {', '.join(STAGES)}.")
    config = getattr(stream_config, request.stage)()
    return replace(config, sampling=replace(config.sampling, split=request.split))


def manifest_of(request: Request) -> Manifest:
    """The manifest that a request gives. Raises BadInput for an unknown stage or a missing corpus."""
    grid = request.grid
    return Manifest(
        stage=request.stage,
        config=json.loads(json.dumps(asdict(settings(request)))),
        seed=request.seed,
        count=request.count,
        shard_size=request.shard_size,
        grid={
            "two_theta_min": grid.two_theta_min,
            "two_theta_max": grid.two_theta_max,
            "length": grid.length,
        },
        source=_describe(request),
        device=request.device,
        versions=dict(package_versions()),
    )


def _describe(request: Request) -> dict[str, Any]:
    if request.corpus is None:
        from simulators.wyckoff.config import WyckoffConfig

        return {"kind": "random", "config": json.loads(json.dumps(asdict(WyckoffConfig())))}
    if not request.corpus.is_file():
        raise BadInput(f"there is no corpus {request.corpus}: make one with eg-train prepare.")
    with request.corpus.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"kind": "corpus", "name": request.corpus.name, "sha256": digest}


class Maker:
    """Patterns of a request, file by file. One is made in every process."""

    def __init__(self, request: Request) -> None:
        import torch

        from simulators.stream import PatternStream
        from simulators.wyckoff.source import WyckoffSource

        if request.device == "cpu":
            torch.set_num_threads(1)
        elif not torch.cuda.is_available():
            raise BadInput(f"--device {request.device}: torch sees no accelerator here; use --device cpu.")
        source = open_source(request)
        self._names = None if isinstance(source, WyckoffSource) else source.names
        self.stream: PatternStream = PatternStream(
            source, settings(request), request.seed, request.grid, request.device
        )

    def write(self, folder: Path, manifest: Manifest, shard: int, progress: Callable[[int], None]) -> None:
        """Compute one shard and write it; `progress` hears of every batch."""
        rows = manifest.rows_of(shard)
        length = manifest.grid["length"]
        intensity = np.empty((len(rows), length), np.float32)
        coverage = np.empty((len(rows), length), np.bool_)
        group = np.empty(len(rows), np.uint8)
        structure = np.empty(len(rows), np.int64)
        space_group = np.empty(len(rows), np.uint8)
        done = 0
        while done < len(rows):
            # Batches begin at multiples of BATCH and are whole, so that a longer --count or another
            # --shard-size repeats the very same sums.
            skip = rows[done] % BATCH
            batch = self.stream.batch(rows[done] - skip, BATCH)
            n = min(BATCH - skip, len(rows) - done)
            here, part = slice(done, done + n), slice(skip, skip + n)
            intensity[here] = batch.intensity[part].cpu().numpy()
            coverage[here] = batch.coverage[part].cpu().numpy()
            group[here] = batch.group[part].cpu().numpy() + 1
            structure[here] = batch.structure[part].cpu().numpy()
            space_group[here] = batch.space_group[part].cpu().numpy()
            done += n
            progress(n)
        write_shard(
            shard_path(folder, shard),
            index=np.arange(rows.start, rows.stop, dtype=np.int64),
            group=group,
            space_group=space_group,
            structure=structure,
            name=[None if self._names is None else self._names[i] for i in structure],
            intensity=intensity,
            coverage=coverage,
        )


def open_source(request: Request) -> Corpus | WyckoffSource:
    """Where the crystals of a request come from."""
    from simulators.corpus import Corpus
    from simulators.wyckoff.source import WyckoffSource

    if request.corpus is None:
        return WyckoffSource(device=request.device)
    return Corpus.load(request.corpus)


def todo(folder: Path, manifest: Manifest) -> list[int]:
    """Shards that are not there yet, or not whole.

    Raises BadInput when the folder holds something else: patterns of other settings, more patterns than
    asked for, or files that are not ours.
    """
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file: give a folder with --out.")
    if (folder / MANIFEST).exists():
        there = read_manifest(folder)
        different = there.differences(manifest)
        if different:
            raise BadInput(
                f"{folder} holds patterns of other settings (another {', another '.join(different)}): "
                "give another --out, or the settings in its _manifest.json."
            )
        if there.count > manifest.count:
            raise BadInput(
                f"{folder} was made for {there.count:,} patterns: give --count {there.count} or more, "
                "or another --out."
            )
    elif folder.exists() and any(folder.iterdir()):
        raise BadInput(f"{folder} holds other files and no patterns: give an empty or new folder with --out.")
    return [s for s in range(manifest.shards) if rows_in(shard_path(folder, s)) != len(manifest.rows_of(s))]


def simulate_to(
    folder: Path, request: Request, *, progress: Callable[[int], None] = lambda done: None
) -> tuple[Manifest, int]:
    """Make the shards that are missing; the manifest, and how many patterns were made now.

    progress: called with the number of patterns just finished (those already there at once, at first).
    Whatever the number of workers, the files hold the same patterns. Raises BadInput before anything is
    written when the request or the folder does not fit.
    """
    manifest = manifest_of(request)
    missing = todo(folder, manifest)
    made = sum(len(manifest.rows_of(s)) for s in missing)
    progress(manifest.count - made)
    maker = None
    if missing and (request.workers == 1 or len(missing) == 1):
        maker = Maker(request)
    elif missing:
        open_source(request)  # so that a file that is none is said here and now, not by every process
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_manifest(folder, manifest)
    except OSError as error:
        raise BadInput(f"cannot write to {folder}: {error.strerror or error}.") from None
    if maker is not None:
        for shard in missing:
            maker.write(folder, manifest, shard, progress)
    elif missing:
        for rows in _in_processes(folder, manifest, request, missing):
            progress(rows)
    return manifest, made


_maker: Maker | None = None


def _start(request: Request) -> None:
    global _maker
    _maker = Maker(request)


def _work(task: tuple[Path, Manifest, int]) -> int:
    assert _maker is not None
    folder, manifest, shard = task
    _maker.write(folder, manifest, shard, lambda done: None)
    return len(manifest.rows_of(shard))


def _in_processes(folder: Path, manifest: Manifest, request: Request, missing: list[int]) -> Iterator[int]:
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from multiprocessing import get_context

    workers = min(request.workers, len(missing))
    # An executor, not a Pool: a worker that dies (out of memory) is an error here, and no wait without end.
    with ProcessPoolExecutor(workers, get_context("spawn"), _start, (request,)) as pool:
        futures = [pool.submit(_work, (folder, manifest, shard)) for shard in missing]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()
