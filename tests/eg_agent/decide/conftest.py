"""Identifications for the policy: values built by hand, so that every number in them is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from eg_agent.identify import GroupProbability, Identification, Measured, Provenance, Settle
from eg_agent.patterns.pattern import Source


def answer(
    probabilities: dict[int, float],
    *,
    verdict: str = "undecided",
    settles: tuple[Settle, ...] = (),
    measured: Measured | None = None,
    fitted: bool = False,
    uid: str = "00112233aabbccdd",
) -> Identification:
    """An identification whose groups have the given probabilities; the rest is spread evenly."""
    p = np.full(99, (1.0 - sum(probabilities.values())) / (99 - len(probabilities)))
    for number, value in probabilities.items():
        p[number - 1] = value
    order = np.argsort(-p, kind="stable")
    provenance = Provenance(uid, Source(), "0", "0" * 16, "uniform")
    if verdict == "refused":
        return Identification(
            verdict="refused", reason="All intensities are zero.", provenance=provenance, measured=measured
        )
    return Identification(
        verdict=verdict,  # type: ignore[arg-type]
        reason="because",
        provenance=provenance,
        top=tuple(
            GroupProbability(int(i) + 1, f"group {i + 1}", "cubic", float(p[i]), ()) for i in order[:5]
        ),
        log_probability=np.log(p),
        evidence_only=np.log(p) if fitted else None,
        prediction_set=tuple(int(i) + 1 for i in order[:2]),
        would_settle=settles,
        measured=measured,
    )


def scan(**changes: object) -> Measured:
    """A scan of 5-90 degrees with Cu K-alpha1: 0.02 degrees and one second a point, 200 counts at most."""
    values: dict[str, object] = {
        "windows": ((5.0, 90.0),),
        "canonical": 1.0,
        "points": 4251,
        "step": 0.02,
        "wavelength": 1.540593,
        "seconds_per_point": 1.0,
        "strongest_counts": 200.0,
    }
    return Measured(**{**values, **changes})  # type: ignore[arg-type]


def weak(intensity: float, sigma: float, two_theta: float = 20.0) -> Settle:
    """A reflection (0 1 0) that group 10 forbids and group 11 allows."""
    return Settle(
        hkl=(0, 1, 0),
        two_theta=(two_theta - 0.4, two_theta + 0.4),
        seconds=None,
        between=(10, 11),
        reason="",
        intensity=intensity,
        sigma=sigma,
        absent_in=10,
        counted=1.0,
        counting=True,
    )


@pytest.fixture
def make_answer() -> Callable[..., Identification]:
    return answer


@pytest.fixture
def make_scan() -> Callable[..., Measured]:
    return scan


@pytest.fixture
def make_weak() -> Callable[..., Settle]:
    return weak
