"""`FittedPattern`: all that the exported files say, in one value, so that they cannot disagree."""

from __future__ import annotations

import math
from dataclasses import dataclass

import gemmi
import numpy as np
import numpy.typing as npt

from eg_agent.patterns.pattern import Pattern
from eg_agent.symmetry.space_groups import SpaceGroup, space_groups_of
from eg_agent.verify.data import noise_variance
from eg_agent.verify.metric import Cell
from eg_agent.verify.predicted import Predicted, predict
from eg_agent.verify.profile import Shape
from eg_agent.verify.report import lmfit_parameters
from eg_agent.verify.verifier import Weighed

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Peak:
    """One line of the fit; reflections that cannot be told apart share it.

    d: angstrom; two_theta: degrees at the first wavelength, shifts included; intensity: counts times
    degrees; sigma: its standard error; fwhm: degrees.
    """

    number: int
    d: float
    two_theta: float
    intensity: float
    sigma: float
    fwhm: float


@dataclass(frozen=True, slots=True)
class Reflection:
    """One reflection of the space group's asymmetric unit; multiplicity: Friedel mates included."""

    hkl: tuple[int, int, int]
    multiplicity: int
    d: float
    peak: int


@dataclass(frozen=True, eq=False)
class FittedPattern:
    """A pattern, the fit of one candidate to it, and the space group it is written down in.

    cell_error: standard errors in the units of `cell`, 0 where symmetry fixes a value. zero and
    displacement: degrees 2-theta (displacement times cos theta), with errors (NaN where held).
    shape: profile, see `eg_agent.verify.profile.Shape`; wavelengths: angstrom, as fitted.
    sigma: [n] standard errors of the pattern's points. rwp, rexp: per cent.
    """

    name: str
    pattern: Pattern
    sigma: Floats
    predicted: Predicted
    space_group: SpaceGroup
    others: tuple[SpaceGroup, ...]
    cell: Cell
    cell_error: tuple[float, ...]
    wavelengths: tuple[float, ...]
    zero: float
    zero_error: float
    displacement: float
    displacement_error: float
    shape: Shape
    anisotropic: bool
    rwp: float
    rexp: float
    peaks: tuple[Peak, ...]
    reflections: tuple[Reflection, ...]

    @property
    def symbol(self) -> str:
        """Extinction symbol in the axes of the cell."""
        return self.predicted.candidate.setting.symbol

    @property
    def on_hexagonal_axes(self) -> bool:
        """Whether the space group is rhombohedral; its cell is then the triple hexagonal one."""
        return self.space_group.symbol.startswith("R")

    @property
    def fitted_range(self) -> tuple[float, float]:
        """(low, high) degrees 2-theta of the points that were fitted."""
        inside = np.flatnonzero(np.isfinite(self.predicted.curve.calculated))
        grid = self.predicted.curve.two_theta
        return float(grid[inside[0]]), float(grid[inside[-1]])


def fitted_pattern(pattern: Pattern, weighed: Weighed, index: int, name: str) -> FittedPattern:
    """The fit of candidate number `index` of `weighed`, written down in its space group of most operations.

    The space groups of an extinction symbol have the same allowed reflections; the one of most operations
    has the fewest independent ones.
    """
    candidate = weighed.candidates[index]
    predicted = predict(pattern, weighed, candidate)
    choices = sorted(space_groups_of(candidate.setting), key=lambda g: -len(_gemmi(g).operations().sym_ops))
    parameters = lmfit_parameters(weighed.fit)
    names = ("a", "b", "c", "alpha", "beta", "gamma")
    a, b, c, alpha, beta, gamma = (float(parameters[n].value) for n in names)
    cell = (a, b, c, alpha, beta, gamma)
    peaks = _peaks(weighed, predicted)

    def error(name: str) -> float:
        value = parameters[name].stderr
        return math.nan if value is None else float(value)

    broadening = weighed.fit.parameters.broadening
    return FittedPattern(
        name=name,
        pattern=pattern,
        sigma=sigma_of(pattern),
        predicted=predicted,
        space_group=choices[0],
        others=tuple(choices[1:]),
        cell=cell,
        cell_error=tuple(error(n) for n in names),
        wavelengths=weighed.fit.problem.wavelengths,
        zero=float(parameters["zero"].value),
        zero_error=error("zero"),
        displacement=float(parameters["displacement"].value),
        displacement_error=error("displacement"),
        shape=weighed.fit.parameters.shape,
        anisotropic=bool(np.any(np.abs(broadening) > 0.02)),
        rwp=predicted.rwp,
        rexp=weighed.quality.rexp,
        peaks=peaks,
        reflections=_reflections(weighed, cell, choices[0], {p.number for p in peaks}),
    )


def sigma_of(pattern: Pattern) -> Floats:
    """[n] standard errors: given, of the counts, or of the scatter of neighbours."""
    if pattern.sigma is not None and bool(np.all(pattern.sigma > 0)):
        return np.asarray(pattern.sigma)
    if pattern.raw_counts:
        return np.sqrt(np.maximum(pattern.intensity, 1.0))
    return np.sqrt(noise_variance(np.asarray(pattern.intensity)))


def _gemmi(choice: SpaceGroup) -> gemmi.SpaceGroup:
    found = gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(choice.hall))
    assert found is not None, f"gemmi knows the Hall symbols that it gave: {choice.hall}"
    return found


def _peaks(weighed: Weighed, predicted: Predicted) -> tuple[Peak, ...]:
    likelihood = weighed.likelihood
    n_free = weighed.fit.parameters.n_free
    d = likelihood.lines.d(weighed.fit.problem.metric(weighed.fit.parameters.value[:n_free]))
    fwhm = likelihood.solution.width.fwhm
    kept = np.flatnonzero((predicted.candidate.allowed > 0) & np.isfinite(likelihood.two_theta))
    return tuple(
        Peak(
            number=int(i),
            d=float(d[i]),
            two_theta=float(likelihood.two_theta[i]),
            intensity=float(predicted.intensity[i]),
            sigma=float(likelihood.sigma[i]),
            fwhm=float(fwhm[i]),
        )
        for i in kept
    )


def _reflections(
    weighed: Weighed, cell: Cell, choice: SpaceGroup, numbers: set[int]
) -> tuple[Reflection, ...]:
    """Reflections of the space group that lie in lines of the fit, by descending d."""
    lines = weighed.likelihood.lines
    line_of: dict[tuple[int, ...], int] = {}
    for member, line in zip(lines.members.tolist(), lines.line.tolist(), strict=True):
        line_of[tuple(member)] = line
        line_of[tuple(-v for v in member)] = line
    space_group = _gemmi(choice)
    unit_cell = gemmi.UnitCell(*cell)
    d = unit_cell.calculate_d_array(lines.members.astype(np.int32))
    listed = gemmi.make_miller_array(unit_cell, space_group, float(d.min()) * (1 - 1e-6))
    rotations = np.array([op.rot for op in space_group.operations().sym_ops]) // gemmi.Op.DEN
    found = []
    for hkl in np.asarray(listed):
        number = line_of.get(tuple(hkl.tolist()))
        if number is None or number not in numbers:
            continue
        orbit = hkl @ rotations
        h, k, m = (int(v) for v in hkl)
        found.append(
            Reflection(
                hkl=(h, k, m),
                multiplicity=len(np.unique(np.concatenate([orbit, -orbit]), axis=0)),
                d=float(unit_cell.calculate_d([h, k, m])),
                peak=number,
            )
        )
    return tuple(sorted(found, key=lambda r: (-r.d, r.hkl)))
