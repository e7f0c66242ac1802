"""A tiny folder in the layout of the measured patterns, simulated: gemmi's reflections, Poisson counts."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
import pytest

from eg_agent.patterns.pattern import Pattern
from eg_agent.symmetry import group_of_space_group
from trainer.benchmark import Answer, Case, Predictor

CU = 1.540593


@dataclass(frozen=True)
class Compound:
    name: str
    system: str
    space_group: int
    cell: tuple[float, float, float, float, float, float]


COMPOUNDS = (
    Compound("halite", "cubic", 225, (5.64, 5.64, 5.64, 90, 90, 90)),
    Compound("quartz", "trigonal", 152, (4.913, 4.913, 5.405, 90, 90, 120)),
    Compound("rutile", "tetragonal", 136, (4.594, 4.594, 2.959, 90, 90, 90)),
    Compound("calcite", "trigonal", 167, (4.99, 4.99, 17.06, 90, 90, 120)),
    Compound("aragonite", "orthorhombic", 62, (4.961, 7.967, 5.741, 90, 90, 90)),
    Compound("gypsum", "monoclinic", 15, (6.284, 15.2, 6.523, 90, 127.41, 90)),
)


def lines(compound: Compound, wavelength: float = CU, d_min: float = 1.3) -> tuple[np.ndarray, np.ndarray]:
    """(2-theta in degrees, intensity): all allowed reflections, intensities drawn once a compound."""
    cell = gemmi.UnitCell(*compound.cell)
    space_group = gemmi.find_spacegroup_by_number(compound.space_group)
    hkl = gemmi.make_miller_array(cell, space_group, d_min)
    d = cell.calculate_d_array(hkl)
    rng = np.random.default_rng(compound.space_group)
    strength = rng.exponential(size=len(d)) * d**2
    order = np.argsort(-d)
    return 2 * np.degrees(np.arcsin(wavelength / (2 * d[order]))), strength[order] / strength.max()


def curve(
    compound: Compound, two_theta: np.ndarray, *, counts: float, rng: np.random.Generator
) -> np.ndarray:
    """Poisson counts of Gaussian lines, 0.12 degrees wide, on a flat background of 5 %."""
    centre, strength = lines(compound)
    sigma = 0.12 / 2.355
    shape = np.exp(-0.5 * ((two_theta[:, None] - centre) / sigma) ** 2) @ strength
    return rng.poisson(counts * (0.05 + shape / shape.max())).astype(float)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 patterns of 6 compounds of two sources, all with cells; one compound is no benchmark row."""
    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    two_theta = np.arange(10.0, 80.0, 0.02)
    patterns, rows = {}, []
    for compound in COMPOUNDS:
        for copy, counts in enumerate((300, 1000, 5000)):
            name = f"{compound.name}_{copy}"
            patterns[name] = np.stack([two_theta, curve(compound, two_theta, counts=counts, rng=rng)])
            a, b, c, alpha, beta, gamma = compound.cell
            rows.append(
                {
                    "id": name,
                    "sg_number": f"{compound.space_group}.0",
                    "eg_number": f"{group_of_space_group(compound.space_group)}.0",
                    "crystal_system": compound.system,
                    **{"a": a, "b": b, "c": c, "alpha": alpha, "beta": beta, "gamma": gamma},
                    "wavelength": CU,
                    "wavelength2": "",
                    "benchmark": compound.name != "gypsum",
                    "known_cell": True,
                    "compound": compound.name,
                    "source": "lab" if copy else "archive",
                }
            )
    np.savez(folder / "patterns.npz", **{name: array.astype(np.float32) for name, array in patterns.items()})
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


def make_nearest_lines() -> Predictor:
    """A classifier by known lines: the share of the intensity that lies on each compound's lines."""
    known = [(group_of_space_group(c.space_group) - 1, lines(c)[0]) for c in COMPOUNDS]

    def predictor(pattern: Pattern, case: Case) -> Answer:
        net = np.clip(pattern.intensity - 2 * np.median(pattern.intensity), 0, None)
        score = np.full(99, -6.0)
        for index, centre in known:
            centre = centre[(centre > 10) & (centre < 80)]
            near = np.abs(pattern.two_theta[:, None] - centre).min(axis=1) < 0.1
            score[index] = 8 * (net[near].sum() / net.sum() - near.mean())
        return Answer(score)

    return predictor


@pytest.fixture(scope="session")
def nearest_lines() -> Callable[[], Predictor]:
    """Builds a predictor that really reads the pattern, with what it knows of the six compounds."""
    return make_nearest_lines
