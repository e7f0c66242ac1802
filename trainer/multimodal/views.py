"""Patterns of `Materials`, one a structure: clean as in the paper, worse, and as measured ones look.

A view is what a network sees of every structure, a byte a point: the square root of the intensity in 255
steps (of the highest line 0.002 % is the first step), and what was covered. It is made on any device and
may be kept in a file, so that several runs look at the same patterns.

Axes: N structures, B of them, P peak, L grid point.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from eg_agent.errors import BadInput
from eg_agent.patterns import Grid
from simulators.corpus import WAVELENGTH, Corpus
from simulators.counter_random import CounterRandom
from simulators.peak_source import CorpusSource, Peaks
from simulators.stream import PatternStream
from simulators.stream_config import Sampling, StreamConfig
from trainer.data import ranges, stage2_real

#: Full width at half maximum of the Gaussian that clean patterns are smeared with, degrees of 2-theta.
CLEAN_FWHM = 0.2
#: What makes a pattern worse, each alone: that width in low resolution, counts at the highest line with
#: noise and under it, and the range that is left.
LOW_FWHM, NOISE_COUNTS, NOISE_FLOOR, PARTIAL = 0.8, 200.0, 10.0, (20.0, 60.0)
#: Structures that are rendered together on a CPU and elsewhere.
CHUNK_CPU, CHUNK = 256, 4096


@dataclass(frozen=True, eq=False)
class View:
    """root_NL: uint8, square root of the intensity (maximum 255). covered_NL: bool; None where all is."""

    root_NL: Tensor
    covered_NL: Tensor | None = None

    def __len__(self) -> int:
        return len(self.root_NL)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Intensity (maximum about 1) and coverage of some rows, as `Xxact` takes them."""
        intensity = (self.root_NL[rows].float() / 255.0).square()
        return intensity, None if self.covered_NL is None else self.covered_NL[rows]

    def to(self, device: torch.device) -> View:
        """The same on another device."""
        covered = None if self.covered_NL is None else self.covered_NL.to(device)
        return View(self.root_NL.to(device), covered)


def quantised(intensity_BL: Tensor) -> Tensor:
    """uint8 square roots, the highest 255."""
    shown = intensity_BL.clamp(min=0.0)
    return (255.0 * (shown / shown.amax(1, keepdim=True).clamp(min=1e-30)).sqrt()).round().to(torch.uint8)


class Structures(CorpusSource):
    """Structures of a corpus by their number instead of by chance: `rows` are those of the next batch."""

    def __init__(self, corpus: Corpus, device: torch.device) -> None:
        super().__init__(corpus, Sampling(real=1.0, random=0.0, molecular=0.0), device)
        self.rows: Tensor | None = None

    def choose(self, random: CounterRandom, purpose: int) -> Tensor:
        """The rows, where they have been set; an impurity's structures are still by chance."""
        if self.rows is None or len(self.rows) != len(random):
            return super().choose(random, purpose)
        return self.rows


def smeared(peaks: Peaks, grid: Grid, fwhm: float) -> Tensor:
    """[B, L] powder patterns for Cu K-alpha1: Lorentz-polarisation factor, Gaussian lines of one width,
    maximum 1; nothing else."""
    h, k, l = peaks.hkl.unbind(-1)  # noqa: E741 - Miller's
    aa, bb, cc, bc, ac, ab = peaks.metric[:, None, :].unbind(-1)
    s2 = h * h * aa + k * k * bb + l * l * cc + 2 * (k * l * bc + h * l * ac + h * k * ab)
    sine = (0.5 * WAVELENGTH * s2.clamp(min=1e-12).sqrt()).clamp(max=0.99999)
    theta = sine.asin()
    lorentz = (1 + (2 * theta).cos().square()) / (sine.square() * theta.cos())
    step = (grid.two_theta_max - grid.two_theta_min) / (grid.length - 1)
    place = (2 * theta.rad2deg() - grid.two_theta_min) / step
    reach = math.ceil(2.0 * fwhm / step)
    inside = (place > -reach) & (place < grid.length - 1 + reach)
    height = torch.where(inside, peaks.strength * lorentz, 0.0)
    # Each line is shared by the two points beside it, on a grid that reaches beyond both ends.
    place = (place + reach).clamp(0, grid.length + 2 * reach - 2)
    left = place.floor().long().clamp(max=grid.length + 2 * reach - 2)
    beside = place - left
    lines = torch.zeros(len(height), grid.length + 2 * reach, device=height.device)
    lines.scatter_add_(1, left, height * (1 - beside)).scatter_add_(1, left + 1, height * beside)
    spread = _spread(lines.shape[1], reach, step, fwhm, lines.device)
    found = torch.fft.irfft(torch.fft.rfft(lines, spread.size) * spread.transform, spread.size)
    pattern = found[:, reach : reach + grid.length].clamp(min=0.0)
    return pattern / pattern.amax(1, keepdim=True).clamp(min=1e-30)


class _Spread(NamedTuple):
    """Fourier transform of a line's shape over `size` points."""

    size: int
    transform: Tensor


@lru_cache(maxsize=16)
def _spread(points: int, reach: int, step: float, fwhm: float, device: torch.device) -> _Spread:
    """A Gaussian cut at `reach` points, for so many points or more: what wraps around is beyond the ends."""
    size = 1 << (points - 1).bit_length()
    place = torch.arange(size, device=device)
    offset = torch.minimum(place, size - place)
    shape = torch.exp(-4 * math.log(2.0) * (offset * step / fwhm).square())
    return _Spread(size, torch.fft.rfft(torch.where(offset <= reach, shape, 0.0)))


