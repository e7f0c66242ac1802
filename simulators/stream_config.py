"""What a training stream looks like: typed settings, one function a stage of the curriculum.

All angles are degrees of 2-theta on the canonical axis (equivalent to Cu K-alpha1) unless said.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from eg_agent.errors import BadInput
from eg_agent.patterns.radiation import ANODES, CU_KALPHA1


@dataclass(frozen=True)
class Sampling:
    """Which structure a pattern comes from.

    real, random, molecular: shares of the three kinds; kinds that the corpus lacks give theirs away.
    group_power: a group's mass among real structures is its (weighted) count to this power: 1 as
    they come, 0 uniform over groups. mineral_weight: how many computed structures a mineral counts.
    uniform_groups: finally rescale so that all groups are equally likely.
    split: "train", or "held_out" for formulas never trained on.
    """

    real: float = 0.65
    random: float = 0.25
    molecular: float = 0.10
    group_power: float = 0.5
    mineral_weight: float = 3.0
    uniform_groups: bool = False
    split: str = "train"


@dataclass(frozen=True)
class Lamp:
    """A radiation: share of patterns, wavelength and K-alpha2 (0: none) in angstrom, polarised or not.

    width: factor on the peak widths.
    """

    share: float
    wavelength: float
    wavelength2: float = 0.0
    polarised: bool = False
    width: float = 1.0


CU_MONOCHROMATIC = (Lamp(1.0, CU_KALPHA1),)


@dataclass(frozen=True)
class StreamConfig:
    """Distributions of everything between a structure and its pattern.

    Crystal
      strain_common, strain_axes: largest common stretch (uniform) and standard deviation of the
        independent stretches that the system allows; strain_shear: of the angles, radians.
      intensity_sigma: standard deviation of ln of a factor on each allowed peak (wrong atoms, wrong
        occupancies, graininess). Forbidden peaks stay absent.
      b_range: isotropic B added, angstrom^2. texture_share, texture_sigma: March-Dollase with ln r normal.
      impurity_share, impurity_max: share with a second phase; its strongest peak against the first's.
    Instrument
      lamps; doublet_declared: share of doublets whose mean wavelength the user knew (the others
        declared K-alpha1).
      fwhm_median, fwhm_sigma, fwhm_range: log-normal width at low angle, degrees of measured 2-theta.
      caglioti: largest growth of the Gaussian width (U/W). lorentz: range of the Lorentzian share.
      asymmetry: largest low-angle tail at 20 degrees. zero, displacement: standard deviations, degrees.
      overspill_share: share whose low angles lose beam beside the sample.
    Recording
      background_median, background_sigma: log-normal background against the highest peak.
      air, hump_share: air scatter at 5 degrees against the background, share with amorphous humps.
      counts: range of the counts at the maximum, log-uniform; none for noise-free patterns.
      subtract_share: share whose background was subtracted, as in archives; clip_share: share of
        these whose negative values were set to 0.
      smooth_share: share interpolated or smoothed over neighbouring points.
      full_range_share, start, end: share of full patterns; else ranges of both ends, degrees.
    """

    sampling: Sampling = field(default_factory=Sampling)
    strain_common: float = 0.035
    strain_axes: float = 0.012
    strain_shear: float = 0.015
    intensity_sigma: float = 0.3
    b_range: tuple[float, float] = (0.0, 1.5)
    texture_share: float = 0.3
    texture_sigma: float = 0.25
    impurity_share: float = 0.4
    impurity_max: float = 0.1
    lamps: tuple[Lamp, ...] = CU_MONOCHROMATIC
    doublet_declared: float = 0.5
    fwhm_median: float = 0.11
    fwhm_sigma: float = 0.5
    fwhm_range: tuple[float, float] = (0.05, 0.5)
    caglioti: float = 1.5
    lorentz: tuple[float, float] = (0.0, 1.0)
    asymmetry: float = 0.03
    zero: float = 0.04
    displacement: float = 0.07
    overspill_share: float = 0.25
    background_median: float = 0.03
    background_sigma: float = 1.1
    air: float = 4.0
    hump_share: float = 0.2
    counts: tuple[float, float] | None = (1e2, 1e5)
    subtract_share: float = 0.5
    clip_share: float = 0.85
    smooth_share: float = 0.25
    full_range_share: float = 0.5
    start: tuple[float, float] = (5.0, 20.0)
    end: tuple[float, float] = (50.0, 90.0)

    def __post_init__(self) -> None:
        shares = ("texture_share", "impurity_share", "overspill_share", "hump_share", "subtract_share")
        for name in (*shares, "clip_share", "smooth_share", "full_range_share", "doublet_declared"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise BadInput(f"{name} {getattr(self, name):g} is a share: give 0 to 1.")
        for name in ("b_range", "fwhm_range", "lorentz", "start", "end"):
            low, high = getattr(self, name)
            if not 0.0 <= low <= high:
                raise BadInput(f"{name} {low:g} to {high:g} is no range: give low and high, 0 or more.")
        if self.fwhm_median <= 0 or self.fwhm_range[0] <= 0:
            raise BadInput("widths must be above 0 degrees: set fwhm_median and fwhm_range.")
        if self.counts is not None and not 0 < self.counts[0] <= self.counts[1]:
            raise BadInput(f"counts {self.counts} must be above 0, low before high, or None for no noise.")
        if not self.lamps:
            raise BadInput("a stream needs at least one lamp: set lamps.")


def stage1() -> StreamConfig:
    """Balanced and clean: uniform over the 99 groups, one wavelength, no noise, background or second phase.

    After stage 1 of arXiv:2604.23811 (balanced synthetic patterns); strain is kept, because without it
    the network learns cells by heart. Widths: the 5-95 % range of its stage 2.
    """
    return StreamConfig(
        sampling=Sampling(real=0.5, random=0.5, molecular=0.0, uniform_groups=True),
        intensity_sigma=0.0,
        b_range=(0.0, 0.5),
        texture_share=0.0,
        impurity_share=0.0,
        fwhm_median=0.1,
        fwhm_sigma=0.15,
        fwhm_range=(0.07, 0.15),
        lorentz=(0.0, 0.3),
        asymmetry=0.0,
        zero=0.0,
        displacement=0.0,
        overspill_share=0.0,
        background_median=0.0,
        counts=None,
        subtract_share=0.0,
        smooth_share=0.0,
        full_range_share=1.0,
    )


def stage2() -> StreamConfig:
    """Realistic laboratory patterns, as archives and beamlines hold them.

    Sources. Strain to 6 %: computed cells are 1-3 % off measured ones (Materials Project), the rest
    keeps cells from being learned by heart. Widths: the RRUFF archive has 0.08-0.10 degrees at the
    median and 0.18 at 95 % (analysis in arXiv:2604.23811); mixtures and fine powders reach 0.5 (the
    series of precursor mixtures of the dara project). Background 7 % of the area at the median and
    62 % at 75 % (RRUFF, there too): archives mix subtracted patterns with raw ones, and so does this.
    Zero shift and displacement of 0.1 degree together: what Rietveld refinements of laboratory data
    usually report. March r 0.67-1.52 at 5-95 % and impurities to 10 %: stage 2 of arXiv:2604.23811.
    Counts 1e2-1e5 at the maximum: quick scans to careful ones. K-alpha2 at half of K-alpha1 by
    statistical weights. Shares of the lamps, of subtraction and of partial ranges are choices.
    """
    return StreamConfig(
        lamps=(
            Lamp(0.62, *ANODES["Cu"][:2]),
            Lamp(0.18, CU_KALPHA1),
            Lamp(0.07, *ANODES["Co"][:2]),
            Lamp(0.04, *ANODES["Mo"][:2], width=0.7),
            Lamp(0.05, 0.82, polarised=True, width=0.35),
            Lamp(0.04, 0.41, polarised=True, width=0.2),
        )
    )
