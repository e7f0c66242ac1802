"""Simulated temperature series for `tests/bench/monitor.py`: with a transition, without, a foreign phase.

A parent structure is written out in P1 (in a larger cell where the translations break), and an order
parameter moves its atoms and strains its cell. Everything that happens without a transition happens in every
series: anisotropic expansion as the parent's lattice allows, atoms that vibrate more, a drifting tube,
background, zero and line width, the nuisances of stage 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from eg_agent.patterns import Pattern, Radiation, Source
from eg_agent.symmetry import group
from simulators import Crystal
from simulators.crystal import metric, operations_from_triplets
from simulators.measurement import expected_rate
from simulators.realistic import realistic_instrument, realistic_specimen
from simulators.specimen import Broadening, Impurity

Floats = npt.NDArray[np.float64]

RANGE = (15.0, 75.0)
STEP = 0.03
#: Counts in the strongest line of a frame.
COUNTS = (1e3, 1e5)
#: Linear expansion from frame to frame, and by how much directions differ.
EXPANSION = (3e-5, 3e-4)
KINDS = ("none", "distortion", "superstructure", "glide loss", "foreign")

#: Symmetry-breaking strains by crystal system, Cartesian (a along x, c along z).
_BREAKING: dict[str, list[list[list[float]]]] = {
    "cubic": [[[-1, 0, 0], [0, -1, 0], [0, 0, 2]], [[0, 1, 1], [1, 0, 1], [1, 1, 0]]],
    "tetragonal": [[[1, 0, 0], [0, -1, 0], [0, 0, 0]], [[0, 1, 0], [1, 0, 0], [0, 0, 0]]],
    "trigonal/hexagonal": [[[1, 0, 0], [0, -1, 0], [0, 0, 0]]],
    "orthorhombic": [[[0, 0, 1], [0, 0, 0], [1, 0, 0]]],
    "monoclinic": [[[0, 1, 0], [1, 0, 0], [0, 0, 0]]],
}
#: Larger cells: multiples of a, b, c.
_LARGER = ((2, 1, 1), (1, 1, 2), (2, 2, 1), (2, 2, 2), (1, 1, 3))


@dataclass(frozen=True)
class Story:
    """What happens in a series: kind (see KINDS), the frame at which it begins, first-order or not."""

    kind: str
    frames: int
    onset: int
    sudden: bool
    amplitude: float  #: of strain (distortion), angstrom (superstructure, glide loss) or share (foreign)

    def order(self, k: int) -> float:
        """Square of the order parameter, 0 to 1."""
        if self.kind == "none" or k < self.onset:
            return 0.0
        return 1.0 if self.sudden else min((k - self.onset + 0.5) / 20.0, 1.0)


class Series:
    """A series as a function of (parent, seed, story)."""

    def __init__(self, parent: Crystal, other: Crystal, story: Story, seed: int) -> None:
        self.parent, self.story, self.seed = parent, story, seed
        rng = np.random.default_rng([0x5E5, seed])
        self.radiation = Radiation.anode("Cu")
        # axial tails are the same in all frames and cost nine tenths of the time
        self.instrument = replace(realistic_instrument(rng), s_l=0.0, h_l=0.0, transparency=0.0)
        # grains and textures would be drawn anew in another cell: they belong to reflections, not to places
        self.specimen = replace(realistic_specimen(rng, [other]), grains=None, texture=None)
        self.counts = float(np.exp(rng.uniform(*np.log(COUNTS))))
        self.other = other
        turns = _rotations(parent)
        random = np.diag(rng.uniform(0.2, 1.0, 3)) + 0.2 * _symmetric(rng)
        self.expansion = float(np.exp(rng.uniform(*np.log(EXPANSION)))) * _kept(random, turns)
        self.drift = {name: float(rng.standard_normal()) for name in ("rate", "b", "zero", "width", "level")}
        times = (1, 1, 1)
        if story.kind == "superstructure":
            times = _LARGER[int(rng.integers(len(_LARGER)))]
        self.base = written_out(parent, times)
        self.times = times
        size = len(self.base.elements)
        move = rng.standard_normal((size, 3))
        if story.kind == "superstructure":
            move -= _without(move, np.prod(times))
        self.move = move / np.sqrt(np.mean(np.sum(move**2, axis=1)))
        modes = _BREAKING.get(group(parent.group).crystal_system, [])
        self.mode = np.array(modes[int(rng.integers(len(modes)))], dtype=float) if modes else np.zeros((3, 3))
        self.mode /= max(float(np.linalg.norm(self.mode)), 1e-9)

    def crystal(self, k: int) -> Crystal:
        """The structure in frame k."""
        story, order = self.story, self.story.order(k)
        strain = k * self.expansion
        warmer = 1.0 + 0.01 * k * (1.0 + 0.3 * self.drift["b"])
        if order == 0.0 or story.kind == "foreign":  # the same lines as written out, and fewer of them
            cell = strained(self.parent.cell, strain)
            return replace(self.parent, cell=cell, b_iso=self.parent.b_iso * warmer)
        fractional = self.base.fractional
        if story.kind == "distortion":
            strain = strain + order * story.amplitude * self.mode
        if story.kind in ("superstructure", "glide loss", "distortion"):
            length = story.amplitude if story.kind != "distortion" else 5.0 * story.amplitude
            inverse = np.linalg.inv(_axes(self.base.cell))
            fractional = fractional + np.sqrt(order) * length * self.move @ inverse
        b_iso = self.base.b_iso * (1.0 + 0.01 * k * (1.0 + 0.3 * self.drift["b"]))
        return replace(self.base, cell=strained(self.base.cell, strain), fractional=fractional, b_iso=b_iso)

    def frame(self, k: int) -> Pattern:
        """The pattern of frame k, raw counts."""
        story, drift = self.story, self.drift
        specimen = self.specimen
        specimen = replace(
            specimen,
            broadening=Broadening(strain=2e-5 * k * (1.0 + np.tanh(drift["width"]))),
            background=replace(
                specimen.background, flat=specimen.background.flat * (1.0 + 0.005 * k * drift["level"])
            ),
        )
        phases = tuple(self._warmer(phase, k) for phase in specimen.phases)
        if story.kind == "foreign" and k >= story.onset:
            share = story.amplitude * story.order(k)
            phases = (*phases, self._warmer(Impurity(self.other, share), k))
        specimen = replace(specimen, impurities=phases)
        instrument = replace(self.instrument, zero=self.instrument.zero + 2e-4 * k * drift["zero"])
        rate = expected_rate(
            self.crystal(k),
            self.radiation,
            instrument=instrument,
            specimen=specimen,
            peak_rate=self.counts * (1.0 + 0.05 * np.tanh(0.05 * k * drift["rate"])),
            two_theta_max=RANGE[1],
        )
        x = np.arange(RANGE[0], RANGE[1], STEP)
        rng = np.random.default_rng([0xF4A, self.seed, k])
        return Pattern(
            two_theta=x,
            intensity=rng.poisson(rate(x)).astype(np.float64),
            radiation=self.radiation,
            counting_time=np.ones(x.size),
            raw_counts=True,
            source=Source(kind="simulation", name=self.parent.name),
        )

    def _warmer(self, phase: Impurity, k: int) -> Impurity:
        """A foreign phase, expanded in its own way."""
        mean = float(np.trace(self.expansion)) / 3.0 * (1.0 + 0.5 * np.tanh(self.drift["level"]))
        cell = strained(phase.crystal.cell, k * mean * np.eye(3))
        return replace(phase, crystal=replace(phase.crystal, cell=cell))

    def patterns(self) -> Iterator[Pattern]:
        """All frames in order."""
        for k in range(self.story.frames):
            yield self.frame(k)


def story_of(kind: str, rng: np.random.Generator, frames: int) -> Story:
    """A story of this kind: when it begins, whether at once, how much."""
    low, high = {
        "none": (1.0, 1.0),
        "distortion": (1e-3, 1e-2),
        "superstructure": (0.05, 0.3),
        "glide loss": (0.05, 0.3),
        "foreign": (0.02, 0.2),
    }[kind]
    return Story(
        kind,
        frames,
        onset=int(rng.integers(frames // 3, frames // 2 + 1)),
        sudden=bool(rng.random() < 0.5),
        amplitude=float(np.exp(rng.uniform(np.log(low), np.log(high)))),
    )


def written_out(crystal: Crystal, times: tuple[int, int, int] = (1, 1, 1)) -> Crystal:
    """The same crystal in P1, in a cell `times` as large; atoms of one parent atom's copies lie together."""
    places, elements, occupancy, b_iso = [], [], [], []
    shifts = np.array(np.meshgrid(*[np.arange(n) for n in times], indexing="ij")).reshape(3, -1).T
    for site, element in enumerate(crystal.elements):
        for place in crystal.orbit(site):
            places.append((place + shifts) / times)
            elements += [element] * len(shifts)
            occupancy += [float(crystal.occupancy[site])] * len(shifts)
            b_iso += [float(crystal.b_iso[site])] * len(shifts)
    a, b, c, *angles = crystal.cell
    return replace(
        crystal,
        cell=(a * times[0], b * times[1], c * times[2], *angles),
        operations=operations_from_triplets("x,y,z"),
        elements=tuple(elements),
        fractional=np.concatenate(places),
        occupancy=np.array(occupancy),
        b_iso=np.array(b_iso),
        space_group=1,
    )


