"""The fit: cell, zero and intensities of simulated patterns within their stated errors."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from eg_agent.patterns.radiation import Radiation
from eg_agent.symmetry import setting_of_space_group
from eg_agent.verify.data import noise_variance, prepare
from eg_agent.verify.fitting import beam_of, fit_pattern, quality_of
from eg_agent.verify.likelihood import marginal_likelihood
from eg_agent.verify.metric import cell_of, metric_system, symmetrized
from eg_agent.verify.report import lmfit_parameters
from eg_agent.verify.settings import VerifySettings


def _fit(pattern, cell):
    system = metric_system(cell)
    return fit_pattern(
        pattern, symmetrized(cell, system), system, VerifySettings(), time.perf_counter() + 60.0
    )


@pytest.mark.parametrize("off", [0.0, 0.006, -0.012])
def test_cell_and_zero_come_back(simulated: Callable, off: float) -> None:
    """Given cells 0.6 and 1.2 % off; lengths within 0.02 % with a zero shift of 0.05 degrees."""
    made = simulated("barite", zero=0.05)
    cell = tuple(v * (1 + off) if i < 3 else v for i, v in enumerate(made.known.cell))
    fit = _fit(made.pattern, cell)
    found = cell_of(fit.problem.metric(fit.parameters.value[: fit.parameters.n_free]))
    assert found == pytest.approx(made.known.cell, rel=2e-4)
    quality = quality_of(fit)
    assert quality.rwp < 1.25 * quality.rexp
    assert quality.explained > 0.98


def test_intensities_come_back_within_their_errors(simulated: Callable) -> None:
    """Isolated lines of barite: pulls against the simulated areas have a spread of about one."""
    made = simulated("barite", counts=2e4)
    likelihood = marginal_likelihood(_fit(made.pattern, made.known.cell))
    at = np.degrees(2 * np.arcsin(0.5 * made.pattern.radiation.wavelength / made.d))
    pulls, ratios = [], []
    for k, centre in enumerate(likelihood.two_theta):
        alone = np.sum(np.abs(likelihood.two_theta - centre) < 0.35) == 1
        if not alone:
            continue
        true = made.area[np.abs(at - centre) < 0.12].sum()
        if true < 20 * likelihood.sigma[k]:
            continue
        pulls.append((likelihood.intensity[k] - true) / np.hypot(likelihood.sigma[k], 0.03 * true))
        ratios.append(likelihood.intensity[k] / true)
    assert len(pulls) > 8
    assert np.median(ratios) == pytest.approx(1.0, abs=0.03)
    assert np.median(np.abs(pulls)) < 1.5


def test_absent_lines_come_out_at_zero_within_their_errors(simulated: Callable) -> None:
    made = simulated("barite", counts=2e4)
    likelihood = marginal_likelihood(_fit(made.pattern, made.known.cell))
    absent = setting_of_space_group("P n m a").absent(likelihood.lines.representative)
    single = np.bincount(likelihood.lines.line) == np.bincount(
        likelihood.lines.line, setting_of_space_group("P n m a").absent(likelihood.lines.members)
    )
    forbidden = absent & single
    assert forbidden.sum() > 20
    ratio = likelihood.intensity[forbidden] / likelihood.sigma[forbidden]
    assert np.mean(ratio < 3.0) > 0.9


def test_parameters_are_named_bounded_and_have_errors(simulated: Callable) -> None:
    made = simulated("barite")
    fit = _fit(made.pattern, made.known.cell)
    found = lmfit_parameters(fit)
    assert {"a", "b", "c", "zero", "w", "x"} <= set(found)
    assert found["a"].value == pytest.approx(8.884, rel=2e-4)
    assert 0 < found["a"].stderr < 0.01
    assert found["w"].min <= found["w"].value <= found["w"].max


def test_a_single_wavelength_near_kalpha1_lets_the_data_find_the_doublet(simulated: Callable) -> None:
    doublet = simulated("scheelite", fwhm=0.08)
    single = simulated("scheelite", fwhm=0.08, radiation=Radiation(1.540593))
    for made, expected in ((doublet, 0.5), (single, 0.0)):
        stated = type(made.pattern)(
            made.pattern.two_theta, made.pattern.intensity, Radiation(1.5406), raw_counts=True
        )
        fit = _fit(stated, made.known.cell)
        assert fit.parameters.shape.ratio == pytest.approx(expected, abs=0.08)


def test_beams() -> None:
    assert beam_of(Radiation.anode("Cu")).wavelengths == Radiation.anode("Cu").wavelengths
    mean = beam_of(Radiation(1.5418))
    assert len(mean.wavelengths) == 2
    assert "K-alpha-bar" in mean.note
    assert beam_of(Radiation(0.7)).wavelengths == (0.7,)
    assert beam_of(Radiation(1.5406, kind="neutron")).wavelengths == (1.5406,)


@pytest.mark.parametrize("gain", [1.0, 25.0])
def test_noise_is_read_from_the_data_where_it_is_not_given(simulated: Callable, gain: float) -> None:
    made = simulated("barite", counts=3e3, background=0.1)
    y = np.asarray(made.pattern.intensity)
    found = noise_variance(y * gain) / gain**2
    expected = np.maximum(y, 1.0)
    assert np.median(found / expected) == pytest.approx(1.0, rel=0.35)


def test_fine_steps_are_averaged_so_that_cost_is_bounded(simulated: Callable) -> None:
    made = simulated("halite", two_theta=(20.0, 60.0, 0.002), fwhm=0.15)
    data, peaks = prepare(made.pattern)
    assert data.grid.size < 5000
    assert data.step < data.width / 5
    assert peaks.two_theta.size >= 4
