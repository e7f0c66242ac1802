"""What a training stream looks like: typed settings with their sources.

Four groups: which structures (`Sampling`), what becomes of them in a sample (`SampleRanges`), what
the diffractometer adds (`InstrumentRanges`), how it is counted and processed (`RecordingRanges`).
Stages of a curriculum are the functions at the end. Angles are degrees of 2-theta.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from eg_agent.errors import BadInput
from eg_agent.patterns.radiation import ANODES, CU_KALPHA1

Range = tuple[float, float]


def _check(group: Any, ranges: tuple[str, ...] = ()) -> None:
    """Shares (names in _share) lie in 0-1, ranges run upwards from 0 or more, the rest is not negative."""
    for item in fields(group):
        name, value = item.name, getattr(group, item.name)
        if name.endswith("_share"):
            if not 0.0 <= value <= 1.0:
                raise BadInput(f"{name} {value:g} is a share: give 0 to 1.")
        elif name in ranges:
            low, high = value
            if not 0.0 <= low <= high:
                raise BadInput(f"{name} {low:g} to {high:g} is no range: give low and high, 0 or more.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and not value >= 0.0:
            raise BadInput(f"{name} {value:g} must be 0 or more.")


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

    def __post_init__(self) -> None:
        if self.split not in ("train", "held_out"):
            raise BadInput(f"split {self.split!r} is unknown: 'train' or 'held_out'.")
        _check(self)


@dataclass(frozen=True)
class Lamp:
    """A radiation: share of patterns, wavelength and K-alpha2 (0: none) in angstrom.

    polarised: a synchrotron in vertical geometry (no polarisation factor). width: factor on the peak
    widths. wavelength_max: above 0 the wavelength is drawn between the two, uniform in its logarithm (a
    tunable source). beta: wavelength of K-beta, angstrom, 0 for none. monochromator: cos^2 of twice the
    Bragg angle of a crystal monochromator, 1 for none, which the share `monochromator_share` has.
    capillary_share: of patterns in transmission or from a capillary: displacement shifts as sin(2 theta), and
    there is no transparency, overspill or roughness. axial: factor on the axial divergence.
    """

    share: float
    wavelength: float
    wavelength2: float = 0.0
    polarised: bool = False
    width: float = 1.0
    wavelength_max: float = 0.0
    beta: float = 0.0
    monochromator: float = 1.0
    monochromator_share: float = 0.0
    capillary_share: float = 0.0
    axial: float = 1.0

    def __post_init__(self) -> None:
        _check(self)
        for length in (self.wavelength, self.wavelength2, self.wavelength_max, self.beta):
            if length and not 0.1 <= length <= 5.0:
                raise BadInput(f"wavelength {length:g} is not between 0.1 and 5 angstrom.")
        if not self.wavelength or 0 < self.wavelength_max < self.wavelength:
            raise BadInput("a lamp needs a wavelength, and wavelength_max (if any) must not be below it.")
        if not self.width > 0 or self.monochromator > 1:
            raise BadInput("a lamp's width must be above 0, and monochromator a squared cosine: 0 to 1.")


CU_MONOCHROMATIC = (Lamp(1.0, CU_KALPHA1),)

#: Range (uniform) of the angle below which the beam is longer than the sample, degrees of 2-theta.
OVERSPILL = (8.0, 24.0)


@dataclass(frozen=True)
class SampleRanges:
    """Distributions of everything between a structure and the peaks of a sample.

    strain_common, strain_axes: largest common stretch (uniform) and standard deviation of the
      independent stretches that the system allows; strain_shear: of the angles, radians.
    intensity_sigma: standard deviation of ln of a factor on each allowed peak (wrong atoms, wrong
      occupancies). Forbidden peaks stay absent under everything here.
    contrast: range of the power to which |F|^2 m is raised: above 1 makes weak peaks rarer.
    b_range: isotropic B added, angstrom^2.
    texture_share, texture_sigma: March-Dollase with ln r normal about a low-index axis, averaged over
      all symmetry equivalents; second_axis_share: of these, with another axis and r for half the powder.
    spotty_share, grains: share with few grains, and range (log-uniform) of the number of grains that
      reflect for multiplicity 1 at 60 degrees of 2-theta; as with `simulators.specimen.Grains` the number
      grows with multiplicity and as 1 / sin(theta), and the relative variance is 2 over it.
    impurity_share: with one impurity phase at least; impurity_more_share: of these with a second, of
      those with a third. impurity_max: largest height of its strongest peak against the main phase's
      (the square of a uniform number times this).
    """

    strain_common: float = 0.035
    strain_axes: float = 0.012
    strain_shear: float = 0.015
    intensity_sigma: float = 0.3
    contrast: Range = (1.0, 1.0)
    b_range: Range = (0.0, 1.5)
    texture_share: float = 0.3
    texture_sigma: float = 0.25
    second_axis_share: float = 0.2
    spotty_share: float = 0.15
    grains: Range = (3.0, 300.0)
    impurity_share: float = 0.4
    impurity_more_share: float = 0.3
    impurity_max: float = 0.1

    def __post_init__(self) -> None:
        _check(self, ("contrast", "b_range", "grains"))
        if self.grains[0] <= 0 or self.contrast[0] <= 0:
            raise BadInput("grains and contrast must be above 0.")


@dataclass(frozen=True)
class InstrumentRanges:
    """Distributions of what the diffractometer does to peaks. Widths and shifts in measured 2-theta.

    lamps; doublet_declared_share: of doublets whose mean wavelength the user knew (the others declared
      K-alpha1). beta_share, beta_max: patterns with a K-beta remnant and its largest height;
      tungsten_share: of these with W L-alpha of an old tube instead.
    fwhm_median, fwhm_sigma, fwhm_range: log-normal width at low angle, degrees.
    caglioti: largest growth of the Gaussian width, U / W. lorentz: range of the Lorentzian share;
      lorentz_growth: Y / X of its strain part (width grows as X / cos + Y tan).
    anisotropy_share, anisotropy: patterns with anisotropic microstrain (Stephens) and the range (uniform)
      of its width at tan(theta) = 1 along the worst direction, degrees.
    axial: range of (S + H) / L of the axial divergence (Finger, Cox and Jephcoat), sample and detector
      slit half heights against the radius; axial_ratio: range of S / (S + H).
    transparency: range of 180 / (2 pi mu R), degrees: a thick sample's lines trail to low angles with a
      mean of this times sin(2 theta).
    zero, displacement: standard deviations of shift and of shift / cos(theta), degrees.
    overspill_share: whose low angles lose beam beside the sample (`OVERSPILL`). roughness_share, roughness:
      with surface roughness (Suortti, as GSAS scales it), range of p, what is left at grazing angle;
      roughness_depth: range of q.
    """

    lamps: tuple[Lamp, ...] = CU_MONOCHROMATIC
    doublet_declared_share: float = 0.5
    beta_share: float = 0.15
    beta_max: float = 0.01
    tungsten_share: float = 0.25
    fwhm_median: float = 0.11
    fwhm_sigma: float = 0.5
    fwhm_range: Range = (0.05, 0.5)
    caglioti: float = 1.5
    lorentz: Range = (0.0, 1.0)
    lorentz_growth: float = 1.5
    anisotropy_share: float = 0.2
    anisotropy: Range = (0.0, 0.3)
    axial: Range = (0.0, 0.07)
    axial_ratio: Range = (0.3, 0.7)
    transparency: Range = (0.0, 0.02)
    zero: float = 0.04
    displacement: float = 0.07
    overspill_share: float = 0.25
    roughness_share: float = 0.2
    roughness: Range = (0.3, 1.0)
    roughness_depth: Range = (0.01, 0.2)

    def __post_init__(self) -> None:
        if not self.lamps or not sum(lamp.share for lamp in self.lamps) > 0:
            raise BadInput("a stream needs at least one lamp with a share above 0: set lamps.")
        ranges = ("fwhm_range", "lorentz", "anisotropy", "axial", "axial_ratio", "transparency")
        _check(self, (*ranges, "roughness", "roughness_depth"))
        if self.fwhm_median <= 0 or self.fwhm_range[0] <= 0:
            raise BadInput("widths must be above 0 degrees: set fwhm_median and fwhm_range.")
        if self.lorentz[1] > 1 or self.axial_ratio[1] > 1 or self.roughness[1] > 1:
            raise BadInput("lorentz, axial_ratio and roughness are shares: give values up to 1.")
        if self.axial[1] > 0.3:
            raise BadInput(f"axial {self.axial[1]:g} is (S + H) / L: give 0 to 0.3.")


@dataclass(frozen=True)
class RecordingRanges:
    """Distributions of background, counting and what people do with the data.

    background_median, background_sigma: log-normal level against the highest peak (0: none).
    chebyshev: standard deviation of the coefficients of T1 to T4 against the level. gp_sigma, gp_length:
      Gaussian process against the level, squared-exponential kernel, range of its length in degrees.
    air: largest air scatter at 5 degrees against the level (level times the square of a uniform number);
      air_power: range of its fall with 2-theta. hump_share, hump: with an amorphous hump (two draws),
      largest height against the level.
    counts: range of the counts at the maximum, log-uniform; None for noise-free patterns.
    dead_time: range of the share of counts lost at the maximum. saturation_share: whose highest peaks
      are cut off (at 50 to 100 % of the maximum).
    coarse_share, coarse_step: measured in steps wider than the grid's, range in grid steps.
    cell: range of the share of a point's counts that each neighbour on the grid has too, where steps are
      finer than the grid's: a grid point is the mean of a cell (`eg_agent.patterns.Grid.project`).
    smooth_share: interpolated or smoothed over neighbouring points.
    subtract_share: whose background was subtracted, as in archives; estimated_share: of these by an
      estimate from the pattern (SNIP), the others by the true one with an error of 3 %; clip_share: of
      these, with negative values set to 0; the others keep them.
    envelope_share: of the subtracted, whose background ran along the lower edge of the noise, as that of
      rolling balls and peak clipping does; envelope: range of its distance below the middle, in standard
      deviations of the background's noise. The noise then stands on an offset and is hardly ever clipped.
    offset_share: of the rest, whose minimum was subtracted.
    full_range_share, start, end: share of full patterns; else ranges of both ends, degrees on the grid.
    """

    background_median: float = 0.03
    background_sigma: float = 1.1
    chebyshev: float = 0.3
    gp_sigma: float = 0.2
    gp_length: Range = (12.0, 30.0)
    air: float = 4.0
    air_power: Range = (1.0, 2.5)
    hump_share: float = 0.2
    hump: float = 3.0
    counts: Range | None = (1e2, 1e5)
    dead_time: Range = (0.0, 0.03)
    saturation_share: float = 0.01
    coarse_share: float = 0.35
    coarse_step: Range = (1.0, 2.5)
    cell: Range = (0.0, 0.0)
    smooth_share: float = 0.25
    subtract_share: float = 0.5
    estimated_share: float = 0.4
    clip_share: float = 0.85
    envelope_share: float = 0.0
    envelope: Range = (1.8, 4.0)
    offset_share: float = 0.1
    full_range_share: float = 0.5
    start: Range = (5.0, 20.0)
    end: Range = (50.0, 90.0)

    def __post_init__(self) -> None:
        _check(
            self, ("gp_length", "air_power", "dead_time", "coarse_step", "cell", "envelope", "start", "end")
        )
        if self.counts is not None and not 0 < self.counts[0] <= self.counts[1]:
            raise BadInput(f"counts {self.counts} must be above 0, low before high, or None for no noise.")
        if self.coarse_step[0] < 1 or self.coarse_step[1] > 10:
            raise BadInput(f"coarse_step {self.coarse_step} is in grid steps: give 1 to 10.")
        if self.cell[1] > 1 / 3:
            raise BadInput(f"cell {self.cell} is the share of one of three points: give up to 1/3.")
        if self.dead_time[1] >= 1 or self.gp_length[0] <= 0:
            raise BadInput("dead_time is a share below 1, and gp_length must be above 0 degrees.")
        if self.start[0] >= self.end[1]:
            raise BadInput(f"a range from {self.start} to {self.end} degrees is empty.")


@dataclass(frozen=True)
class StreamConfig:
    """Everything that a stream draws from, but its seed and grid."""

    sampling: Sampling = field(default_factory=Sampling)
    sample: SampleRanges = field(default_factory=SampleRanges)
    instrument: InstrumentRanges = field(default_factory=InstrumentRanges)
    recording: RecordingRanges = field(default_factory=RecordingRanges)


#: cos^2(2 theta_m) of pyrolytic graphite (002), d = 3.354 angstrom, with Cu K-alpha.
GRAPHITE_CU = 0.80


def _anode(
    element: str, share: float, width: float = 1.0, capillary_share: float = 0.1, axial: float = 1.0
) -> Lamp:
    first, second, beta = ANODES[element]
    return Lamp(
        share, first, second, width=width, beta=beta, monochromator=GRAPHITE_CU,
        monochromator_share=0.3, capillary_share=capillary_share, axial=axial,
    )  # fmt: skip


def _clean_sample() -> SampleRanges:
    return SampleRanges(
        intensity_sigma=0.0,
        b_range=(0.0, 0.5),
        texture_share=0.0,
        spotty_share=0.0,
        impurity_share=0.0,
    )


def _clean_instrument() -> InstrumentRanges:
    return InstrumentRanges(
        beta_share=0.0,
        fwhm_median=0.1,
        fwhm_sigma=0.15,
        fwhm_range=(0.07, 0.15),
        lorentz=(0.0, 0.3),
        anisotropy_share=0.0,
        axial=(0.0, 0.0),
        transparency=(0.0, 0.0),
        zero=0.0,
        displacement=0.0,
        overspill_share=0.0,
        roughness_share=0.0,
    )


def _clean_recording() -> RecordingRanges:
    return RecordingRanges(
        background_median=0.0,
        counts=None,
        dead_time=(0.0, 0.0),
        saturation_share=0.0,
        coarse_share=0.0,
        smooth_share=0.0,
        subtract_share=0.0,
        offset_share=0.0,
        full_range_share=1.0,
    )


def stage1() -> StreamConfig:
    """Balanced and clean: uniform over the 99 groups, one wavelength, no noise, background or second phase.

    After stage 1 of arXiv:2604.23811 (balanced synthetic patterns); strain is kept, because without it
    the network learns cells by heart. Widths: the 5-95 % range of its stage 2.
    """
    return StreamConfig(
        Sampling(real=0.5, random=0.5, molecular=0.0, uniform_groups=True),
        _clean_sample(),
        _clean_instrument(),
        _clean_recording(),
    )


def texture() -> StreamConfig:
    """Clean patterns of textured powders: stage 1 with March-Dollase r of 0.67 to 1.52 (5-95 %).

    The texture-only stage of arXiv:2604.23811, whose network was the best of its measured patterns;
    its median r of 1.0 and percentiles make ln r normal with standard deviation 0.25.
    """
    clean = stage1()
    return replace(
        clean, sample=replace(clean.sample, texture_share=1.0, texture_sigma=0.25, second_axis_share=0.0)
    )


def stage2() -> StreamConfig:
    """Realistic laboratory patterns, as archives and beamlines hold them.

    Sources of the distributions, group by group:

    Sample. Strain to 6 %: computed cells are 1-3 % off measured ones (Materials Project), the rest
    keeps cells from being learned by heart. March r 0.67-1.52 at 5-95 % and impurities to 10 %: stage 2
    of arXiv:2604.23811. Grains in reflecting position: of 10 um grains some hundreds reflect in
    a still laboratory sample (Smith, Adv. X-ray Anal. 35 (1992) 1; 1 um: thousands); shares are choices.

    "Half A" is the half of the measured compounds whose statistics without labels may shape this stage
    (docs/decisions/0007-statistics-of-half-a.md); how near it comes to the other half is drawn in
    docs/explanations/domain-gap.md.

    Instrument. Widths: the RRUFF archive has 0.08-0.10 degrees at the median and 0.18 at 95 %
    (analysis in arXiv:2604.23811), half A 0.12 with K-alpha2 and 0.07-0.18 at 10-90 %; mixtures and fine
    powders reach 0.5 (precursor mixtures of the dara project). Lorentzian shares of 0.3 and more and a
    slow growth with angle: half A (full width at a fifth 1.76 times the FWHM at the median; a Gaussian
    has 1.52; FWHM at 55-85 degrees as at 12-35). (S + H) / L up to 0.07: Soller slits of 2.3 to 5
    degrees full opening, as FCJ refinements give them (Finger, Cox and Jephcoat, J. Appl. Cryst. 27
    (1994) 892 refine 0.02-0.06); at synchrotrons as in `beamline`, with Mo up to 0.03, as its lines lie too
    low for more.
    Transparency up to 0.02 degrees: mu above 60 / cm at R = 240 mm, oxides and most minerals;
    organics are measured in transmission. Zero shift and displacement of 0.1 degree together: what
    Rietveld refinements of laboratory data usually report. Microstrain anisotropy to 0.3 degrees at
    tan(theta) = 1: half of Stephens' examples (J. Appl. Cryst. 32 (1999) 281). K-alpha2 at half of
    K-alpha1 by statistical weights. K-beta to 1 %: what a nickel filter of 15-20 um leaves.
    Shares of the lamps are a choice.

    Recording. Background 7 % of the area at the median and 62 % at 75 % (RRUFF, there too): archives
    mix subtracted patterns with raw ones, and so does this. Gaussian process of length near 21
    degrees: there too. Counts 80 to 8e4 at the maximum: quick scans to careful ones, noise of 0.05 to
    1.3 % of the highest line at 10-90 % of half A. Dead time: strip detectors lose 1-5 % at 1e5-1e6
    counts a second. Subtraction along the lower edge of the noise: in half A hardly a point is zero
    although most backgrounds were taken away, as rolling balls and peak clipping leave it (Sonneveld and
    Visser, J. Appl. Cryst. 8 (1975) 1; Morhac et al., 1997). Steps of 0.005-0.02 degrees, from which a
    grid point becomes a mean (neighbours' correlation of half A), an eighth with wider ones; three
    quarters of full range (nine tenths in half A, which has few beamlines in it).
    """
    return StreamConfig(
        instrument=InstrumentRanges(
            lamps=(
                _anode("Cu", 0.60),
                Lamp(0.18, CU_KALPHA1),
                _anode("Co", 0.06),
                _anode("Mo", 0.04, width=0.7, capillary_share=0.6, axial=0.4),
                _anode("Fe", 0.01),
                _anode("Cr", 0.01),
                Lamp(
                    0.10, 0.4, wavelength_max=1.3, polarised=True, width=0.3, capillary_share=1.0, axial=0.15
                ),
            ),
            fwhm_median=0.09,
            lorentz=(0.3, 1.0),
            lorentz_growth=1.0,
            caglioti=1.0,
        ),
        recording=RecordingRanges(
            background_median=0.03,
            chebyshev=0.2,
            air=3.0,
            counts=(80.0, 8e4),
            coarse_share=0.12,
            cell=(0.04, 0.09),
            smooth_share=0.08,
            subtract_share=0.65,
            estimated_share=0.1,
            envelope_share=0.9,
            envelope=(1.8, 4.0),
            clip_share=0.9,
            full_range_share=0.75,
        ),
    )


def beamline() -> StreamConfig:
    """Synchrotron powder patterns: narrow lines at 0.4-1.2 angstrom, high counts, few grains, short ranges.

    Widths of 0.03 to 0.12 degrees of Cu-equivalent 2-theta (a tenth to a third of that as measured): flat
    detectors of 75-200 um pixels at 0.2-1 m; analyser crystals are narrower than the grid resolves.
    Axial divergence is small (S + H) / L up to 0.01; capillary holders (amorphous humps) often; grains
    few, as spots of 0.1 mm light little powder (a choice), and ranges end at 20-60 degrees
    Cu-equivalent, as flat detectors do. Counts 1e3-1e6 after azimuthal integration.
    """
    return StreamConfig(
        sample=SampleRanges(spotty_share=0.6, grains=(2.0, 200.0), texture_share=0.4),
        instrument=InstrumentRanges(
            lamps=(Lamp(1.0, 0.4, wavelength_max=1.2, polarised=True, width=0.3, capillary_share=1.0),),
            beta_share=0.0,
            fwhm_median=0.09,
            fwhm_sigma=0.4,
            fwhm_range=(0.03, 0.3),
            caglioti=1.0,
            axial=(0.0, 0.01),
            transparency=(0.0, 0.0),
            zero=0.01,
            displacement=0.01,
            overspill_share=0.0,
            roughness_share=0.0,
        ),
        recording=RecordingRanges(
            background_median=0.05,
            air=6.0,
            hump_share=0.4,
            counts=(1e3, 1e6),
            dead_time=(0.0, 0.01),
            saturation_share=0.03,
            coarse_share=0.6,
            subtract_share=0.4,
            full_range_share=0.2,
            start=(5.0, 14.0),
            end=(35.0, 90.0),
        ),
    )
