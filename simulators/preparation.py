"""Making a corpus: real structures of a folder, and random crystals where real ones are few.

Every task is a function of its arguments alone, so the corpus does not depend on the number of
worker processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eg_agent.errors import BadInput
from eg_agent.symmetry import groups
from simulators.corpus import COMPUTED, COPY_MARK, MINERAL, MOLECULAR, RANDOM, Corpus, held_out, merge, pack
from simulators.crystal import Crystal
from simulators.crystal_source import found_group, keeps_group
from simulators.perturbation import Perturbation, perturbed
from simulators.random_crystals import Style, random_crystal
from simulators.structures import (
    computed_crystals,
    count_rows,
    crystal_from_cif,
    mineral_crystals,
    no_structures,
)
from simulators.textbook import hold_out

#: Share of organic and metal-organic crystals in each space group, percent: the twenty most frequent
#: of the Cambridge Structural Database (CSD space group statistics, CCDC), which hold 93 %.
MOLECULAR_SPACE_GROUPS: dict[int, float] = {
    14: 34.3, 2: 25.2, 15: 8.2, 19: 6.8, 4: 5.1, 61: 3.2, 33: 1.3, 9: 1.1, 62: 1.0, 1: 1.0, 60: 0.8, 5: 0.8,
    29: 0.7, 148: 0.7, 12: 0.5, 11: 0.5, 13: 0.4, 88: 0.4, 56: 0.4, 43: 0.3,
}  # fmt: skip


#: Perturbation of the copies of a corpus. Streams strain cells and damp intensities themselves.
COPIES = Perturbation()


@dataclass(frozen=True)
class PreparationConfig:
    """What goes into a corpus.

    random_target: random crystals are added to each group until real and random ones together reach
    this number, but at least random_least of them, so that every group is learned from both.
    molecular: number of random molecular crystals (CSD frequencies of space groups).
    perturbed: copies of each real structure with other intensities and cells but the same symmetry
    (see `simulators.perturbation`); a copy in which spglib finds another group is left out.
    hold_out_textbook: keep the demo's structures out of training (docs/decisions/0002).
    seed: of the random crystals and the copies. rows: only the first rows of each table (for tests),
    or all.
    """

    random_target: int = 450
    random_least: int = 150
    molecular: int = 8000
    perturbed: int = 0
    hold_out_textbook: bool = True
    seed: int = 1
    rows: int | None = None


@dataclass(frozen=True)
class _Task:
    kind: str
    path: str = ""
    start: int = 0
    stop: int = 0
    group: int = 0
    seed: int = 0
    copies: int = 0


def confirmed_random_crystal(space_group: int, rng: np.random.Generator, style: Style) -> Crystal:
    """A random crystal in which spglib (symprec 1e-4) finds the extinction group that was intended."""
    for _ in range(20):
        crystal = random_crystal(space_group, rng, style)
        if found_group(crystal) == crystal.group:
            return crystal
    raise BadInput(f"no random crystal of space group {space_group} kept its symmetry in 20 attempts.")


def _with_copies(crystals: Iterable[Crystal], source: int, task: _Task) -> Iterator[tuple[Crystal, int]]:
    """Each crystal, followed by its perturbed copies: those that keep group and split."""
    for place, crystal in enumerate(crystals):
        yield crystal, source
        for copy in range(task.copies):
            rng = np.random.default_rng([task.seed, 2000 + source, task.start, place, copy])
            other = perturbed(crystal, rng, COPIES, name=f"{crystal.name}{COPY_MARK}{copy + 1}")
            if held_out(other.formula) == held_out(crystal.formula) and keeps_group(other):
                yield other, source


def _crystals(task: _Task) -> Iterator[tuple[Crystal, int]]:
    if task.kind == "computed":
        yield from _with_copies(computed_crystals(task.path, task.start, task.stop), COMPUTED, task)
    elif task.kind == "mineral":
        # One entry of the table states a group that its coordinates do not have.
        sound = filter(keeps_group, mineral_crystals(task.path, task.start, task.stop))
        yield from _with_copies(sound, MINERAL, task)
    elif task.kind == "cif":
        yield from _with_copies([crystal_from_cif(task.path)], MINERAL, task)
    elif task.kind == "random":
        members = groups()[task.group - 1].space_groups
        for index in range(task.start, task.stop):
            rng = np.random.default_rng([task.seed, task.group, index])
            yield confirmed_random_crystal(int(rng.choice(members)), rng, "inorganic"), RANDOM
    else:
        numbers = list(MOLECULAR_SPACE_GROUPS)
        share = np.array(list(MOLECULAR_SPACE_GROUPS.values()))
        for index in range(task.start, task.stop):
            rng = np.random.default_rng([task.seed, 1000, index])
            number = int(rng.choice(numbers, p=share / share.sum()))
            yield confirmed_random_crystal(number, rng, "molecular"), MOLECULAR


def _run(task: _Task) -> Corpus:
    return pack(_crystals(task))


def _chunks(kind: str, count: int, size: int, **more: int | str) -> list[_Task]:
    return [_Task(kind, start=i, stop=min(i + size, count), **more) for i in range(0, count, size)]  # pyright: ignore[reportArgumentType]


def prepare(
    folder: str | Path,
    config: PreparationConfig | None = None,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Corpus:
    """Pack the structures of a folder, and the random crystals that its groups lack.

    folder: with `materials_project.parquet`, `minerals.parquet` or .cif files; any of them may be
    absent. progress: called with (done, total) tasks. Raises BadInput when the folder holds none.
    """
    config = config or PreparationConfig()
    folder = Path(folder)
    tasks: list[_Task] = []
    for kind, name, size in (("computed", "materials_project", 2000), ("mineral", "minerals", 400)):
        path = folder / f"{name}.parquet"
        if path.is_file():
            count = min(count_rows(path), config.rows or 10**9)
            copies: dict[str, int] = {"seed": config.seed, "copies": config.perturbed}
            tasks += _chunks(kind, count, size, path=str(path), **copies)
    files = sorted(folder.glob("*.cif"))
    tasks += [
        _Task("cif", str(path), start=i, seed=config.seed, copies=config.perturbed)
        for i, path in enumerate(files)
    ]
    if not tasks:
        raise no_structures(folder)
    random_tasks = len(groups()) + (config.molecular + 499) // 500
    total, done = len(tasks) + random_tasks, 0

    def finished(part: Corpus) -> Corpus:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)
        return part

    with _pool(workers) as run:
        real = merge(finished(part) for part in run(_run, tasks))
        counts = np.bincount(real.group, minlength=100) // (1 + config.perturbed)
        more: list[_Task] = _chunks("molecular", config.molecular, 500, seed=config.seed)
        for group in range(1, 100):
            wanted = max(config.random_least, config.random_target - int(counts[group]))
            more.append(_Task("random", stop=wanted, group=group, seed=config.seed))
        whole = merge([real, *(finished(part) for part in run(_run, more))])
    return hold_out(whole) if config.hold_out_textbook else whole


class _pool:
    """`map` in this process, or in order over spawned worker processes."""

    def __init__(self, workers: int) -> None:
        self._pool = None
        if workers > 1:
            import multiprocessing

            self._pool = multiprocessing.get_context("spawn").Pool(workers)

    def __enter__(self) -> Callable[..., Iterator[Corpus]]:
        return map if self._pool is None else self._pool.imap  # pyright: ignore[reportReturnType]

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.terminate()
            self._pool.join()
