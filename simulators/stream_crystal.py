"""From the peaks of a structure to the lines of a sample: strain, texture, grains, microstrain.

Texture, microstrain and graininess need the equivalents of a reflection under its Laue class. All Laue
classes have 1, 2, 3, 4, 6, 8, 12 or 24 rotations up to sign, so each is listed as 24 rows, repeated
where it has fewer: a mean over the rows is the mean over the equivalents.

Axes: B pattern, P peak, E equivalent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from simulators.corpus import STRAIN_TYPES
from simulators.counter_random import CounterRandom, Table
from simulators.peak_source import Peaks
from simulators.stream_config import SampleRanges
from simulators.stream_recording import some

#: Rows for each Laue class: the order of m-3m up to sign.
EQUIVALENTS = 24
#: Laue classes in the settings that STRAIN_TYPES allows.
LAUE_CLASSES = (
    "-1", "2/m b", "2/m c", "2/m a", "mmm", "4/m", "4/mmm", "-3", "-3m1", "-31m", "6/m", "6/mmm", "m-3",
    "m-3m", "-3 r", "-3m r",
)  # fmt: skip
#: Low-index axes of texture and microstrain, as hkl; the first is taken four times as often.
AXES = (
    (0, 0, 1), (1, 0, 0), (0, 1, 0), (1, 1, 0), (1, -1, 0), (1, 0, 1), (0, 1, 1), (1, 0, -1), (0, 1, -1),
    (1, 1, 1), (1, 0, 2), (1, 0, 4), (2, 1, 0),
)  # fmt: skip


@dataclass(frozen=True)
class Lines:
    """Powder lines before an instrument sees them.

    s: sin(theta) / wavelength [B, P], 1/angstrom. strength: |F|^2 m with texture and all other factors of
    the sample [B, P], 0 where there is no line. microstrain: [B, P] anisotropic part of the relative
    width of 1/d^2 (Stephens), degrees at tan(theta) = 1.
    """

    s: Tensor
    strength: Tensor
    microstrain: Tensor


def _closure(generators: list[list[list[int]]]) -> npt.NDArray[np.int64]:
    """All products of some integer matrices up to sign, [m, 3, 3]."""
    found = {tuple(np.eye(3, dtype=np.int64).ravel().tolist())}
    queue = list(found)
    while queue:
        one = np.array(queue.pop()).reshape(3, 3)
        for generator in generators:
            product = one @ np.array(generator)
            flat = product.ravel()
            product = product * (1 if flat[np.flatnonzero(flat)[0]] > 0 else -1)
            name = tuple(product.ravel().tolist())
            if name not in found:
                found.add(name)
                queue.append(name)
    return np.array(sorted(found)).reshape(-1, 3, 3)


@lru_cache(maxsize=1)
def laue_rotations() -> npt.NDArray[np.int64]:
    """int [16, 24, 3, 3]: rotations R of each of LAUE_CLASSES, to be used as hkl @ R."""
    two_b, two_c, two_a = (
        [[p, 0, 0], [0, q, 0], [0, 0, r]] for p, q, r in ((-1, 1, -1), (-1, -1, 1), (1, -1, -1))
    )
    four = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    cyclic = [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    swap = [[0, 1, 0], [1, 0, 0], [0, 0, -1]]  # a twofold axis along [110], of whatever cell
    anti = [[0, -1, 0], [-1, 0, 0], [0, 0, -1]]  # along [1-10]
    three = [[0, -1, 0], [1, -1, 0], [0, 0, 1]]  # about c, hexagonal axes
    swap_r = [[0, -1, 0], [-1, 0, 0], [0, 0, -1]]
    generators = {
        "-1": [], "2/m b": [two_b], "2/m c": [two_c], "2/m a": [two_a], "mmm": [two_b, two_c],
        "4/m": [four], "4/mmm": [four, two_b], "-3": [three], "-3m1": [three, swap], "-31m": [three, anti],
        "6/m": [three, two_c], "6/mmm": [three, two_c, swap], "m-3": [cyclic, two_c, two_b],
        "m-3m": [cyclic, four, two_b], "-3 r": [cyclic], "-3m r": [cyclic, swap_r],
    }  # fmt: skip
    rows = []
    for name in LAUE_CLASSES:
        group = _closure(generators[name])
        rows.append(np.tile(group, (EQUIVALENTS // len(group), 1, 1)))
    return np.array(rows)


@lru_cache(maxsize=1)
def laue_table() -> npt.NDArray[np.int64]:
    """int [9, 231] index into LAUE_CLASSES for a strain type and a space group (0: unknown)."""
    number = np.arange(231)
    third = np.isin(number, (149, 151, 153, 157, 159, 162, 163))
    trigonal = np.where(number < 149, "-3", np.where(third, "-31m", "-3m1"))
    hexagonal = np.where(number < 168, trigonal, np.where(number < 177, "6/m", "6/mmm"))
    by_kind = {
        "cubic": np.where(number < 207, "m-3", "m-3m"),
        "tetragonal": np.where(number < 89, "4/m", "4/mmm"),
        "hexagonal axes": hexagonal,
        "orthorhombic": np.full(231, "mmm"),
        "monoclinic, unique axis b": np.full(231, "2/m b"),
        "monoclinic, unique axis c": np.full(231, "2/m c"),
        "monoclinic, unique axis a": np.full(231, "2/m a"),
        "triclinic": np.full(231, "-1"),
        "rhombohedral axes": np.where(number < 149, "-3 r", "-3m r"),
    }
    table = np.array([[LAUE_CLASSES.index(n) for n in by_kind[name]] for name, _, _ in STRAIN_TYPES])
    table[:, 0] = 0
    return table


class Sample:
    """Draws samples for structures; `lines` of the main phase, `plain_lines` of impurities."""

    def __init__(self, config: SampleRanges, device: torch.device) -> None:
        self.config = config
        self._stretch = torch.tensor([s for _, s, _ in STRAIN_TYPES], device=device)
        self._shear = torch.tensor([s for _, _, s in STRAIN_TYPES], device=device)
        self._rotations = torch.as_tensor(laue_rotations(), device=device).to(torch.float32)
        self._laue = torch.as_tensor(laue_table(), device=device)
        self._axes = torch.tensor((AXES[0],) * 3 + AXES, dtype=torch.float32, device=device)

    def strained(self, random: CounterRandom, base: int, peaks: Peaks) -> Peaks:
        """The same with a reciprocal metric after an allowed strain; purposes base, base + 1."""
        config = self.config
        common = (random.uniform(base) * 2 - 1) * config.strain_common
        normal = random.normal(base + 1, 6).clamp_(-2.5, 2.5)
        axes, shear = normal[:, :3] * config.strain_axes, normal[:, 3:] * config.strain_shear
        stretch = 1 - common[:, None] - axes.gather(1, self._stretch[peaks.kind])
        tie = self._shear[peaks.kind]
        shear = shear.gather(1, tie.clamp(min=0)) * (tie >= 0)
        g = peaks.metric
        diagonal = g[:, :3] * stretch * stretch
        first, second = [1, 0, 0], [2, 2, 1]  # b*c*, a*c*, a*b*
        products = stretch[:, first] * stretch[:, second]
        root = diagonal.sqrt()
        off = g[:, 3:] * products + shear * root[:, first] * root[:, second]
        return replace(peaks, metric=torch.cat([diagonal, off], 1))

    def plain_lines(self, peaks: Peaks) -> Lines:
        """Lines of a perfect powder."""
        s = _inverse_d2(peaks).sqrt() * 0.5
        return Lines(s, peaks.strength, torch.zeros_like(s))

    def lines(
        self, random: CounterRandom, base: int, peaks: Peaks, wavelength: Tensor, anisotropy: Tensor | None
    ) -> Lines:
        """Lines of the main phase; purposes base to base + 9.

        wavelength: [B] angstrom (more grains reflect at low angles).
        anisotropy: [B] degrees at tan(theta) = 1 of the microstrain along its worst direction, or None.
        Only allowed peaks are ever scaled.
        """
        config = self.config
        inverse_d2 = _inverse_d2(peaks)
        s2 = inverse_d2 * 0.25
        table = Table(random, base, 16)
        exponent = -2 * table.between(*config.b_range)[:, None] * s2
        if config.intensity_sigma > 0:
            exponent += config.intensity_sigma * random.normal(base + 1, s2.shape[1])
        strength = peaks.strength
        contrast = table.between(*config.contrast)[:, None]
        if config.contrast != (1.0, 1.0):
            strength = strength.clamp(min=1e-30).pow(contrast) * (strength > 0)
        strength = strength * exponent.exp_()
        laue = self._rotations[self._laue[peaks.kind, peaks.space_group]]
        if config.texture_share > 0:
            strength = strength * self._texture(table, laue, peaks, inverse_d2)
        grains = table.log_between(*config.grains)
        spotty = table.chance(config.spotty_share)
        if config.spotty_share > 0:
            sine = (wavelength[:, None] * s2.sqrt()).clamp(max=1.0)
            number = multiplicity(peaks.hkl, laue) * grains[:, None] * 0.5 / sine
            sigma2 = torch.log1p(2 / number) * spotty[:, None]  # log-normal, mean 1, variance 2 / number
            factor = torch.exp(sigma2.sqrt() * random.normal(base + 2, s2.shape[1]) - 0.5 * sigma2)
            strength = strength * factor
        microstrain = torch.zeros_like(s2)
        if anisotropy is not None:
            axis = self._axes[(Table(random, base + 3, 1).uniform() * len(self._axes)).long()]
            # The root of a mean of fourth powers: a quartic form in hkl that has the Laue symmetry, as
            # Stephens' sum is, and never negative.
            microstrain = some(
                anisotropy > 0,
                lambda _, width, *args: width[:, None] * cosines2(*args).square_().mean(2).sqrt_(),
                microstrain, anisotropy, peaks.hkl, peaks.metric, inverse_d2, axis, laue,
            )  # fmt: skip
        return Lines(s2.sqrt(), strength, microstrain)

    def _texture(self, table: Table, laue: Tensor, peaks: Peaks, inverse_d2: Tensor) -> Tensor:
        config = self.config
        textured = table.chance(config.texture_share)
        two = table.chance(config.second_axis_share)
        factor = torch.ones_like(inverse_d2)
        for turn in range(2 if config.second_axis_share > 0 else 1):
            axis = self._axes[(table.uniform() * len(self._axes)).long()]
            r = torch.where(textured, torch.exp(config.texture_sigma * table.normal()), 1.0)
            before = 0.5 * turn  # with a second axis, half of the powder keeps the first
            factor = some(
                textured if turn == 0 else textured & two,
                lambda f, r, *args, before=before: (
                    before * f + (1 - before) * march_dollase(cosines2(*args), r)
                ),
                factor, r, peaks.hkl, peaks.metric, inverse_d2, axis, laue,
            )  # fmt: skip
        return factor


def _inverse_d2(peaks: Peaks) -> Tensor:
    """[B, P] 1/d^2 in 1/angstrom^2."""
    h, k, l_ = peaks.hkl.unbind(2)
    a, b, c, d, e, f = peaks.metric.T[:, :, None]
    inverse_d2 = h * (a * h + 2 * (f * k + e * l_)) + k * (b * k + 2 * d * l_) + c * l_ * l_
    return inverse_d2.clamp_(min=1e-8)


def _matrix(metric: Tensor) -> Tensor:
    """[B, 3, 3] of [B, 6]."""
    return metric[:, [0, 5, 4, 5, 1, 3, 4, 3, 2]].view(-1, 3, 3)


def cosines2(hkl: Tensor, metric: Tensor, inverse_d2: Tensor, axis: Tensor, laue: Tensor) -> Tensor:
    """[B, P, E] squared cosines between reflections and the equivalents of a reciprocal axis.

    hkl: [B, P, 3]. metric: [B, 6]. inverse_d2: [B, P]. axis: [B, 3] as hkl. laue: [B, E, 3, 3].
    """
    images = (axis[:, None, None] @ laue)[:, :, 0]
    along = images @ _matrix(metric)
    length2 = (along[:, 0] * images[:, 0]).sum(1)
    dots = hkl @ along.transpose(1, 2)
    return dots.square_().div_((inverse_d2 * length2[:, None])[:, :, None]).clamp_(max=1.0)


def march_dollase(cos2: Tensor, r: Tensor) -> Tensor:
    """[B, P] mean over equivalents of the March function (Dollase, J. Appl. Cryst. 19 (1986) 267).

    cos2: [B, P, E], overwritten. r: [B].
    """
    r = r[:, None, None]
    argument = cos2.mul_(r * r - 1 / r).add_(1 / r)
    return argument.rsqrt_().pow_(3).mean(2)


def multiplicity(hkl: Tensor, laue: Tensor) -> Tensor:
    """[B, P] number of reflections in each orbit, Friedel pairs counted."""
    # A number that names a reflection is linear in hkl, so all images come from one product; it is
    # exact in float32 for indices within +-127.
    weight = torch.tensor([1.0, 256.0, 65536.0], device=hkl.device)
    names = hkl @ (laue @ weight).transpose(1, 2)
    same = (names.abs() == (hkl @ weight).abs()[:, :, None]).sum(2)
    return (2.0 * EQUIVALENTS) / same.clamp(min=1)
