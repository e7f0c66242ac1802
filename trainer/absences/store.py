"""Line samples in files: a function of the structures, a seed and a number, some thousand to a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from eg_agent.errors import BadInput
from eg_agent.symmetry import group
from eg_agent.verify.likelihood import BLEND
from simulators import Crystal
from simulators.corpus import held_out
from simulators.crystal import DEFAULT_B_ISO
from simulators.perturbation import Perturbation, perturbed
from simulators.preparation import MOLECULAR_SPACE_GROUPS, confirmed_random_crystal
from simulators.structures import StructureFolder
from trainer.absences import intensities
from trainer.absences.intensities import LineSample, line_sample
from trainer.benchmark.simulated_samples import LONGEST, own_metric

#: Samples of one file, and structures that are tried for each.
A_FILE, ATTEMPTS = 2000, 40
#: Share of samples of structures that are no computed ones (minerals, .cif files), where there are such.
NOT_COMPUTED = 0.15
#: Of so many samples in a row, the first so many are clean, the others rough.
EVERY = (3, 5)
#: Samples of structures as they are: each is drawn some three times. All further ones are of copies, which
#: have its symmetry, but other elements, sites and cells (`simulators.perturbation`).
AS_THEY_ARE = 260_000
#: Copies: sites hardly moved, because how near nature comes to a higher symmetry is what is to be learned.
COPIES = Perturbation(
    strain=0.01,
    displacement=0.02,
    substitution=0.5,
    radius_ratio=1.25,
    vacancies=0.0,
    b_median=DEFAULT_B_ISO,
    b_sigma=0.0,
)
#: From here on, one sample in so many is of a random molecular crystal (groups as in the CSD), which hides
#: next to nothing: its molecules are in general places.
MOLECULAR_FROM, MOLECULAR_EVERY = 300_000, 3
#: What the samples depend on beside the seed, kept with them.
RECIPE = (
    f"blend {BLEND}, counts {intensities.COUNTS}, lines {intensities.MOST_LINES}, "
    f"widths {intensities.WIDTH}, {EVERY[0]} of {EVERY[1]} clean, copies from {AS_THEY_ARE}, "
    f"one of {MOLECULAR_EVERY} molecular from {MOLECULAR_FROM}"
)


class LineSamples:
    """Sample i of a seed, whatever was made before. Triclinic crystals and those whose cell has a higher
    symmetry than they have are left out; raises BadInput for a folder without structures."""

    def __init__(self, structures: Path, seed: int) -> None:
        self._folder = StructureFolder(structures)
        self._computed = self._folder.computed
        self._seed = seed

    def __call__(self, index: int) -> LineSample:
        rng = np.random.default_rng([self._seed, 0xAB5, index])
        foreign: Crystal | None = None
        for _ in range(ATTEMPTS):
            crystal = self._crystal(index, rng)
            if crystal is None:
                continue
            usable = group(crystal.group).crystal_system != "triclinic" and max(crystal.cell[:3]) <= LONGEST
            if usable and own_metric(crystal):
                sample = line_sample(crystal, foreign, rng, rough=index % EVERY[1] >= EVERY[0])
                if sample is not None:
                    return replace(sample, held_out=held_out(crystal.formula))
            foreign = crystal
        raise BadInput(
            f"none of {ATTEMPTS} structures in a row has lines to tell groups by: check the structures."
        )

    def _crystal(self, index: int, rng: np.random.Generator) -> Crystal | None:
        if index >= MOLECULAR_FROM and index % MOLECULAR_EVERY == MOLECULAR_EVERY - 1:
            return molecular(rng)
        crystal = self._folder.crystal(self._number(rng))
        return crystal if index < AS_THEY_ARE else copied(crystal, rng)

    def _number(self, rng: np.random.Generator) -> int:
        further = len(self._folder) - self._computed
        if self._computed and not (further and rng.random() < NOT_COMPUTED):
            return int(rng.integers(self._computed))
        return self._computed + int(rng.integers(further))


def molecular(rng: np.random.Generator) -> Crystal | None:
    """A random molecular crystal, not triclinic; None where its molecules find no place."""
    numbers = [number for number in MOLECULAR_SPACE_GROUPS if number > 2]
    share = np.array([MOLECULAR_SPACE_GROUPS[number] for number in numbers])
    try:
        return confirmed_random_crystal(int(rng.choice(numbers, p=share / share.sum())), rng, "molecular")
    except BadInput:
        return None


def copied(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    """A copy of a crystal; itself where it, or the copy, is held out or has another metric than its group."""
    if held_out(crystal.formula) or not own_metric(crystal):
        return crystal
    copy = perturbed(crystal, rng, COPIES)
    return crystal if held_out(copy.formula) or not own_metric(copy) else copy


def make(
    structures: Path,
    out: Path,
    count: int,
    *,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Files of samples 0 to count - 1 (a whole number of files); those that are there are not made again.

    Raises BadInput for a folder without structures, or one that holds samples of something else.
    """
    LineSamples(structures, seed)  # an unusable folder is refused before anything is written
    out.mkdir(parents=True, exist_ok=True)
    about, note = out / "samples.txt", f"seed {seed}, {RECIPE}\n"
    if about.is_file() and about.read_text("utf-8") != note:
        raise BadInput(f"{out} holds samples made in another way: give another --out, or empty it.")
    about.write_text(note, "utf-8")
    files = [out / f"lines-{number:04d}.npz" for number in range(-(-count // A_FILE))]
    missing = [number for number, path in enumerate(files) if not path.is_file()]
    done = len(files) - len(missing)
    progress(done, len(files))
    job = partial(_file, structures, out, seed)
    with ExitStack() as stack:
        if workers == 1:
            made = map(job, missing)
        else:
            made = stack.enter_context(ProcessPoolExecutor(workers)).map(job, missing)
        for place, _ in enumerate(made):
            progress(done + place + 1, len(files))
    return files


def _file(structures: Path, out: Path, seed: int, number: int) -> None:
    samples = LineSamples(structures, seed)
    write(out / f"lines-{number:04d}.npz", [samples(A_FILE * number + i) for i in range(A_FILE)])


def write(path: Path, samples: Sequence[LineSample]) -> None:
    """Samples in an npz file without pickle; features in half precision. All of it or nothing."""
    part = path.with_suffix(".part.npz")
    np.savez(
        part,
        values=np.concatenate([s.values for s in samples]).astype(np.float16),
        kinds=np.concatenate([s.kinds for s in samples]).astype(np.int8),
        lines=np.array([len(s.kinds) for s in samples], dtype=np.int32),
        groups=np.concatenate([s.groups for s in samples]).astype(np.int8),
        candidates=np.array([len(s.groups) for s in samples], dtype=np.int32),
        forbidden=np.concatenate([np.packbits(s.forbidden.ravel()) for s in samples]),
        family=np.array([s.family for s in samples], dtype=np.int8),
        shape=np.array([s.shape for s in samples], dtype=np.float32),
        group=np.array([s.group for s in samples], dtype=np.int8),
        held_out=np.array([s.held_out for s in samples]),
    )
    part.rename(path)


def read(path: Path) -> list[LineSample]:
    """The samples of a file; BadInput where it is none."""
    try:
        with np.load(path) as found:
            arrays = {name: found[name] for name in found.files}
        return _samples(arrays)
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(
            f"{path} is no file of line samples ({error}): delete it, and run the command again."
        ) from None


def _samples(arrays: dict[str, np.ndarray]) -> list[LineSample]:
    lines, candidates = arrays["lines"], arrays["candidates"]
    packed = -(-(lines * candidates) // 8)
    values = np.split(arrays["values"], np.cumsum(lines)[:-1])
    kinds = np.split(arrays["kinds"], np.cumsum(lines)[:-1])
    groups = np.split(arrays["groups"], np.cumsum(candidates)[:-1])
    bits = np.split(arrays["forbidden"], np.cumsum(packed)[:-1])
    return [
        LineSample(
            values[i],
            kinds[i],
            int(arrays["family"][i]),
            arrays["shape"][i],
            np.unpackbits(bits[i], count=int(lines[i] * candidates[i])).reshape(candidates[i], lines[i]) > 0,
            groups[i],
            int(arrays["group"][i]),
            bool(arrays["held_out"][i]),
        )
        for i in range(len(lines))
    ]
