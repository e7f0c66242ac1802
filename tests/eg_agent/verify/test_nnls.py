"""The non-negative solver against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear, nnls

from eg_agent.verify.nnls import nnls_normal


@given(seed=st.integers(0, 10_000), columns=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_it_is_the_non_negative_least_squares_solution(seed: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    a = np.maximum(rng.normal(size=(80, columns)), 0.0) + 0.05 * rng.random((80, columns))
    y = a @ np.maximum(rng.normal(size=columns), 0.0) + 0.5 * rng.normal(size=80)
    x, passive = nnls_normal(a.T @ a, a.T @ y, np.ones(columns, dtype=bool))
    reference, _ = nnls(a, y)
    np.testing.assert_allclose(x, reference, atol=1e-6 * max(1.0, float(reference.max())))
    assert np.all(x[~passive] == 0.0)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_free_variables_may_be_negative_and_a_start_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(60, 20))
    y = rng.normal(size=60)
    nonnegative = np.arange(20) < 14
    reference = lsq_linear(a, y, bounds=(np.where(nonnegative, 0.0, -np.inf), np.inf), tol=1e-13).x
    for start in (None, rng.random(20) < 0.5, np.zeros(20, dtype=bool)):
        x, _ = nnls_normal(a.T @ a, a.T @ y, nonnegative, start=start)
        np.testing.assert_allclose(x, reference, atol=1e-6)


def test_a_start_saves_work_on_blended_columns() -> None:
    grid = np.linspace(0, 1, 200)
    a = np.stack([np.exp(-(((grid - c) / 0.02) ** 2)) for c in (0.4, 0.401, 0.6)], axis=1)
    y = a @ [0.0, 3.0, 1.0]
    normal = a.T @ a + 1e-9 * np.eye(3)
    x, _ = nnls_normal(normal, a.T @ y, np.ones(3, dtype=bool))
    assert np.all(x >= 0)
    assert a @ x == pytest.approx(y, abs=1e-4)
