"""Identifications built by hand, from fine to ugly, as pictures must cope with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from eg_agent import symmetry
from eg_agent.identify import GroupProbability, Identification, Provenance, Settle
from eg_agent.model.posterior import Posterior
from eg_agent.patterns.pattern import Pattern, Source
from eg_agent.patterns.radiation import Radiation
from eg_agent.verify.evidence import CandidateEvidence, DecidingReflection, Evidence, FitCurve

Answer = tuple[Pattern, Identification]

CELL = (8.478, 5.397, 6.958, 90.0, 90.0, 90.0)  # barite


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    return scores - np.logaddexp.reduce(scores)


def posterior(favoured: dict[int, float]) -> Posterior:
    """A posterior over the 99 with some log-scores raised, and the prior of group sizes."""
    prior = _log_softmax(np.log([len(g.space_groups) + 0.3 for g in symmetry.groups()]))
    scores = prior.copy()
    for number, nats in favoured.items():
        scores[number - 1] += nats
    return Posterior(_log_softmax(scores), prior, "9f3a1c5e7b2d4860", 1.7, "mineral")


def top(log_probability: np.ndarray, count: int = 5) -> tuple[GroupProbability, ...]:
    numbers = [int(i) + 1 for i in np.argsort(-log_probability)[:count]]
    return tuple(
        GroupProbability(
            n,
            symmetry.group(n).symbol,
            symmetry.group(n).crystal_system,
            float(np.exp(log_probability[n - 1])),
            symmetry.space_group_symbols(n),
        )
        for n in numbers
    )


def powder(
    cell: tuple[float, ...],
    setting: symmetry.Setting,
    two_theta: np.ndarray,
    scale: float,
    background: float,
    width: float = 0.09,
) -> tuple[np.ndarray, np.ndarray]:
    """(expected counts, background) of random intensities with Wilson's distribution."""
    rng = np.random.default_rng(7)
    wavelength = 1.5406
    lines = symmetry.unique_reflections(
        cell, setting, wavelength / (2 * np.sin(np.radians(two_theta[-1] / 2)))
    )
    low = background * (0.6 + 1.4 * np.exp(-two_theta / 25))
    total = low.copy()
    for d, m in zip(lines.d, lines.multiplicity):
        centre = 2 * np.degrees(np.arcsin(wavelength / (2 * d)))
        lorentz = (1 + np.cos(np.radians(centre)) ** 2) / np.sin(np.radians(centre / 2)) ** 2
        height = scale * m * lorentz * rng.exponential() / 100
        total += height / (1 + ((two_theta - centre) / (width / 2)) ** 2) ** 1.5
    return total, low


def deciding(
    setting: symmetry.Setting, lattice: symmetry.Setting, count: int
) -> tuple[DecidingReflection, ...]:
    """The first lines that the setting forbids as speaking for it, one allowed one against it."""
    rng = np.random.default_rng(3)
    lines = symmetry.unique_reflections(CELL, lattice, 1.3)
    found = []
    for hkl, d in zip(lines.hkl.tolist(), lines.d):
        forbidden = bool(setting.absent(np.array([hkl]))[0])
        if forbidden or len(found) == 2:
            angle = float(2 * np.degrees(np.arcsin(1.5406 / (2 * d))))
            odds = float(rng.exponential(3.0)) * (1 if forbidden else -0.4)
            found.append(DecidingReflection(tuple(hkl), angle, float(d), 3.0, 6.0, forbidden, odds))
    return tuple(found[:count])


def fitted_answer(
    *, points: int = 4251, scale: float = 30.0, background: float = 40.0, name: str = "barite.xye"
) -> Answer:
    """Pnma, identified by network and fit."""
    rng = np.random.default_rng(1)
    two_theta = np.linspace(5.0, 90.0, points)
    setting = symmetry.setting_of_space_group("P n m a")
    expected, low = powder(CELL, setting, two_theta, scale, background)
    radiation = Radiation.anode("Cu")
    source = Source("file", f"/data/2026/{name}", format="xye")
    pattern = Pattern(
        two_theta, rng.poisson(expected).astype(float), radiation, raw_counts=True, source=source
    )
    chosen = deciding(setting, symmetry.absence_free("oP"), 12)
    candidates = (
        CandidateEvidence(17, setting.symbol, 38.2, 171, 34, 8.9, chosen),
        CandidateEvidence(12, "P n - -", 29.1, 188, 17, 9.0, chosen[:3]),
        CandidateEvidence(11, "P - - a", 21.7, 186, 19, 9.2),
    )
    curve = FitCurve(two_theta, expected, low)
    evidence = Evidence(
        "fitted", "111 settings scored.", CELL, "oP", 0.012, 8.7, 1.21, candidates, curve, 1.31
    )
    network = posterior({17: 3.1, 12: 2.2, 11: 2.0, 4: 2.4, 10: 1.0})
    alone = _log_softmax(np.array([{17: 38.2, 12: 29.1, 11: 21.7}.get(n, 0.0) for n in range(1, 100)]) * 0.2)
    fused = _log_softmax(network.log_probability + alone)
    settle = Settle((0, 1, 2), (23.5, 24.1), 140.0, (17, 12), "The line is seen in neither so far.")
    identification = Identification(
        verdict="identified",
        reason="P n - a fits, and each reflection that it forbids is absent within its error: 34 of them, "
        "4.1 nats for it from 0 1 2 alone; the network gave it 0.31 before the fit, the next is P n - -.",
        provenance=Provenance(pattern.uid, source, "0.1.0", "9f3a1c5e7b2d4860", "mineral", CELL),
        top=top(fused),
        log_probability=fused,
        network=network,
        evidence=evidence,
        evidence_only=alone,
        prediction_set=(17,),
        would_settle=(settle,),
        seconds=1.62,
    )
    return pattern, identification


