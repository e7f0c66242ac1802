"""Partial ranges and other wavelengths: the same measured patterns, cut or seen with another wavelength.

A pattern seen with another wavelength has its angles moved to where the same d-spacings would be seen, and
is cut to what a diffractometer reaches (2 to 150 degrees). Widths and intensities stay as they were measured:
this shows what the axis does, not what another instrument does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from eg_agent.errors import BadPattern
from eg_agent.model.prior import N_GROUPS
from eg_agent.patterns import Pattern, Radiation, check
from eg_agent.patterns.coordinate import change_wavelength
from trainer.benchmark.data import Case
from trainer.benchmark.running import Answer, Predictor

#: Shares (from, to) of the measured range of angles.
RANGES = {
    "first third": (0.0, 1 / 3),
    "middle third": (1 / 3, 2 / 3),
    "first two thirds": (0.0, 2 / 3),
    "last two thirds": (1 / 3, 1.0),
}
#: Angstrom.
WAVELENGTHS = (0.4, 0.7093, 1.0, 1.79, 2.29)
#: Angles that a diffractometer reaches, degrees.
REACH = (2.0, 150.0)

VARIANTS = ("whole", *RANGES, *(f"{w:g} angstrom" for w in WAVELENGTHS))


def variant_of(pattern: Pattern, name: str) -> Pattern:
    """A pattern cut to a part of its range, or seen with another wavelength; BadPattern for none left."""
    if name == "whole":
        return pattern
    if name in RANGES:
        low, high = pattern.two_theta[[0, -1]]
        start, end = (low + share * (high - low) for share in RANGES[name])
        return _cut(pattern, pattern.two_theta, (pattern.two_theta >= start) & (pattern.two_theta <= end))
    wavelength = float(name.split()[0])
    mean = pattern.radiation.mean_wavelength
    angle = change_wavelength(pattern.two_theta, mean, wavelength)
    keep = np.isfinite(angle) & (np.nan_to_num(angle) >= REACH[0]) & (np.nan_to_num(angle) <= REACH[1])
    # The doublet moved with the angles: the mean wavelength stands for both, as on the network's grid.
    return replace(_cut(pattern, angle, keep), radiation=Radiation(wavelength, kind=pattern.radiation.kind))


def _cut(pattern: Pattern, angle: np.ndarray, keep: np.ndarray) -> Pattern:
    if keep.sum() < 2:
        raise BadPattern("nothing of the pattern is left in this range.")

    def of(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[keep]

    return replace(
        pattern,
        two_theta=angle[keep],
        intensity=pattern.intensity[keep],
        sigma=of(pattern.sigma),
        counting_time=of(pattern.counting_time),
        covered=(),
    )


@dataclass(frozen=True)
class RobustRecipe:
    """The network alone on every variant of a pattern; raw outputs [variants, 99] of both heads are kept.

    A variant in which the product sees no peak is refused: its row of `answered` is 0.
    """

    checkpoint: str
    prior: str

    def __call__(self) -> Predictor:
        import torch

        from eg_agent.model import Classifier

        torch.set_num_threads(1)
        classifier = Classifier.load(self.checkpoint, self.prior)

        def predictor(pattern: Pattern, case: Case) -> Answer:
            split, aux = np.zeros((2, len(VARIANTS), N_GROUPS))
            novelty, answered = np.zeros((2, len(VARIANTS)))
            for i, name in enumerate(VARIANTS):
                try:
                    out = classifier.outputs([check(variant_of(pattern, name))])
                except BadPattern:
                    continue
                split[i], aux[i], novelty[i], answered[i] = out.split[0], out.aux[0], out.novelty[0], 1.0
            raw = {"split": split, "aux": aux, "novelty": novelty, "answered": answered}
            return Answer(np.full(N_GROUPS, -np.log(N_GROUPS)), raw=raw)

        return predictor
