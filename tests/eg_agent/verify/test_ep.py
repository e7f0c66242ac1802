"""Evidence of blocks against integrals by quadrature."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import integrate
from scipy.special import erfc

from eg_agent.verify.ep import Mixtures, block_evidence


def _single(h: float, c: float, weights: list[float], means: list[float]) -> float:
    prior = Mixtures(np.log(np.array([[weights]])), np.array([[means]]))
    return float(block_evidence(np.array([[[h]]]), np.array([[c]]), prior)[0][0])


@given(
    observed=st.floats(-4.0, 30.0),
    sigma=st.floats(0.05, 5.0),
    mean=st.floats(0.05, 20.0),
    share=st.floats(0.05, 0.95),
)
@example(observed=-3.0, sigma=0.0625, mean=1.0, share=0.5)
@settings(max_examples=40, deadline=None)
def test_a_single_line_is_the_integral(observed: float, sigma: float, mean: float, share: float) -> None:
    def integrand(i: float) -> float:
        prior = share / mean * math.exp(-i / mean) + (1 - share) / (0.01 * mean) * math.exp(
            -i / (0.01 * mean)
        )
        # relative to its largest value, which underflows where the observed is far below zero
        return prior * math.exp(-0.5 * ((i - observed) ** 2 - min(observed, 0.0) ** 2) / sigma**2)

    # quad needs to be told where the narrow parts are: both exponentials, the Gaussian, and its tail, which
    # falls off as an exponential where the observed is negative
    marks = [
        0.0,
        *(mean * f for f in (1e-3, 0.01, 0.03, 0.1, 1.0)),
        *(observed + sigma * f for f in range(-9, 13, 3)),
        *(sigma**2 / max(-observed, sigma) * f for f in (0.1, 1.0, 3.0, 10.0, 30.0)),
    ]
    marks = sorted(m for m in marks if 0.0 <= m <= max(observed, 0.0) + 12.0 * sigma)
    value = sum(integrate.quad(integrand, a, b, epsabs=0.0)[0] for a, b in itertools.pairwise(marks))
    ours = _single(1 / sigma**2, observed / sigma**2, [share, 1 - share], [mean, 0.01 * mean])
    ours -= 0.5 * (max(observed, 0.0) / sigma) ** 2
    assert ours == pytest.approx(math.log(value), abs=2e-5)


@given(observed=st.floats(-3.0, 10.0), sigma=st.floats(0.3, 3.0), mean=st.floats(0.5, 10.0))
@settings(max_examples=25, deadline=None)
def test_one_exponential_is_the_singlet_of_extsym(observed: float, sigma: float, mean: float) -> None:
    """Markvardsen et al. (2001): Z of an allowed singlet under Wilson's acentric law."""
    z = (
        (sigma / mean)
        * math.sqrt(math.pi / 2)
        * math.exp(sigma**2 / (2 * mean**2) - observed / mean)
        * erfc((sigma / mean - observed / sigma) / math.sqrt(2))
    )
    ours = _single(1 / sigma**2, observed / sigma**2, [1.0], [mean]) - 0.5 * (observed / sigma) ** 2
    assert ours == pytest.approx(math.log(z), abs=1e-8)


def test_a_vanishing_mean_is_the_absent_singlet() -> None:
    observed, sigma = 2.0, 0.7
    ours = _single(1 / sigma**2, observed / sigma**2, [1.0], [1e-7]) - 0.5 * (observed / sigma) ** 2
    assert ours == pytest.approx(-0.5 * (observed / sigma) ** 2, abs=1e-5)


def _grid_integral(h: np.ndarray, c: np.ndarray, weights: np.ndarray, means: np.ndarray) -> float:
    edges = np.concatenate([[0.0], np.logspace(-6, np.log10(80.0), 1600)])
    at, width = 0.5 * (edges[1:] + edges[:-1]), np.diff(edges)
    prior = (weights[:, None, :] / means[:, None, :] * np.exp(-at[None, :, None] / means[:, None, :])).sum(
        axis=-1
    )
    x, y = at[:, None], at[None, :]
    value = np.exp(c[0] * x + c[1] * y - 0.5 * (h[0, 0] * x * x + 2 * h[0, 1] * x * y + h[1, 1] * y * y))
    return float(np.log(np.einsum("ij,i,j->", value, prior[0] * width, prior[1] * width)))


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.6, 0.9, 0.97])
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_two_overlapped_lines_are_the_integral(overlap: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sigma = 10 ** rng.uniform(-0.7, 0.5, 2)
    covariance = np.outer(sigma, sigma) * np.array([[1.0, -overlap], [-overlap, 1.0]])
    h = np.linalg.inv(covariance)
    observed = rng.exponential(1.0, 2) * rng.integers(0, 2, 2) + sigma * rng.standard_normal(2)
    weights = np.tile([0.1, 0.2, 0.4, 0.3], (2, 1))
    means = np.tile([1e-3, 0.1, 0.5, 2.0], (2, 1))
    if seed % 2:
        weights[0], means[0] = [0.49, 0.49, 0.01, 0.01], [1e-4, 1e-4, 0.2, 2.0]
    c = h @ observed
    if 0.5 * observed @ c > 600:  # exp would overflow in the reference
        pytest.skip("outside the range of the reference")
    ours = float(block_evidence(h[None], c[None], Mixtures(np.log(weights)[None], means[None]))[0][0])
    assert ours == pytest.approx(_grid_integral(h, c, weights, means), abs=0.2)


def test_lines_that_do_not_overlap_are_a_product() -> None:
    prior = Mixtures(np.log(np.full((1, 3, 2), 0.5)), np.tile([0.01, 2.0], (1, 3, 1)))
    h, c = np.diag([4.0, 1.0, 9.0])[None], np.array([[4.0, -0.5, 18.0]])
    joint = block_evidence(h, c, prior)[0][0]
    each = sum(_single(h[0, i, i], c[0, i], [0.5, 0.5], [0.01, 2.0]) for i in range(3))
    assert joint == pytest.approx(each, abs=1e-3)