def network_answer() -> Answer:
    """No cell: the network alone, undecided, arbitrary units and no fit."""
    pattern, identification = fitted_answer(points=2000)
    pattern = replace(
        pattern, intensity=pattern.intensity / pattern.intensity.max(), raw_counts=False, source=Source()
    )
    network = posterior({17: 1.2, 4: 1.0, 5: 0.8})
    reason = "Without a cell the network speaks alone: P n a - has probability 0.12, P 1 21/c 1 0.11."
    return pattern, replace(
        identification,
        verdict="undecided",
        reason=reason,
        network=network,
        top=top(network.log_probability),
        log_probability=network.log_probability,
        evidence=Evidence("no cell", "No cell was given, so that nothing was fitted."),
        evidence_only=None,
        provenance=replace(identification.provenance, source=Source()),
        would_settle=(),
    )


def refused_answer(intensity: np.ndarray, two_theta: np.ndarray | None = None) -> Answer:
    """A pattern that cannot be answered for."""
    angles = np.linspace(10.0, 60.0, len(intensity)) if two_theta is None else two_theta
    source = Source("file", "broken_$scan$.dat")
    pattern = Pattern(angles, intensity, Radiation(1.5406), source=source)
    reason = "12 intensities are not numbers: measure those points again, or cut them out of the file."
    return pattern, Identification("refused", reason, Provenance(pattern.uid, source, "0.1.0", "", "mineral"))


def ugly_answer() -> Answer:
    """Few counts, a gap, a very long name and reason, one group at 99.99 %, many decisive lines close by."""
    rng = np.random.default_rng(5)
    two_theta = np.concatenate([np.arange(5.0, 31.0, 0.01), np.arange(44.0, 120.0, 0.013)])
    setting = symmetry.setting_of_space_group("P n m a")
    expected, low = powder(CELL, setting, two_theta, 0.4, 2.0)
    source = Source("file", "/data/" + "run_2026-11-21_sample_with_a_very_long_name_" * 4 + ".xye")
    pattern = Pattern(
        two_theta, rng.poisson(expected).astype(float), Radiation(1.5406), raw_counts=True, source=source
    )
    _, identification = fitted_answer()
    assert identification.evidence is not None
    crowd = tuple(
        DecidingReflection((10 + i, -12, i), 60.0 + 0.11 * i, 1.3, 0.1, 2.0, True, 150.0 - 40.0 * i)
        for i in range(8)
    )
    network = posterior({93: 14.0})
    candidate = replace(identification.evidence.candidates[0], deciding=crowd)
    evidence = replace(
        identification.evidence, fit=FitCurve(two_theta, expected, low), candidates=(candidate,)
    )
    return pattern, replace(
        identification,
        verdict="no confident match",
        reason="The cell does not fit: " + "lines at many angles are not explained by it, " * 12,
        network=network,
        log_probability=network.log_probability,
        top=top(network.log_probability),
        evidence=evidence,
        evidence_only=np.full(99, -np.log(99)),
        provenance=replace(identification.provenance, source=source),
    )


@pytest.fixture(scope="module")
def fitted() -> Answer:
    return fitted_answer()


@pytest.fixture(scope="module")
def network_only() -> Answer:
    return network_answer()


@pytest.fixture(scope="module")
def ugly() -> Answer:
    return ugly_answer()


@pytest.fixture(scope="module")
def refused() -> Answer:
    counts = np.random.default_rng(2).poisson(20.0, 600).astype(float)
    counts[100:112] = np.nan
    return refused_answer(counts)


@pytest.fixture(scope="session")
def make_refused() -> Callable[[np.ndarray], Answer]:
    return refused_answer
