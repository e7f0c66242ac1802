"""Specimens: how crystallites lie, their size and strain, how many there are, what is among them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from simulators.background import Background
from simulators.crystal import Crystal, Operations, metric
from simulators.stephens import AnisotropicStrain

FloatArray = npt.NDArray[np.float64]

#: More foreign phases than this are no impurities but a mixture.
MOST_IMPURITIES = 3


@dataclass(frozen=True)
class Texture:
    """March-Dollase preferred orientation (Dollase, J. Appl. Cryst. 19 (1986) 267).

    axis: hkl of the planes that lie along the specimen's normal. r: 1 for none, below 1 for plates
    lying flat in reflection, above 1 for needles. share: of the crystallites that are so oriented; what
    several textures leave of 1 lies at random.
    """

    axis: tuple[int, int, int] = (0, 0, 1)
    r: float = 1.0
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.r < math.inf:
            raise BadInput(f"March r {self.r:g} must be above 0 (1 is no texture).")
        if not any(self.axis):
            raise BadInput("the texture axis 0 0 0 is no direction.")
        if not 0 <= self.share <= 1:
            raise BadInput(f"the share {self.share:g} of a texture is not between 0 and 1.")

    def factors(
        self, cell: tuple[float, ...], operations: Operations, hkl: npt.NDArray[np.int64]
    ) -> FloatArray:
        """Factor [k] on the intensity of each orbit, averaged over its members under the Laue class.

        share is left out: `texture_factors` mixes several.
        """
        g_star = np.linalg.inv(metric(cell))
        axis = np.array(self.axis, dtype=np.float64)
        images = np.einsum("kj,njl->knl", hkl.astype(np.float64), operations.laue_rotations)
        along = np.einsum("knl,lm,m->kn", images, g_star, axis)
        length2 = np.einsum("kj,jl,kl->k", hkl.astype(np.float64), g_star, hkl.astype(np.float64))
        cos2 = np.minimum(along**2 / (length2[:, None] * (axis @ g_star @ axis)), 1.0)
        return march(cos2, self.r).mean(axis=1)


def march(cos2: FloatArray, r: float) -> FloatArray:
    """March's density of plane normals at angles of squared cosine cos2 from the axis; its mean is 1."""
    return (r**2 * cos2 + (1 - cos2) / r) ** -1.5


def texture_factors(
    textures: tuple[Texture, ...],
    cell: tuple[float, ...],
    operations: Operations,
    hkl: npt.NDArray[np.int64],
) -> FloatArray:
    """Factor [k] on the intensity of each orbit hkl [k, 3]: textures by their shares, the rest random."""
    total = np.full(len(hkl), 1.0 - sum(texture.share for texture in textures))
    for texture in textures:
        total += texture.share * texture.factors(cell, operations, hkl)
    return total


@dataclass(frozen=True)
class Broadening:
    """What crystallites add to the width of an instrument's lines.

    size: mean column length, angstrom, or none for no broadening: Scherrer's width 0.9 lambda / (size cos)
    (full width at half maximum, shape factor 0.9). strain: Stokes and Wilson's apparent strain, a
    relative spread of spacings: width 4 strain tan (Proc. Phys. Soc. 56 (1944) 174).
    Both are Lorentzian but for the Gaussian share `gaussian`. anisotropic: Stephens' terms, or none.
    """

    size: float | None = None
    strain: float = 0.0
    gaussian: float = 0.0
    anisotropic: AnisotropicStrain | None = None

    def __post_init__(self) -> None:
        if self.size is not None and not self.size > 0:
            raise BadInput(
                f"a crystallite size of {self.size:g} angstrom is none: give more than 0, or none."
            )
        if not 0 <= self.strain < 0.1:
            raise BadInput(f"strain {self.strain:g} is no relative spread of spacings: 0 to 0.1.")
        if not 0 <= self.gaussian <= 1:
            raise BadInput(f"the Gaussian share {self.gaussian:g} is not between 0 and 1.")

    def widths(
        self,
        two_theta: FloatArray,
        wavelength: float,
        cell: tuple[float, ...],
        operations: Operations,
        hkl: npt.NDArray[np.int64],
    ) -> tuple[FloatArray, FloatArray]:
        """Gaussian and Lorentzian full widths [k] of reflections hkl [k, 3] at angles [k], degrees.

        Gaussian widths add to the instrument's in squares, Lorentzian ones linearly.
        """
        theta = np.radians(two_theta) / 2
        isotropic = 4 * self.strain * np.tan(theta)
        if self.size is not None:
            isotropic = isotropic + 0.9 * wavelength / (self.size * np.cos(theta))
        isotropic = np.degrees(isotropic)
        gauss, lorentz = self.gaussian * isotropic, (1 - self.gaussian) * isotropic
        if self.anisotropic is not None:
            terms = self.anisotropic
            width = np.degrees(terms.spread(cell, operations, hkl) * np.tan(theta))
            gauss = np.hypot(gauss, terms.gaussian * width)
            lorentz = lorentz + (1 - terms.gaussian) * width
        return gauss, lorentz


