"""`Evidence`: what a Pawley fit says of each candidate group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict

from eg_agent.values import VALUE_CONFIG, FloatArray


@dataclass(frozen=True, slots=True)
class DecidingReflection:
    """A reflection (or overlapped clump) that speaks for or against a candidate.

    two_theta in degrees at the first wavelength; d in angstrom; intensity and sigma in the units of
    the fitted pattern's area; log_odds in nats: positive speaks for the candidate, negative against.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    hkl: tuple[int, int, int]
    two_theta: float
    d: float
    intensity: float
    sigma: float
    forbidden: bool  #: absent by the candidate's reflection conditions
    log_odds: float


@dataclass(frozen=True, slots=True)
class CandidateEvidence:
    """Evidence for one group in its best setting.

    log_evidence: nats, relative to the absence-free group of the same lattice.
    traits: what the fit shows of it, in the order of `eg_agent.verify.traits.TRAITS`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    group: int
    symbol: str  #: extinction symbol in the setting of `Evidence.cell`
    log_evidence: float
    n_allowed: int  #: reflections in range that it allows
    n_forbidden: int  #: reflections in range that the lattice allows and it forbids
    rwp: float  #: per cent, of the fit with its forbidden reflections removed
    deciding: tuple[DecidingReflection, ...] = ()
    traits: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class LineTable:
    """What the fit says of each line of the absence-free lattice, [k] in ascending angle, for predictions.

    two_theta: degrees at the first wavelength; hkl: [k, 3] that names the line; fwhm: degrees.
    intensity, sigma: area units of the pattern; the intensity is the unconstrained estimate and may be
    negative. counting: 0 to 1, the share of sigma^2 that longer counting makes smaller; the rest is misfit.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    two_theta: FloatArray
    hkl: tuple[tuple[int, int, int], ...]
    fwhm: FloatArray
    intensity: FloatArray
    sigma: FloatArray
    counting: FloatArray


@dataclass(frozen=True, eq=False)
class FitCurve:
    """The Pawley fit on the pattern's own points, for pictures: degrees and the pattern's units."""

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    two_theta: FloatArray
    calculated: FloatArray
    background: FloatArray


@dataclass(frozen=True, eq=False)
class Evidence:
    """The verifier's answer.

    status: `fitted`, `not fitted` (a fit was tried and failed its quality bound), or `no cell`.
    cell: a b c (angstrom) alpha beta gamma (degrees), refined.
    lattice: Bravais symbol, e.g. "oP", "hR".
    zero_shift: degrees 2-theta.
    candidates: best first by log_evidence.
    lines: what a further measurement would start from; None without a fit.
    context: the measurement in numbers, in the order of `eg_agent.verify.traits.CONTEXT`; empty without
        a fit.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    status: Literal["fitted", "not fitted", "no cell"]
    reason: str
    cell: tuple[float, float, float, float, float, float] | None = None
    lattice: str | None = None
    zero_shift: float = 0.0
    rwp: float | None = None  #: per cent
    goodness_of_fit: float | None = None  #: Rwp / Rexp
    candidates: tuple[CandidateEvidence, ...] = ()
    fit: FitCurve | None = None
    lines: LineTable | None = None
    context: tuple[float, ...] = ()
    seconds: float = 0.0
