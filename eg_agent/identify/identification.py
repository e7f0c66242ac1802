"""`Identification`: the answer for one pattern, with its reason and provenance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict

from eg_agent.identify.space_groups import SpaceGroupSetting
from eg_agent.library.match import Lookup
from eg_agent.model.estimate import PropertyEstimate
from eg_agent.model.posterior import Posterior
from eg_agent.patterns.pattern import Source
from eg_agent.values import VALUE_CONFIG, FloatArray
from eg_agent.verify.evidence import Evidence

Verdict = Literal["identified", "undecided", "no confident match", "refused"]


@dataclass(frozen=True, slots=True)
class GroupProbability:
    """One group of the answer: number, symbol, fused probability and the space groups inside it.

    settings: of the most probable groups that a fit weighed, the space groups in the axes of the fitted cell,
    with the way from their standard axes.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    group: int
    symbol: str
    crystal_system: str
    probability: float
    space_groups: tuple[str, ...]
    settings: tuple[SpaceGroupSetting, ...] = ()


@dataclass(frozen=True, slots=True)
class Settle:
    """What would settle the question between two groups: a measurement, or something to be told.

    hkl: the reflection to look at, in the fitted cell; None when a whole range, or no measurement, is meant.
    two_theta: degrees (window low, high) to measure.
    seconds: further seconds of counting in that window, all its points together; None when counting
        alone cannot tell or no rate is known.
    between: the two groups, the more probable first.
    intensity, sigma: what the fit found for the reflection so far, area units of the pattern.
    absent_in: the group of `between` that forbids the reflection.
    counted: seconds a point that the window was counted so far, where known.
    counting: whether counting longer there can settle it: not for a line that is seen already, overlaps
        with another, lies outside the range, or would take too long.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    hkl: tuple[int, int, int] | None
    two_theta: tuple[float, float]
    seconds: float | None
    between: tuple[int, int]
    reason: str
    intensity: float | None = None
    sigma: float | None = None
    absent_in: int | None = None
    counted: float | None = None
    counting: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured, as far as the next decision needs it.

    windows: (low, high) in degrees 2-theta that the pattern covers.
    canonical: share (0-1) of the network's canonical range that they cover.
    points: number of points; step: their median distance, degrees.
    seconds_per_point: median counting time of a point, seconds, where known.
    strongest_counts: counts in the strongest point: read off for raw counts, (intensity/sigma)^2
        where only standard errors are known, else None.
    wavelength: mean wavelength, angstrom.
    counted: (low, high, seconds a point) of each run of equal counting time, degrees; empty where the time is
        not known or is the same everywhere.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    windows: tuple[tuple[float, float], ...]
    canonical: float
    points: int
    step: float
    wavelength: float
    seconds_per_point: float | None = None
    strongest_counts: float | None = None
    counted: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class ProposedCell:
    """A cell that indexing proposed because none was given, and what became of it.

    cell: conventional a b c (angstrom) alpha beta gamma (degrees); refined where the fit stands.
    lattice: Bravais symbol that indexing gave it, e.g. "oP"; the fit tests absences of centrings, too.
    probability: that this is the right cell, all in all; what is left over says that none is.
    score: nats by which it places the lines better than chance, its parameters paid for. m20: de Wolff's
        figure of merit; n_indexed of n_lines lines lie on the lattice; volume in angstrom^3.
    rwp: per cent, of the fit; None where it failed.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    cell: tuple[float, float, float, float, float, float]
    lattice: str
    probability: float
    score: float
    m20: float
    n_indexed: int
    n_lines: int
    volume: float
    rwp: float | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made this answer: enough to make it again.

    checkpoint, library: hashes of the network's weights and of the library ("" for none).
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    pattern_uid: str
    source: Source
    version: str
    checkpoint: str
    prior: str
    cell: tuple[float, float, float, float, float, float] | None = None
    settings: dict[str, float | int | str | bool | None] | None = None
    library: str = ""


@dataclass(frozen=True, eq=False)
class Identification:
    """The answer for one pattern.

    log_probability: [99] nats, fused posterior (network prior times evidence and lookup, calibrated); None
        when refused.
    prediction_set: group numbers whose fused probabilities reach `set_coverage`, most probable first.
    evidence: of the fit with the given cell, or with the most probable of `cells`.
    evidence_only: [99] nats, the evidence with a uniform prior, where there was a fit.
    cells: what indexing proposed where no cell was given and indexing was asked for, most probable first.
    no_cell: probability that none of `cells` is right; None without indexing.
    lookup: the most similar structures of the library and what they say, where a library was given that
        the pattern could be compared with.
    properties: what composition and pattern lead a multimodal network to expect of the sample, where the
        composition is known and does not contradict the pattern. It stands beside the answer: nothing of it
        counts in `log_probability`.
    formula_units: of the composition in the given cell, by the volume that its atoms take in known structures
        (half of them within 6 %, nine of ten within 21 %); counts in `log_probability`, but for triclinic
        cells. None where the composition told no whole amounts, or network and fit are multiplied.
    measured: what the pattern covers and how long it was counted; None when it could not be read.
    seconds: wall-clock time that the answer took.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    verdict: Verdict
    reason: str
    provenance: Provenance
    top: tuple[GroupProbability, ...] = ()
    log_probability: FloatArray | None = None
    network: Posterior | None = None
    evidence: Evidence | None = None
    evidence_only: FloatArray | None = None
    prediction_set: tuple[int, ...] = ()
    set_coverage: float = 0.9
    would_settle: tuple[Settle, ...] = ()
    measured: Measured | None = None
    lookup: Lookup | None = None
    properties: PropertyEstimate | None = None
    cells: tuple[ProposedCell, ...] = ()
    no_cell: float | None = None
    formula_units: float | None = None
    seconds: float = 0.0
