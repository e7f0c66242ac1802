"""What the demo measures: a diffractometer with samples in its changer, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eg_agent.decide import Limits

Cell = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Changer:
    """A diffractometer with its samples.

    device: ophyd device of `simulators`. names: samples in order. cells: what the sample table says.
    truth: extinction group by sample, empty when nobody knows. limits: of the agent.
    step: degrees; seconds_per_point: seconds, of the first scan. about: one line for the reader.
    """

    device: Any
    names: tuple[str, ...]
    cells: dict[str, Cell]
    truth: dict[str, int]
    limits: Limits
    step: float
    seconds_per_point: float
    about: str


def drawn(seed: int, count: int, *, with_cells: bool) -> Changer:
    """Simulated textbook structures. The shipped network may have seen them (docs/decisions/0008)."""
    from eg_agent.decide import Limits
    from simulators import SimDiffractometer, draw

    samples = draw(seed, count)
    names = tuple(sample.crystal.name for sample in samples)
    device = SimDiffractometer(
        name="diffractometer",
        samples={name: sample.rate for name, sample in zip(names, samples)},
        radiation=samples[0].radiation,
        limits=(5.0, 90.0),
        seed=seed,
    )
    return Changer(
        device=device,
        names=names,
        cells={name: sample.cell for name, sample in zip(names, samples)} if with_cells else {},
        truth={name: sample.crystal.group for name, sample in zip(names, samples)},
        limits=Limits(two_theta=(5.0, 90.0), max_seconds_per_sample=4 * 3600.0, max_total_seconds=86400.0),
        step=0.02,
        seconds_per_point=0.5,
        about=f"seed {seed}: {', '.join(names)}; Cu K-alpha, 5-90 degrees, 0.5 s a point at first",
    )


def replayed(
    path: Path, wavelength: float | None, wavelength2: float | None, cell: tuple[float, ...] | None, seed: int
) -> Changer:
    """A measured file, its photons dealt out again at the counting time that is asked for."""
    import numpy as np

    from eg_agent.decide import Limits
    from simulators import ReplayDiffractometer

    device = ReplayDiffractometer.from_file(
        path, wavelength=wavelength, wavelength2=wavelength2, beyond="resample", seed=seed
    )
    (name,) = device.samples
    pattern = device.recording.pattern
    seconds = float(np.median(device.recording.time))
    low, high = float(pattern.two_theta[0]), float(pattern.two_theta[-1])
    return Changer(
        device=device,
        names=(name,),
        cells={} if cell is None else {name: cell},  # pyright: ignore[reportArgumentType]
        truth={},
        limits=Limits(
            two_theta=(low, high),
            max_seconds_per_sample=86400.0,
            max_total_seconds=86400.0,
            max_seconds_per_point=600.0,
        ),
        step=float(np.median(np.diff(pattern.two_theta))),
        seconds_per_point=seconds / 10.0,
        about=f"{path.name}: {device.origin.get()}; a tenth of its counting time at first",
    )
