"""Chi-squares of masks against scipy, and what the pooled odds may and may not do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from eg_agent.verify.likelihood import Likelihood
from eg_agent.verify.pooling import Pooling, chi_square, pooled, shipped, terms_of


def _likelihood(seed: int, k: int = 6, n: int = 40) -> tuple[Likelihood, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = rng.random((n, k))
    y = shapes @ np.maximum(rng.normal(0.5, 1.0, k), 0.0) + 0.3 * rng.standard_normal(n)
    data = SimpleNamespace(grid=np.arange(float(n)))
    made = SimpleNamespace(
        precision=shapes.T @ shapes,
        moment=shapes.T @ y,
        intensity=np.ones(k),
        problem=SimpleNamespace(data=data),
    )
    return cast(Likelihood, made), shapes, y


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_chi_square_of_a_mask_is_that_of_a_non_negative_fit(seed: int) -> None:
    likelihood, shapes, y = _likelihood(seed)
    rng = np.random.default_rng(seed + 1)
    masks = np.vstack([rng.random((4, 6)) > 0.4, np.ones((1, 6), dtype=bool), np.zeros((1, 6), dtype=bool)])
    least = nnls(shapes, y)[1] ** 2
    expected = [(nnls(shapes[:, m], y)[1] ** 2 if m.any() else float(y @ y)) - least for m in masks]
    assert chi_square(likelihood, masks) == pytest.approx(np.array(expected), abs=1e-6 * float(y @ y))


def test_terms_price_each_line_at_the_log_of_the_points() -> None:
    likelihood, _, _ = _likelihood(3)
    allowed = np.array([[True] * 6, [True, True, False, True, False, True]])
    terms = terms_of(likelihood, allowed, np.array([0.0, 1.5]))
    assert terms[0] == pytest.approx(np.zeros(3))
    assert terms[1, 0] == 1.5
    assert terms[1, 1] == pytest.approx(np.log(40) - 0.5 * chi_square(likelihood, allowed)[1])
    assert terms[1, 2] == pytest.approx(np.log(3))


FINITE = st.floats(-300.0, 300.0)


@given(terms=st.lists(st.tuples(FINITE, FINITE, st.floats(0.0, 5.0)), min_size=1, max_size=6))
def test_the_absence_free_lattice_stays_the_zero_and_agreed_orders_are_kept(
    terms: list[tuple[float, float, float]],
) -> None:
    found = pooled(np.array([(0.0, 0.0, 0.0), *terms]))
    assert found[0] == pytest.approx(0.0, abs=1e-9)
    for i, one in enumerate(terms, start=1):
        for j, other in enumerate(terms, start=1):
            if all(a >= b for a, b in zip(one, other, strict=True)):
                assert found[i] >= found[j] - 1e-9


def test_no_opinion_is_ever_so_sure_that_the_other_has_no_say() -> None:
    """Forty nats behind cost little more than twenty: then it is misfit that speaks."""
    pooling = Pooling(evidence=1.0, bic=0.0, forbidden=0.0, tail=2.0)
    far = pooled(np.array([[0.0, 0, 0], [-20.0, 0, 0], [-40.0, 0, 0]]), pooling)
    assert far[1] == pytest.approx(-2.0 * np.log(11.0))
    assert far[1] - far[2] == pytest.approx(2.0 * np.log(21.0 / 11.0))


def test_the_shipped_weights_count_every_term_for_what_it_says() -> None:
    weights = shipped()
    assert min(weights.evidence, weights.bic, weights.forbidden, weights.tail) > 0.0