def _without(move: Floats, copies: int) -> Floats:
    """[n, 3] the part of moves that all copies of an atom share: it would keep the old translations."""
    mean = move.reshape(-1, copies, 3).mean(axis=1, keepdims=True)
    return np.broadcast_to(mean, (move.shape[0] // copies, copies, 3)).reshape(-1, 3)


def _axes(cell: tuple[float, ...]) -> Floats:
    """Rows are a, b, c in angstrom."""
    return np.linalg.cholesky(metric(cell))


def _symmetric(rng: np.random.Generator) -> Floats:
    m = rng.standard_normal((3, 3))
    return 0.5 * (m + m.T)


def _rotations(crystal: Crystal) -> list[Floats]:
    """Cartesian rotations of the parent's Laue class."""
    axes = _axes(crystal.cell)
    return [(np.linalg.inv(axes) @ rotation.T @ axes).T for rotation in crystal.operations.laue_rotations]


def _kept(strain: Floats, turns: list[Floats]) -> Floats:
    """The part of a strain that the rotations leave."""
    return np.mean([r @ strain @ np.linalg.inv(r) for r in turns], axis=0)


def strained(cell: tuple[float, ...], strain: Floats) -> tuple[float, float, float, float, float, float]:
    """A cell after a Cartesian strain (relative)."""
    axes = _axes(cell) @ (np.eye(3) + strain)
    g = axes @ axes.T
    lengths = np.sqrt(np.diag(g))
    cosine = [
        g[1, 2] / lengths[1] / lengths[2],
        g[0, 2] / lengths[0] / lengths[2],
        g[0, 1] / lengths[0] / lengths[1],
    ]
    a, b, c = (float(v) for v in lengths)
    alpha, beta, gamma = (float(np.degrees(np.arccos(v))) for v in cosine)
    return (a, b, c, alpha, beta, gamma)


def largest_atoms(crystal: Crystal) -> int:
    """Atoms in the conventional cell."""
    return int(sum(len(crystal.orbit(i)) for i in range(len(crystal.elements))))
