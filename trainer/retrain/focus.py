"""`focused`: a simulator's settings from the patterns of verified runs: their instruments and backgrounds.

Nothing here sees a label. Widths, background and noise are measured on the canonical grid with the code that
measures the domain gap (`trainer.gap.statistics`); wavelengths, ranges, steps and counts are the runs' own.
What cannot be seen in a pattern (texture, impurities, zero shifts) stays as in stage 2.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from eg_agent.patterns.radiation import CU_KALPHA1
from simulators.stream_config import Lamp, StreamConfig
from trainer.data import stage2_real
from trainer.gap.statistics import baseline, line_widths
from trainer.retrain.recent import Recent

Floats = npt.NDArray[np.float64]

#: Standard deviation of ln(width) and ln(background) at the least, so that a few runs do not narrow too much.
LEAST_SPREAD = 0.15
#: Wavelengths that agree within this share are one lamp.
SAME_WAVELENGTH = 2e-3


def focused(recent: Recent, two_theta: Floats) -> StreamConfig:
    """Stage 2 with the instruments and recordings of `recent`; two_theta: [L] the grid's axis, degrees."""
    base = stage2_real()
    step = float(two_theta[1] - two_theta[0])
    lamps = _lamps(recent, base)
    instrument = replace(
        base.instrument,
        lamps=lamps,
        doublet_declared_share=0.0 if any(lamp.wavelength2 for lamp in lamps) else 0.5,
        **_widths(recent, two_theta),
    )
    recording = replace(base.recording, **_recording(recent, two_theta, step))
    return replace(base, instrument=instrument, recording=recording)


def _lamps(recent: Recent, base: StreamConfig) -> tuple[Lamp, ...]:
    """One lamp for each wavelength that was seen, with what stage 2 knows of it."""
    seen: Counter[tuple[float, float]] = Counter()
    for run in recent.runs:
        near = next((w for w in seen if abs(w[0] / run.wavelength - 1) < SAME_WAVELENGTH), None)
        seen[near or (run.wavelength, run.wavelength2)] += 1
    lamps = []
    for (first, second), count in seen.items():
        like = next(
            (
                lamp
                for lamp in base.instrument.lamps
                if abs(lamp.wavelength / first - 1) < SAME_WAVELENGTH
                and bool(lamp.wavelength2) == bool(second)
            ),
            Lamp(1.0, first, second, polarised=not second and first < 1.4, capillary_share=0.5),
        )
        lamps.append(
            replace(
                like, share=float(count), wavelength=first, wavelength2=second, wavelength_max=0.0, width=1.0
            )
        )
    return tuple(lamps)


def _widths(recent: Recent, two_theta: Floats) -> dict[str, float | tuple[float, float]]:
    """fwhm_median, fwhm_sigma and fwhm_range as measured, degrees, from isolated lines at low angles."""
    angle, fwhm, number = line_widths(recent.intensity, recent.coverage, two_theta)
    measured = []
    for i, run in enumerate(recent.runs):
        mine = number == i
        if mine.any():
            low = angle[mine] <= np.median(angle[mine])
            measured.append(np.median(fwhm[mine][low] * _as_measured(angle[mine][low], run.wavelength)))
    if not measured:
        return {}
    logs = np.log(np.array(measured))
    median = float(np.exp(np.median(logs)))
    spread = max(LEAST_SPREAD, float(logs.std()))
    return {
        "fwhm_median": median,
        "fwhm_sigma": spread,
        "fwhm_range": (median * float(np.exp(-3 * spread)), median * float(np.exp(3 * spread))),
    }


def _as_measured(angle: Floats, wavelength: float) -> Floats:
    """d(measured) / d(canonical) at canonical angles, degrees: what a width is multiplied by."""
    sine = np.sin(np.radians(angle) / 2)
    seen = np.clip(sine * wavelength / CU_KALPHA1, 0.0, 0.999)
    return (wavelength / CU_KALPHA1) * np.sqrt(1 - sine**2) / np.sqrt(1 - seen**2)


def _recording(recent: Recent, two_theta: Floats, step: float) -> dict[str, float | tuple[float, float]]:
    """Background, counts, steps and ranges of the runs."""
    level, air, first, last, steps = [], [], [], [], []
    for i, run in enumerate(recent.runs):
        covered = recent.coverage[i]
        y, x = recent.intensity[i][covered].astype(np.float64), two_theta[covered]
        base = baseline(y, step)[0]
        net = max(float((y - base).max()), 1e-3)
        level.append(max(float(np.median(base)) / net, 1e-4))
        ends = max(1, len(x) // 10)
        low = float(np.median(base[:ends]))
        # as the recorder has it: 1 + air * (5 / angle)^power, with the middle of its powers
        air.append(
            max(0.0, low / max(float(np.median(base)), 1e-9) - 1.0) * (float(x[ends // 2]) / 5.0) ** 1.75
        )
        first.append(float(x[0]))
        last.append(float(x[-1]))
        middle = np.array([float(x[len(x) // 2])])
        steps.append(run.step / float(_as_measured(middle, run.wavelength)[0]) / step)
    coarse = np.array(steps)
    counts = np.array([run.counts for run in recent.runs])
    raw = counts > 0
    logs = np.log(np.array(level))
    whole = float(np.mean((np.array(first) < two_theta[0] + 1) & (np.array(last) > two_theta[-1] - 1)))
    found: dict[str, float | tuple[float, float]] = {
        "background_median": float(np.exp(np.median(logs))),
        "background_sigma": max(LEAST_SPREAD, float(logs.std())),
        "air": float(np.quantile(air, 0.9)),
        "coarse_share": float(np.mean(coarse > 1.0)),
        "coarse_step": (1.0, float(np.clip(coarse.max(), 1.0, 10.0))),
        "full_range_share": whole,
        "start": (float(min(first)), float(max(first))),
        "end": (max(float(min(last)), float(min(first)) + 5.0), float(max(last))),
        # raw counts have their background; of anything else nobody knows what was done to it
        "subtract_share": float(0.65 * np.mean(~raw)),
        "offset_share": 0.0 if raw.all() else 0.1,
    }
    if raw.any():
        found["counts"] = (
            float(max(1.0, np.quantile(counts[raw], 0.05) / 1.5)),
            float(np.quantile(counts[raw], 0.95) * 1.5),
        )
    return found