@dataclass(frozen=True)
class Grains:
    """Few-crystallite statistics: spotty rings (De Wolff, Appl. Sci. Res. B 7 (1958) 102).

    number: crystallites in reflecting position for a reflection of multiplicity 1 at 60 degrees of
    2-theta; it grows with the multiplicity and as 1/sin(theta) (share of a cone that a slit sees, times
    crystallites on the cone). spread: relative standard deviation of their volumes. seed: which draw.
    Relative variance of an intensity: (1 + spread^2) / number of crystallites.
    """

    number: float
    spread: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.number > 0 and 0 <= self.spread < math.inf):
            raise BadInput(
                f"{self.number:g} grains with spread {self.spread:g}: give a number above 0, a spread >= 0."
            )

    def expected(self, multiplicity: npt.NDArray[np.int64], theta: FloatArray) -> FloatArray:
        """Mean number [k] of crystallites that reflect, at Bragg angles theta [k] (radians)."""
        return self.number * multiplicity * 0.5 / np.sin(theta)

    def factors(self, multiplicity: npt.NDArray[np.int64], theta: FloatArray, phase: int = 0) -> FloatArray:
        """Factor [k] of mean 1 on each intensity: Poisson numbers of grains of gamma-distributed volume.

        phase: tells phases of one specimen apart.
        """
        rng = np.random.default_rng([0x96A1, self.seed, phase])
        mean = self.expected(multiplicity, theta)
        count = rng.poisson(mean).astype(np.float64)
        if self.spread > 0:
            shape = self.spread**-2
            count = np.where(count > 0, rng.gamma(np.maximum(count, 1) * shape) / shape, 0.0)
        return count / mean


@dataclass(frozen=True)
class Roughness:
    """Low intensities at low angles by a rough or porous surface, flat sample in reflection.

    Factor (p + (1 - p) exp(-q / sin(theta))) / (p + (1 - p) exp(-q)) (Suortti, J. Appl. Cryst. 5 (1972)
    325, as scaled by GSAS to 1 at theta = 90 degrees). p: what is left at theta = 0. q: depth, 0 for none.
    """

    p: float = 1.0
    q: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.p <= 1 and 0 <= self.q < 20):
            raise BadInput(f"roughness p={self.p:g}, q={self.q:g}: p is 0 to 1 and q 0 to 20.")

    def factor(self, theta: npt.ArrayLike) -> FloatArray:
        """Factor at Bragg angles theta in radians."""
        sine = np.sin(np.asarray(theta, dtype=np.float64))
        return (self.p + (1 - self.p) * np.exp(-self.q / sine)) / (self.p + (1 - self.p) * math.exp(-self.q))


@dataclass(frozen=True, eq=False)
class Impurity:
    """A foreign phase: its crystal, and the height of its strongest peak against the main phase's."""

    crystal: Crystal
    share: float
    textures: tuple[Texture, ...] = ()
    broadening: Broadening | None = None  #: none takes size and strain of the main phase

    def __post_init__(self) -> None:
        if not 0 <= self.share < math.inf:
            raise BadInput(f"impurity {self.crystal.name!r} has a share of {self.share:g}: give 0 or more.")
        check_shares(self.textures)


def check_shares(textures: tuple[Texture, ...]) -> None:
    """Raise BadInput for more than two textures, or shares of more than 1 together."""
    if len(textures) > 2:
        raise BadInput(f"{len(textures)} textures: a specimen has one or two.")
    total = sum(texture.share for texture in textures)
    if total > 1 + 1e-9:
        raise BadInput(f"the shares of the textures sum to {total:g}: give 1 at the most.")


@dataclass(frozen=True, eq=False)
class Specimen:
    """What lies on the sample holder besides the perfect powder.

    texture: preferred orientation, one or two directions, or none. impurities: up to three other phases:
    `Impurity`, or (crystal, height of the strongest peak against the main phase's). background: slow
    parts. broadening: size and strain. grains: few-crystallite statistics, or none. roughness: of the
    surface. mu_r: absorption coefficient times radius of a capillary, or of half the thickness of a flat
    sample in transmission; 0 for none.
    """

    texture: Texture | tuple[Texture, ...] | None = None
    impurities: tuple[Impurity | tuple[Crystal, float], ...] = ()
    background: Background = field(default_factory=Background)
    broadening: Broadening = field(default_factory=Broadening)
    grains: Grains | None = None
    roughness: Roughness | None = None
    mu_r: float = 0.0

    def __post_init__(self) -> None:
        check_shares(self.textures)
        if len(self.impurities) > MOST_IMPURITIES:
            raise BadInput(f"{len(self.impurities)} impurities: a specimen has up to {MOST_IMPURITIES}.")
        _ = self.phases
        if not 0 <= self.mu_r <= 10:
            raise BadInput(f"mu_r {self.mu_r:g} is no absorption coefficient times radius: 0 to 10.")

    @property
    def textures(self) -> tuple[Texture, ...]:
        """The textures, none, one or two."""
        if self.texture is None:
            return ()
        return (self.texture,) if isinstance(self.texture, Texture) else tuple(self.texture)

    @property
    def phases(self) -> tuple[Impurity, ...]:
        """The impurities, each as `Impurity`."""
        return tuple(i if isinstance(i, Impurity) else Impurity(*i) for i in self.impurities)
