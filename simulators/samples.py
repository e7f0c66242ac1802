"""Draw samples for a demonstration or a trial: textbook structures, each as a powder on a diffractometer."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import gemmi
import numpy as np

from eg_agent.errors import BadInput
from eg_agent.patterns import Radiation
from simulators.background import Background
from simulators.crystal import Crystal
from simulators.instrument import laboratory
from simulators.measurement import Rate, expected_rate
from simulators.specimen import Specimen
from simulators.textbook import textbook

Cell = tuple[float, float, float, float, float, float]

#: Counts a second at the highest peak, log-uniform: from a weak sample on an old tube to a strong one on
#: a strip detector (counts summed over the strips).
PEAK_RATE = (40.0, 400.0)
#: Standard deviation of the zero of 2-theta and of the displacement of the surface, degrees.
SHIFT = 0.02
#: Relative standard deviation of the cell that the sample table gives, from another specimen.
CELL_ERROR = 5e-4


@dataclass(frozen=True, eq=False)
class DrawnSample:
    """A sample in the changer.

    rate: counts a second at an angle. cell: what the sample table says of its cell (angstrom,
    degrees), a little off the true one; the crystal itself is for the comparison at the end.
    """

    crystal: Crystal
    rate: Rate
    radiation: Radiation
    cell: Cell


def draw(
    seed: int, count: int = 5, *, radiation: Radiation | None = None, two_theta_max: float = 90.0
) -> tuple[DrawnSample, ...]:
    """`count` samples of as many crystal systems, a function of `seed` alone.

    Systems are drawn without replacement, the structure uniformly inside its system; the instrument is
    a laboratory diffractometer with a small zero shift and displacement, the flux log-uniform in
    PEAK_RATE. Raises BadInput for a count outside 1-7.
    """
    radiation = radiation or Radiation.anode("Cu")
    by_system: dict[str, list[Crystal]] = {}
    for crystal in textbook():
        by_system.setdefault(crystal_system(crystal), []).append(crystal)
    if not 1 <= count <= len(by_system):
        raise BadInput(
            f"{count} samples: there are {len(by_system)} crystal systems, give 1 to {len(by_system)}."
        )
    rng = np.random.default_rng([0x5EED, seed])
    chosen = rng.permutation(sorted(by_system))[:count]
    samples = []
    for system in chosen:
        crystal = by_system[system][rng.integers(len(by_system[system]))]
        instrument = replace(
            laboratory(), zero=float(rng.normal(0.0, SHIFT)), displacement=float(rng.normal(0.0, SHIFT))
        )
        specimen = Specimen(
            background=Background(flat=float(rng.uniform(0.005, 0.03)), air=float(rng.uniform(0.01, 0.06)))
        )
        rate = expected_rate(
            crystal,
            radiation,
            instrument=instrument,
            specimen=specimen,
            peak_rate=math.exp(rng.uniform(*np.log(PEAK_RATE))),
            two_theta_max=two_theta_max,
        )
        scale = 1.0 + CELL_ERROR * float(rng.standard_normal())
        a, b, c, *angles = crystal.cell
        cell = (scale * a, scale * b, scale * c, *angles)
        samples.append(DrawnSample(crystal, rate, radiation, cell))  # pyright: ignore[reportArgumentType]
    return tuple(samples)


def crystal_system(crystal: Crystal) -> str:
    """Crystal system of the space group ("trigonal" and "hexagonal" apart)."""
    found = gemmi.find_spacegroup_by_number(crystal.space_group)
    assert found is not None, crystal.space_group
    return found.crystal_system_str()
