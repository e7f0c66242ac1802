"""`Scene`: the hypotheses that are still in play, and what each says of every line of the lattice.

A hypothesis is a group in the setting in which it was scored, with its share of the fused posterior. It may
be meant plainly, or as one that *hides*: a structure can hide a class of the lines that its group allows
(atoms on special positions), and then it looks like a group that forbids them. How much of a hypothesis's
probability is of that kind bounds what counting can still say, so it is carried along as hypotheses of
their own: *deep* ones that look the same whatever is counted, and *shallow* ones whose lines
come up just below what is seen now.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr

from eg_agent.decide.settings import DecideSettings
from eg_agent.identify.identification import Identification, Measured
from eg_agent.patterns.radiation import CU_KALPHA1, Radiation
from eg_agent.symmetry import Setting, settings
from eg_agent.verify import wilson
from eg_agent.verify.evidence import Evidence, LineTable
from eg_agent.verify.lines import blended, lattice_lines
from eg_agent.verify.metric import metric_system, reciprocal

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: Means of an allowed line's intensity over its expectation, and their shares: the seven components of
#: `eg_agent.verify.wilson` put into four.
SCALES = np.array([0.01, 0.2, 0.7, 1.7])
SHARES = np.array([0.14, 0.145, 0.193, 0.522])
#: Chance that something else (another phase, misfit) stands on a forbidden line.
FOREIGN = 0.003
#: Chance that a group hides a class of lines, at the level where 0.3 % of the strongest line is seen, and how
#: it falls with the level: `tests/bench/study_hidden.py`, mean over kinds of classes.
HIDDEN, HIDDEN_LEVEL, HIDDEN_POWER = 0.03, 0.003, 0.7
#: Lines closer than this share of a width are one.
_BLEND = 0.3
#: Standard errors (in expected intensities) that stand for "never measured".
_UNSEEN = 30.0
#: Most lines and hypotheses that are kept.
MOST_LINES, MOST_GROUPS = 160, 10


@dataclass(frozen=True, eq=False)
class Scene:
    """Lines [k] on which the hypotheses [h] differ, ascending in angle, and what is known of them.

    two_theta, fwhm: [k] degrees. estimate, sigma: [k] intensity so far and its standard error (area units);
    floor: [k] part of the error that no counting takes away. covered: [k] whether it was measured.
    expected: [k] mean intensity where it is allowed. per_second: [k] variance of the intensity from one
    second a point at `step` degrees. allowed: [h, k]. group: [h] numbers; log_weight: [h] nats.
    everything: (low, high) windows around all lines of the lattice, those that tell nothing included.
    """

    two_theta: Floats
    fwhm: Floats
    estimate: Floats
    sigma: Floats
    floor: Floats
    covered: Bools
    expected: Floats
    per_second: Floats
    allowed: Bools
    group: npt.NDArray[np.int64]
    log_weight: Floats
    strongest: float
    step: float
    all_two_theta: Floats
    all_fwhm: Floats

    def odds(self) -> Floats:
        """[k] nats by which what was seen of a line speaks for "allowed" rather than "forbidden"."""
        absent = -0.5 * (self.estimate / self.sigma) ** 2 - np.log(self.sigma * np.sqrt(2 * np.pi))
        present = np.logaddexp.reduce(self.components()[0], axis=1)
        here = np.logaddexp(np.log1p(-FOREIGN) + absent, np.log(FOREIGN) + present)
        return np.where(self.covered, present - here, 0.0)

    def components(self) -> tuple[Floats, Floats]:
        """[k, 4] log share and likelihood of each component of an allowed line, and the mean of its cut-off
        normal posterior."""
        mean = SCALES * self.expected[:, None]
        return component(self.estimate[:, None], self.sigma[:, None], mean, np.log(SHARES))


def component(estimate: Floats, sigma: Floats, mean: Floats, log_share: Floats) -> tuple[Floats, Floats]:
    """Log of share times density of an estimate, intensity exponential with `mean` and noise `sigma`; and
    the mean of the normal (cut off below zero) that is its posterior."""
    centre = estimate - sigma**2 / mean
    log_density = 0.5 * (sigma / mean) ** 2 - estimate / mean - np.log(mean) + log_ndtr(centre / sigma)
    return log_share + log_density, centre


def scene_of(
    identification: Identification, two_theta: tuple[float, float], constants: DecideSettings
) -> Scene | None:
    """The scene of an answer, or None where there is no fit to predict from.

    two_theta: degrees that may be measured.
    """
    evidence, measured = identification.evidence, identification.measured
    log_p = identification.log_probability
    if evidence is None or evidence.lines is None or measured is None or log_p is None:
        return None
    table = evidence.lines
    if evidence.cell is None or table.two_theta.size == 0 or measured.seconds_per_point is None:
        return None
    chosen = _hypotheses(evidence, log_p, constants.smallest_weight)
    if len(chosen) < 2:
        return None
    lattice = _lattice(evidence, measured, table, two_theta)
    if lattice is None:
        return None
    names = [setting for setting, _ in chosen]
    allowed = np.zeros((len(names), lattice.angle.size), dtype=bool)
    count = np.zeros(lattice.angle.size)
    for i, setting in enumerate(names):
        number = np.bincount(lattice.line[~setting.absent(lattice.members)], minlength=lattice.angle.size)
        allowed[i] = number > 0
        count = np.maximum(count, 2.0 * number)
    return _scene(identification, measured, lattice, chosen, allowed, count)


@dataclass(frozen=True, slots=True)
class _Lattice:
    """Lines of the lattice [n] as the fit blended them; row: [n] of the table, -1 for those not measured."""

    angle: Floats
    row: npt.NDArray[np.int64]
    members: npt.NDArray[np.int64]
    line: npt.NDArray[np.int64]
    table: LineTable
    wavelength: float


def _hypotheses(evidence: Evidence, log_p: Floats, smallest: float) -> list[tuple[Setting, float]]:
    """Settings of the groups in play with their log-weights, the most probable first."""
    found: dict[int, tuple[Setting, float]] = {}
    for candidate in evidence.candidates:
        weight = float(log_p[candidate.group - 1])
        if weight < np.log(smallest) or candidate.group in found:
            continue
        match = [s for s in settings(candidate.group) if s.symbol == candidate.symbol]
        if match:
            found[candidate.group] = (match[0], weight)
    return sorted(found.values(), key=lambda pair: -pair[1])[:MOST_GROUPS]


def _lattice(
    evidence: Evidence, measured: Measured, table: LineTable, two_theta: tuple[float, float]
) -> _Lattice | None:
    assert evidence.cell is not None
    metric = reciprocal(evidence.cell)
    hkl = np.array(table.hkl, dtype=np.int64)
    from eg_agent.verify.metric import tensor

    # the wavelength that the table's angles are of: the first of a doublet, where there are two
    one_over_d = np.sqrt(np.maximum(tensor(hkl) @ metric, 1e-12))
    sine = np.sin(np.radians(0.5 * (table.two_theta - evidence.zero_shift)))
    wavelength = float(np.median(2.0 * sine / one_over_d))
    if not 0.9 * measured.wavelength < wavelength < 1.1 * measured.wavelength:
        return None
    limit = min(two_theta[1], _canonical_end(wavelength))
    top = max(limit, float(table.two_theta[-1])) + 0.2
    d_min = wavelength / (2.0 * np.sin(np.radians(min(top, 179.0) / 2.0)))
    lines = lattice_lines(evidence.cell, metric_system(evidence.cell), d_min)
    ratio = np.clip(0.5 * wavelength / lines.d(metric), 0.0, 1.0)
    angle = 2.0 * np.degrees(np.arcsin(ratio)) + evidence.zero_shift
    near = np.clip(np.searchsorted(table.two_theta, angle), 1, max(table.two_theta.size - 1, 1))
    near = near - (
        angle - table.two_theta[near - 1]
        < table.two_theta[np.minimum(near, table.two_theta.size - 1)] - angle
    )
    near = np.clip(near, 0, table.two_theta.size - 1)
    same = np.abs(table.two_theta[near] - angle) <= np.maximum(_BLEND * table.fwhm[near], 0.01)
    row = np.where(same, near, -1)
    seen = np.zeros(angle.size, dtype=bool)
    for low, high in measured.windows:
        seen |= (angle >= low) & (angle <= high)
    new = (row < 0) & ~seen & (angle >= two_theta[0]) & (angle <= limit)
    if not same.any():
        return None
    # one number for each line: those of the table first, then new ones blended among themselves
    number = np.full(angle.size, -1, dtype=np.int64)
    used, number[same] = np.unique(row[same], return_inverse=True)
    at = np.flatnonzero(new)
    order = at[np.argsort(angle[at], kind="stable")]
    width = np.full(order.size, float(table.fwhm[-1]))
    if order.size:
        number[order] = used.size + blended(angle[order], width, _BLEND)
    kept = number >= 0
    total = int(number.max()) + 1
    first = np.full(total, np.inf)
    np.minimum.at(first, number[kept], angle[kept])
    place = np.concatenate([table.two_theta[used], first[used.size :]])
    rows = np.concatenate([used, np.full(total - used.size, -1)]).astype(np.int64)
    member = kept[lines.line]
    return _Lattice(place, rows, lines.members[member], number[lines.line[member]], table, wavelength)


def _canonical_end(wavelength: float) -> float:
    """90 degrees of Cu K-alpha1, in degrees of `wavelength`."""
    sine = min(np.sin(np.radians(45.0)) * wavelength / CU_KALPHA1, 1.0)
    return float(2.0 * np.degrees(np.arcsin(sine)))


def _scene(
    identification: Identification,
    measured: Measured,
    lattice: _Lattice,
    chosen: list[tuple[Setting, float]],
    allowed: Bools,
    count: Floats,
) -> Scene:
    assert measured.seconds_per_point is not None
    table, row = lattice.table, lattice.row
    known = row >= 0
    at = np.maximum(row, 0)
    fwhm = np.where(known, table.fwhm[at], float(np.median(table.fwhm)))
    estimate = np.where(known, table.intensity[at], 0.0)
    sigma = np.where(known, table.sigma[at], 0.0)
    floor = np.where(known, np.sqrt(np.maximum(1.0 - table.counting[at], 0.0)) * sigma, 0.0)
    # variance from one second a point: errors so far, by the time that each line was counted
    seconds = seconds_at(measured, lattice.angle)
    per_second = (sigma**2 - floor**2) * seconds
    typical = float(np.median(per_second[known]))
    per_second = np.where(known, np.maximum(per_second, 1e-3 * typical), typical)
    unit = wilson.lorentz_polarisation(lattice.angle, Radiation(measured.wavelength))
    s2 = (np.sin(np.radians(0.5 * lattice.angle)) / lattice.wavelength) ** 2
    seen = np.where(known, count, 0.0)
    of_one = wilson.expected_unit(s2, unit, seen, np.maximum(estimate, 0.0), np.where(known, sigma, 1.0))
    expected = np.maximum(of_one * np.maximum(count, 2.0), 1e-12)
    sigma = np.where(known, np.maximum(sigma, 1e-6 * expected), _UNSEEN * expected)
    strongest = float(max(estimate.max(initial=0.0), 1e-12))
    weight = np.array([w for _, w in chosen])
    weight -= np.logaddexp.reduce(weight)
    share = np.exp(weight)[:, None]
    mixed = np.sum(share * allowed, axis=0)
    tells = np.flatnonzero((mixed > 1e-4) & (mixed < 1.0 - 1e-4))
    if tells.size > MOST_LINES:
        clear = mixed * (1.0 - mixed) * expected / np.sqrt(per_second)
        tells = tells[np.argsort(-clear[tells], kind="stable")[:MOST_LINES]]
    tells = tells[np.argsort(lattice.angle[tells], kind="stable")]
    everything = np.argsort(lattice.angle, kind="stable")
    return Scene(
        two_theta=lattice.angle[tells],
        fwhm=fwhm[tells],
        estimate=estimate[tells],
        sigma=sigma[tells],
        floor=floor[tells],
        covered=known[tells],
        expected=expected[tells],
        per_second=per_second[tells],
        allowed=allowed[:, tells],
        group=np.array([setting.group for setting, _ in chosen]),
        log_weight=weight,
        strongest=strongest,
        step=measured.step,
        all_two_theta=lattice.angle[everything],
        all_fwhm=fwhm[everything],
    )


def seconds_at(measured: Measured, angle: Floats) -> Floats:
    """[k] seconds a point that were counted so far at angles [k] in degrees."""
    seconds = np.full(angle.size, measured.seconds_per_point or 0.0)
    for low, high, counted in measured.counted:
        seconds[(angle >= low) & (angle <= high)] = counted
    return seconds
