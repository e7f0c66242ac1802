"""`verify`: from a pattern and a cell to the evidence of every candidate extinction group."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.patterns.pattern import Pattern
from eg_agent.patterns.radiation import Radiation
from eg_agent.symmetry import N_GROUPS, Setting
from eg_agent.verify.absence_network import Learned, shipped
from eg_agent.verify.candidates import Candidate, candidate_settings, candidates_on
from eg_agent.verify.evidence import CandidateEvidence, DecidingReflection, Evidence, FitCurve
from eg_agent.verify.fitting import NotFitted, Quality, beam_of, fit_pattern, quality_of, weighted_anew
from eg_agent.verify.likelihood import Likelihood, marginal_likelihood
from eg_agent.verify.line_features import line_features
from eg_agent.verify.line_table import line_table
from eg_agent.verify.metric import (
    Cell,
    MetricSystem,
    cell_of,
    check_cell,
    hexagonal_axes,
    is_rhombohedral,
    metric_system,
    symmetrized,
)
from eg_agent.verify.pawley import Fit
from eg_agent.verify.profile import profiles
from eg_agent.verify.restricted import RestrictedFits
from eg_agent.verify.score import Scores, log_mean, score
from eg_agent.verify.settings import VerifySettings
from eg_agent.verify.traits import context_of, traits_of

Floats = npt.NDArray[np.float64]


def no_cell() -> Evidence:
    """The evidence without a cell: none, and why."""
    return Evidence(
        status="no cell",
        reason="no cell was given, so absences cannot be tested: give one, or let the network speak alone.",
    )


def verify(
    pattern: Pattern,
    cell: Sequence[float],
    *,
    candidates: Sequence[int] | None = None,
    settings: VerifySettings | None = None,
) -> Evidence:
    """Fit a pattern in the absence-free lattice of a cell and weigh every extinction symbol by it.

    cell: a b c (angstrom) alpha beta gamma (degrees), conventional; R in hexagonal or rhombohedral axes;
        lengths may be off by `VerifySettings.max_length_change`.
    candidates: groups 1-99 to weigh (every setting of them in these axes); None weighs all groups of the
        cell's crystal family.

    One Pawley fit, then linear algebra (see `likelihood` and `score`). A pattern that cannot be fitted
    gives the status "not fitted" with the reason. Raises BadInput for an impossible cell or group number.
    """
    started = time.perf_counter()
    settings = settings or VerifySettings()
    checked, system, notes = _axes(cell, candidates)
    try:
        with _broken_fits_are_not_fitted():
            evidence = _verified(pattern, checked, system, candidates, settings, started, notes)
    except NotFitted as error:
        reason = "; ".join([str(error), *notes]) + "."
        evidence = Evidence(status="not fitted", reason=reason, cell=checked, lattice=system.primitive)
    return replace(evidence, seconds=time.perf_counter() - started)


@contextmanager
def _broken_fits_are_not_fitted() -> Iterator[None]:
    """A fit that breaks down numerically (a cell that lost its volume, say) is one that failed."""
    try:
        yield
    except (np.linalg.LinAlgError, ArithmeticError) as error:
        reason = f"the fit broke down ({error}): check the cell, or measure a longer range"
        raise NotFitted(reason) from error


@dataclass(frozen=True, eq=False, slots=True)
class Weighed:
    """What `verify` works with: the fit, its likelihood, and the candidates with their scores."""

    fit: Fit
    quality: Quality
    likelihood: Likelihood
    candidates: tuple[Candidate, ...]
    scores: Scores


def weigh(
    pattern: Pattern,
    cell: Sequence[float],
    *,
    candidates: Sequence[int] | None = None,
    settings: VerifySettings | None = None,
) -> Weighed:
    """As `verify`, with what is inside, for studies; raises NotFitted where it answers "not fitted"."""
    started = time.perf_counter()
    settings = settings or VerifySettings()
    checked, system, _ = _axes(cell, candidates)
    chosen = _chosen(system, candidates)
    with _broken_fits_are_not_fitted():
        fit = fit_pattern(pattern, checked, system, settings, started + 0.6 * settings.time_limit)
        quality = quality_of(fit)
        failure = _failure(quality, fit, settings)
        if failure:
            raise NotFitted(failure)
        fit = weighted_anew(fit, pattern, started + 0.8 * settings.time_limit)
        likelihood = marginal_likelihood(fit)
        weighed = candidates_on(likelihood.lines, chosen, system)
        return Weighed(
            fit, quality, likelihood, tuple(weighed), score(likelihood, weighed, pattern.radiation)
        )


def _axes(cell: Sequence[float], candidates: Sequence[int] | None) -> tuple[Cell, MetricSystem, list[str]]:
    """The checked cell on its axes, its metric, and what was done to it."""
    checked = check_cell(tuple(cell))
    if candidates is not None and not all(1 <= int(n) <= N_GROUPS for n in candidates):
        raise BadInput(f"candidate groups are numbers from 1 to {N_GROUPS}, got {list(candidates)}.")
    notes: list[str] = []
    if is_rhombohedral(checked):
        checked = hexagonal_axes(checked)
        notes.append("the rhombohedral cell was put on hexagonal axes")
    system = metric_system(checked)
    return symmetrized(checked, system), system, notes


def _chosen(system: MetricSystem, numbers: Sequence[int] | None) -> tuple[Setting, ...]:
    chosen = candidate_settings(system, numbers)
    if not chosen:
        raise NotFitted(f"none of the candidate groups can have this {system.name} cell in its axes")
    return chosen


def _refined(fit: Fit) -> Cell:
    """Its cell, angstrom and degrees."""
    return cell_of(fit.problem.metric(fit.parameters.value[: fit.parameters.n_free]))


def _fitted(pattern: Pattern, fit: Fit, quality: Quality, system: MetricSystem) -> Evidence:
    """What a fit says before any candidate is weighed; "not fitted" so far."""
    return Evidence(
        status="not fitted",
        reason="",
        cell=_refined(fit),
        lattice=system.primitive,
        zero_shift=fit.parameters["zero"],
        rwp=quality.rwp,
        goodness_of_fit=quality.rwp / quality.rexp,
        fit=fit_curve(pattern, fit),
    )


def _verified(
    pattern: Pattern,
    cell: Cell,
    system: MetricSystem,
    numbers: Sequence[int] | None,
    settings: VerifySettings,
    started: float,
    notes: list[str],
) -> Evidence:
    chosen = _chosen(system, numbers)
    # two thirds of the time are for the refinement; the rest is linear algebra of known cost
    fit = fit_pattern(pattern, cell, system, settings, started + 0.6 * settings.time_limit)
    quality = quality_of(fit)
    note = beam_of(pattern.radiation).note
    notes += [note] if note else []
    failure = _failure(quality, fit, settings)
    if failure:
        common = _fitted(pattern, fit, quality, system)
        return replace(common, reason="; ".join([failure, *notes]) + ".")
    # the quality is that of the fit before: its bounds hold for the variance that the counts themselves give
    fit = weighted_anew(fit, pattern, started + 0.8 * settings.time_limit)
    common = _fitted(pattern, fit, quality, system)
    likelihood = marginal_likelihood(fit)
    weighed = candidates_on(likelihood.lines, chosen, system)
    scores = score(likelihood, weighed, pattern.radiation)
    learned = learned_scores(likelihood, weighed, _refined(fit), system, pattern.radiation)
    found = _summary(likelihood, weighed, scores, learned, fit, settings)
    context = context_of(likelihood, quality.rwp / quality.rexp, quality.rwp, system.primitive)
    lattice = next(c.setting.lattice for c in weighed if c.setting.group == found[0].group)
    low, high = fit.problem.data.grid[0], fit.problem.data.grid[-1]
    reason = (
        f"{len(likelihood.lines)} lines from {low:.1f} to {high:.1f} degrees, "
        f"{len(weighed)} settings of {len(found)} groups weighed, Rwp {quality.rwp:.1f} %"
    )
    return replace(
        common,
        status="fitted",
        reason="; ".join([reason, *notes]) + ".",
        lattice=lattice,
        candidates=found,
        lines=line_table(likelihood),
        context=tuple(context.tolist()),
    )


def learned_scores(
    likelihood: Likelihood,
    candidates: list[Candidate],
    cell: Cell,
    system: MetricSystem,
    radiation: Radiation,
) -> Learned:
    """What the absence network says of candidates; all alike in a triclinic lattice, which leaves nothing to
    tell."""
    if system.name == "triclinic":
        return Learned(np.zeros(len(candidates)), np.zeros(len(candidates)))
    forbidden = np.stack([c.allowed == 0 for c in candidates])
    groups = np.array([c.setting.group for c in candidates])
    features = line_features(likelihood, cell, system, radiation)
    network = shipped()
    return Learned(network.score(features, forbidden, groups), network.of_whole(features)[groups - 1])


def _failure(quality: Quality, fit: Fit, settings: VerifySettings) -> str | None:
    """Why a fit is not good enough to weigh absences, or None."""
    if quality.misfit > settings.max_rwp:
        return (
            f"the cell does not fit: the misfit is {quality.misfit:.0f} % of the lines' intensity "
            f"(at most {settings.max_rwp:.0f} %): check the cell, the wavelength and the zero"
        )
    if quality.explained < settings.min_explained:
        return (
            f"the cell explains only {100 * quality.explained:.0f} % of the intensity above background "
            f"(at least {100 * settings.min_explained:.0f} %): another phase, or the wrong cell"
        )
    return None


def fit_curve(pattern: Pattern, fit: Fit) -> FitCurve:
    """The fit on the pattern's own points; NaN outside the fitted range."""
    grid = np.asarray(pattern.two_theta)
    data, solution = fit.problem.data, fit.solution
    inside = (grid >= data.grid[0]) & (grid <= data.grid[-1])
    background = np.full(grid.size, np.nan)
    background[inside] = np.interp(grid[inside], data.grid, solution.background)
    profile = profiles(grid[inside], solution.positions, solution.width, fit.parameters.shape)
    calculated = background.copy()
    calculated[inside] += profile.matrix(profile.value) @ solution.intensity
    return FitCurve(two_theta=grid, calculated=calculated, background=background)