def clean_view(
    corpus: Corpus,
    grid: Grid,
    device: torch.device,
    *,
    fwhm: float = CLEAN_FWHM,
    noise: bool = False,
    seed: int = 0,
) -> View:
    """Patterns of all structures, Gaussian-smeared. noise: counted, NOISE_COUNTS at the highest line."""
    source = Structures(corpus, device)
    chunk = CHUNK_CPU if device.type == "cpu" else CHUNK
    generator = torch.Generator(device=device).manual_seed(seed)
    root = torch.empty(len(corpus), grid.length, dtype=torch.uint8, device=device)
    for start in range(0, len(corpus), chunk):
        rows = torch.arange(start, min(len(corpus), start + chunk), device=device)
        source.rows = rows
        shown = smeared(source.draw(CounterRandom(seed, rows), 0, 240), grid, fwhm)
        if noise:
            counted = torch.poisson(NOISE_COUNTS * shown + NOISE_FLOOR, generator=generator)
            shown = (counted - NOISE_FLOOR).clamp(min=0.0)
        root[rows] = quantised(shown)
    return View(root)


def stretched(intensity_BL: Tensor, factor_B: Tensor, grid: Grid) -> Tensor:
    """Patterns of lattices that are larger by factor_B: every line where Bragg's law puts it then.

    What comes in from beyond the grid was not simulated and is zero; heights stay as they were.
    """
    x = torch.from_numpy(np.array(grid.two_theta, dtype=np.float32)).to(intensity_BL.device)
    step = (grid.two_theta_max - grid.two_theta_min) / (grid.length - 1)
    sine = (0.5 * x.deg2rad()).sin() * factor_B[:, None]
    place = (2.0 * sine.clamp(max=1.0).asin().rad2deg() - grid.two_theta_min) / step
    left = place.floor().long().clamp(0, grid.length - 2)
    beside = place - left
    found = intensity_BL.gather(1, left) * (1 - beside) + intensity_BL.gather(1, left + 1) * beside
    return torch.where((place >= 0) & (place <= grid.length - 1), found, 0.0)


def partial(view: View, grid: Grid) -> View:
    """A view of which nothing outside PARTIAL was measured."""
    x = torch.from_numpy(np.array(grid.two_theta, dtype=np.float64))
    inside = ((x >= PARTIAL[0]) & (x <= PARTIAL[1])).to(view.root_NL.device)
    intensity = view.take(torch.arange(len(view), device=inside.device))[0] * inside
    return View(quantised(intensity), inside.expand(len(view), -1))


def stage2_stream(
    source: Structures, grid: Grid, device: torch.device, *, cut: bool, seed: int
) -> PatternStream:
    """Patterns of a source's rows with all nuisances of stage 2; see `stage2_view`."""
    settings: StreamConfig = (ranges if cut else stage2_real)()
    settings = replace(settings, sampling=Sampling(real=1.0, random=0.0, molecular=0.0))
    return PatternStream(source, settings, seed, grid, device)


def stage2_view(
    corpus: Corpus, grid: Grid, device: torch.device, *, cut: bool = False, seed: int = 0
) -> View:
    """Patterns with all nuisances of stage 2: strain, texture, impurities, instrument, background, counts.

    cut: with two fifths of them cut to any range, as the shipped classifier was trained.
    """
    source = Structures(corpus, device)
    stream = stage2_stream(source, grid, device, cut=cut, seed=seed)
    chunk = CHUNK_CPU if device.type == "cpu" else CHUNK
    root = torch.empty(len(corpus), grid.length, dtype=torch.uint8, device=device)
    covered = torch.empty(len(corpus), grid.length, dtype=torch.bool, device=device)
    for start in range(0, len(corpus), chunk):
        count = min(chunk, len(corpus) - start)
        source.rows = torch.arange(start, start + count, device=device)
        batch = stream.batch(start, count)
        rows = slice(start, start + count)
        root[rows] = quantised(torch.where(batch.coverage, batch.intensity, 0.0))
        covered[rows] = batch.coverage
    return View(root, covered)


#: Conditions that a network is judged under, by name.
CONDITIONS = ("clean", "noise", "resolution", "range", "stage2")


def condition(name: str, corpus: Corpus, grid: Grid, device: torch.device, seed: int = 0) -> View:
    """A view of the structures under one of CONDITIONS, or "ranges": stage 2 cut to any range."""
    made: dict[str, Callable[[], View]] = {
        "clean": lambda: clean_view(corpus, grid, device),
        "noise": lambda: clean_view(corpus, grid, device, noise=True, seed=seed),
        "resolution": lambda: clean_view(corpus, grid, device, fwhm=LOW_FWHM),
        "range": lambda: partial(clean_view(corpus, grid, device), grid),
        "stage2": lambda: stage2_view(corpus, grid, device, seed=seed),
        "ranges": lambda: stage2_view(corpus, grid, device, cut=True, seed=seed),
    }
    if name not in made:
        raise BadInput(f"no condition {name!r}: one of {', '.join(made)}.")
    return made[name]()


def kept(path: Path, make: Callable[[], View], count: int) -> View:
    """A view that is read from a file, or made and written there. count: structures it must have."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            root = torch.from_numpy(data["root"])
            shape = tuple(root.shape)
            packed = data.get("covered", None)
        if len(root) == count:
            covered = None
            if packed is not None:
                covered = torch.from_numpy(np.unpackbits(packed, axis=1, count=shape[1]).astype(bool))
            return View(root, covered)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        pass  # absent, or left half written by another version: made anew
    view = make()
    arrays = {"root": view.root_NL.cpu().numpy()}
    if view.covered_NL is not None:
        arrays["covered"] = np.packbits(view.covered_NL.cpu().numpy(), axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    part.replace(path)
    return view
