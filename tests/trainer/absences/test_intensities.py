"""Line intensities of structures: what must be absent is absent, and errors are what they are said to be."""

from __future__ import annotations

import numpy as np
import pytest

from eg_agent.verify.line_features import FEATURES
from eg_agent.verify.line_kinds import FAMILIES
from simulators import Crystal
from simulators.textbook import textbook
from trainer.absences import intensities
from trainer.absences.intensities import line_sample, profile
from trainer.benchmark.simulated_samples import own_metric

STANDING = FEATURES.index("standing")


def _crystals() -> list[Crystal]:
    return [c for c in textbook() if own_metric(c)][:40]


def _standing(values: np.ndarray) -> np.ndarray:
    signed = values[:, STANDING]
    return np.sign(signed) * np.expm1(np.abs(signed))


def test_forbidden_lines_of_pure_samples_are_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intensities, "MISFITS", (0.0,))
    found: list[float] = []
    for place, crystal in enumerate(_crystals()):
        sample = line_sample(crystal, None, np.random.default_rng(place))
        if sample is None:  # a small cell, cut to three lines
            continue
        standing = _standing(np.asarray(sample.values, dtype=float))
        own = np.flatnonzero(sample.groups == sample.group)
        assert own.size, crystal.name
        # one of the group's settings is the crystal's: its lines are the least above their errors
        most = [float(np.clip(standing[sample.forbidden[i]], 0.0, None).max(initial=0.0)) for i in own]
        found.extend(standing[sample.forbidden[own[int(np.argmin(most))]]].tolist())
    z = np.array(found)
    assert z.size > 300
    assert np.mean(np.abs(z) > 3.0) < 0.02
    assert 0.5 < np.std(np.clip(z, -4.0, 4.0)) < 1.3


def test_strong_lines_are_seen_and_stand_where_they_are_allowed() -> None:
    for place, crystal in enumerate(_crystals()[:15]):
        sample = line_sample(crystal, None, np.random.default_rng(100 + place))
        if sample is None:
            continue
        own = np.flatnonzero(sample.groups == sample.group)
        strong = np.asarray(sample.values)[:, FEATURES.index("of_strongest")] > -0.1
        assert strong.any()
        assert any(not (sample.forbidden[i] & strong).any() for i in own), crystal.name
        assert FAMILIES[sample.family]


def test_a_sample_is_a_function_of_its_generator() -> None:
    crystal = _crystals()[0]
    one, two = (line_sample(crystal, _crystals()[1], np.random.default_rng(7)) for _ in range(2))
    assert one is not None
    assert two is not None
    np.testing.assert_array_equal(one.values, two.values)


def test_lines_have_unit_area() -> None:
    grid = np.arange(0.0, 100.0, 0.01)
    at, width = np.array([20.0, 50.0]), np.array([0.1, 0.3])
    for lorentz in (0.0, 0.5):
        area = np.asarray(profile(grid, at, width, lorentz, 30.0).sum(axis=0)).ravel() * 0.01
        np.testing.assert_allclose(area, 1.0, atol=0.012)
    height = profile(grid, at, width, 0.0, 8.0).toarray().max(axis=0)
    np.testing.assert_allclose(height, np.sqrt(4.0 * np.log(2.0) / np.pi) / width, rtol=1e-3)