def _summary(
    likelihood: Likelihood,
    weighed: list[Candidate],
    scores: Scores,
    learned: Learned,
    fit: Fit,
    settings: VerifySettings,
) -> tuple[CandidateEvidence, ...]:
    """One entry a group: its settings' mean evidence, and its best setting in detail. Best first."""
    of_group: dict[int, list[int]] = {}
    for i, candidate in enumerate(weighed):
        of_group.setdefault(candidate.setting.group, []).append(i)
    ranked = sorted(
        ((log_mean(scores.log_evidence[members]), number, members) for number, members in of_group.items()),
        key=lambda entry: (-entry[0], entry[1]),
    )
    traits = traits_of(likelihood, weighed, scores, learned)
    data = fit.problem.data
    restricted = RestrictedFits(likelihood, 1.0 / data.variance)
    total = float(np.sum(data.y**2 / data.variance))
    found = []
    for place, (log_evidence, number, members) in enumerate(ranked):
        best = members[int(np.argmax(scores.log_evidence[members]))]
        candidate = weighed[best]
        allowed = candidate.allowed > 0
        leading = place < settings.n_leading
        found.append(
            CandidateEvidence(
                group=number,
                symbol=candidate.setting.symbol,
                log_evidence=log_evidence,
                n_allowed=int(allowed.sum()),
                n_forbidden=int((~allowed).sum()),
                rwp=100.0 * float(np.sqrt(max(restricted.chi_square(allowed), 0.0) / total)),
                deciding=_deciding(likelihood, candidate, scores, best, settings) if leading else (),
                traits=tuple(traits[best].tolist()),
            )
        )
    return tuple(found)


def _deciding(
    likelihood: Likelihood, candidate: Candidate, scores: Scores, index: int, settings: VerifySettings
) -> tuple[DecidingReflection, ...]:
    """The forbidden lines whose blocks speak loudest, for or against the candidate."""
    parts = scores.by_block[index]
    found = []
    for number in np.argsort(-np.abs(parts), kind="stable")[: settings.n_deciding]:
        block = scores.blocks[number]
        forbidden = block[candidate.allowed[block] == 0]
        if forbidden.size == 0 or parts[number] == 0.0:
            continue
        line = int(forbidden[np.argmax(likelihood.intensity[forbidden])])
        first, second, third = (int(v) for v in likelihood.lines.representative[line])
        theta = np.radians(0.5 * likelihood.two_theta[line])
        found.append(
            DecidingReflection(
                hkl=(first, second, third),
                two_theta=float(likelihood.two_theta[line]),
                d=float(0.5 * likelihood.problem.wavelengths[0] / np.sin(theta)),
                intensity=float(likelihood.intensity[line]),
                sigma=float(likelihood.sigma[line]),
                forbidden=True,
                log_odds=float(parts[number]),
            )
        )
    return tuple(found)
