"""The batched stream against the single pattern at full quality: the same crystal, instrument and axis.

Two programs that share tables of scattering factors and little else: float32 tensors, drawn profiles and a
few points for asymmetry there, double precision and sums over Voigt functions here. What the single pattern
gives goes through `Grid.project`, the way of every measured pattern.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from eg_agent.patterns import Grid, Pattern, Radiation
from eg_agent.patterns.radiation import ANODES, CU_KALPHA1
from simulators.background import Background
from simulators.corpus import D_MIN, strain_type
from simulators.counter_random import CounterRandom
from simulators.crystal import Crystal
from simulators.instrument import Instrument
from simulators.measurement import expected_counts
from simulators.peak_source import Peaks
from simulators.random_crystals import random_crystal
from simulators.scattering import peak_list
from simulators.specimen import Roughness, Specimen
from simulators.spectrum import TUNGSTEN_L_ALPHA1
from simulators.stream import _INSTRUMENT, SOURCE, PatternStream
from simulators.stream_config import Lamp, StreamConfig, stage1, stage2
from simulators.stream_instrument import Optics
from simulators.wyckoff.config import WyckoffConfig
from simulators.wyckoff.source import WyckoffSource

GRID = Grid(5.0, 90.0, 4250)
SEED, COUNT = 20, 8
#: Space groups of all systems whose axes are the usual ones.
SPACE_GROUPS = (2, 14, 62, 136, 148, 166, 194, 225)


def clean(*lamps: Lamp) -> StreamConfig:
    """Instruments as `stage2` draws them, a perfect powder, and nothing of the recording."""
    nothing = replace(
        stage1().sample, strain_common=0.0, strain_axes=0.0, strain_shear=0.0, b_range=(0.0, 0.0)
    )
    instrument = replace(stage2().instrument, lamps=lamps, anisotropy_share=0.0)
    return StreamConfig(stage1().sampling, nothing, instrument, stage1().recording)


class Given:
    """A source of peaks that gives pattern i the i-th crystal, for X-rays of one wavelength (angstrom)."""

    def __init__(self, crystals: list[Crystal], wavelength: float) -> None:
        self.crystals, self.wavelength = crystals, wavelength

    def draw(self, random: CounterRandom, base: int, most: int) -> Peaks:
        hkl, strength = torch.zeros(COUNT, most, 3), torch.zeros(COUNT, most)
        metric = []
        for i, crystal in enumerate(self.crystals):
            peaks = peak_list(crystal, D_MIN, "x-ray", wavelength=self.wavelength)
            f2 = peaks.f2 * peaks.multiplicity
            order = np.argsort(-f2 * peaks.d**2)[:most]
            hkl[i, : len(order)] = torch.tensor(peaks.hkl[order], dtype=torch.float32)
            strength[i, : len(order)] = torch.tensor(f2[order] / f2.max(), dtype=torch.float32)
            metric.append(_reciprocal(crystal.cell))
        of = self.crystals
        return Peaks(
            hkl,
            strength,
            torch.tensor(np.array(metric), dtype=torch.float32),
            torch.tensor([strain_type(c.operations) for c in of]),
            torch.tensor([c.space_group for c in of]),
            torch.tensor([c.group - 1 for c in of]),
            torch.full((COUNT,), -1),
        )

    def group_probability(self) -> npt.NDArray[np.float64]:
        return np.bincount([c.group - 1 for c in self.crystals], minlength=99) / COUNT


def _reciprocal(cell: tuple[float, ...]) -> npt.NDArray[np.float64]:
    a, b, c = cell[:3]
    ca, cb, cg = (math.cos(math.radians(x)) for x in cell[3:])
    direct = np.array(
        [[a * a, a * b * cg, a * c * cb], [a * b * cg, b * b, b * c * ca], [a * c * cb, b * c * ca, c * c]]
    )
    g = np.linalg.inv(direct)
    return np.array([g[0, 0], g[1, 1], g[2, 2], g[1, 2], g[0, 2], g[0, 1]])


def single(crystal: Crystal, radiation: Radiation, o: Optics, i: int) -> npt.NDArray[np.float64]:
    """Pattern i of the drawn instruments by `expected_counts`, on the canonical grid [L], maximum 1."""
    g = {name: float(getattr(o, name)[i]) for name in Optics.__dataclass_fields__}
    capillary = g["capillary"] > 0
    tungsten = abs(g["beta"] - TUNGSTEN_L_ALPHA1) < 1e-3
    beta = 0.0 if radiation.wavelength2 is None else g["beta_ratio"]
    instrument = Instrument(
        u=g["u"], v=g["v"], w=g["w"], x=g["x"], y=g["y"], s_l=g["sample_slit"], h_l=g["detector_slit"],
        transparency=g["transparency"], zero=g["zero"], displacement=g["displacement"],
        monochromator=g["monochromator"], polarised=g["polarised"],
        kbeta=0.0 if tungsten else beta, tungsten=beta if tungsten else 0.0,
        overspill=math.degrees(2 * math.asin(g["edge"])),
        geometry="debye-scherrer" if capillary else "bragg-brentano",
    )  # fmt: skip
    rough = Roughness(g["roughness"], g["roughness_depth"]) if g["roughness"] < 1 else None
    # As measured: from below the grid's first angle to above its last, in steps finer than a cell.
    ends = [
        math.degrees(2 * math.asin(math.sin(math.radians(x / 2)) * g["declared"] / CU_KALPHA1))
        for x in (4.9, 90.1)
    ]
    step = 0.004 * g["declared"] / CU_KALPHA1
    angle = np.arange(ends[0], ends[1] + step, step)
    specimen = Specimen(roughness=rough, background=Background(flat=0.0, air=0.0))
    counts = expected_counts(crystal, radiation, angle, instrument=instrument, specimen=specimen)
    pattern = Pattern(angle, counts, Radiation(g["declared"]))
    return GRID.project(pattern).intensity.astype(np.float64)


def worst(stream: PatternStream, crystals: list[Crystal], radiations: list[Radiation]) -> list[float]:
    """Largest difference of each pattern against its maximum."""
    numbers = CounterRandom(SEED, torch.arange(COUNT))
    optics = stream._instruments.draw(numbers, _INSTRUMENT)
    batch = stream.batch(0, COUNT)
    assert batch.coverage.all()
    found = []
    for i, crystal in enumerate(crystals):
        at = float(optics.wavelength[i])
        radiation = min(radiations, key=lambda r: (abs(r.wavelength - at), bool(r.wavelength2)))
        if float(optics.ratio[i]) > 0:
            radiation = next(r for r in radiations if r.wavelength2)
        expected = single(crystal, radiation, optics, i)
        found.append(float(np.abs(batch.intensity[i].numpy() - expected).max()))
    return found


@pytest.mark.parametrize("compiled", [pytest.param(True, marks=pytest.mark.slow), False])
def test_random_crystals_at_copper(compiled):
    """From atoms to the projected pattern: structure factors, doublets, K-beta, asymmetry, shifts, widths."""
    first, second, beta = ANODES["Cu"]
    lamps = (
        Lamp(0.7, first, second, beta=beta, monochromator=0.8, monochromator_share=0.3, capillary_share=0.2),
        Lamp(0.3, first),
    )
    source = WyckoffSource(WyckoffConfig(atoms_median=6, atoms_sigma=0.3, organic=0.0), compiled=compiled)
    stream = PatternStream(source, clean(*lamps), SEED, GRID, compiled=compiled)
    crystals = source.crystals(CounterRandom(SEED, torch.arange(COUNT)), SOURCE)
    found = worst(stream, crystals, [Radiation.anode("Cu"), Radiation(first)])
    assert max(found) < 0.01, found


@pytest.mark.parametrize(
    "lamp",
    [
        Lamp(1.0, *ANODES["Mo"][:2], width=0.7, axial=0.4),
        Lamp(1.0, *ANODES["Co"][:2]),
        Lamp(1.0, 0.7, polarised=True, width=0.5, capillary_share=1.0, axial=0.15),
    ],
    ids=["Mo", "Co", "synchrotron"],
)
def test_other_wavelengths(lamp):
    """On the common axis too heights are counts at an angle, as projected measurements have them."""
    crystals = [
        random_crystal(number, np.random.default_rng(number), max_atoms=16) for number in SPACE_GROUPS
    ]
    assert len(crystals) == COUNT
    stream = PatternStream(Given(crystals, lamp.wavelength), clean(lamp), SEED, GRID)
    radiation = Radiation(lamp.wavelength, lamp.wavelength2 or None)
    found = worst(stream, crystals, [radiation])
    assert max(found) < 0.01, found
