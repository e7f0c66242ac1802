"""The correction of the joint weighing: bounded, of each candidate by itself, nothing where there is none."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.identify import joint
from eg_agent.identify.refinement import MOST, N_INPUTS, WEIGHTS, Refinement, inputs_of, shipped
from eg_agent.verify.traits import CONTEXT, TRAITS


@given(seed=st.integers(0, 10_000), size=st.floats(0.0, 1e3))
@settings(max_examples=50)
def test_it_is_bounded_and_of_each_candidate_by_itself(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    inputs = size * rng.normal(size=(9, N_INPUTS))
    found = shipped()(inputs)
    assert np.abs(found).max() <= MOST
    order = rng.permutation(9)
    np.testing.assert_allclose(shipped()(inputs[order]), found[order], atol=1e-12)
    np.testing.assert_allclose(shipped()(inputs[3:4]), found[3:4], atol=1e-12)


def test_without_networks_nothing_is_corrected() -> None:
    assert not Refinement()(np.ones((4, N_INPUTS))).any()


def test_what_is_fed_in_is_bounded_where_nats_are_not() -> None:
    rng = np.random.default_rng(1)
    traits, context = rng.normal(size=(3, len(TRAITS))), rng.normal(size=len(CONTEXT))
    wild = np.array([-400.0, 0.0, 90.0])
    found = inputs_of(traits, wild, np.zeros(3), np.zeros(3), wild - 100.0, context, 0.5)
    assert found.shape == (3, N_INPUTS)
    np.testing.assert_array_equal(found[:, : len(TRAITS)], traits)
    np.testing.assert_allclose(found[:, len(TRAITS)], [-2.4, 0.0, 1.2])
    np.testing.assert_allclose(found[:, len(TRAITS) + 3], [-2.4, -2.4, -2.0])
    np.testing.assert_array_equal(found[:, -1], 0.5)
    np.testing.assert_array_equal(found[2, -1 - len(CONTEXT) : -1], context)


def test_the_shipped_correction_was_worth_it_out_of_fold() -> None:
    said = json.loads(WEIGHTS.with_suffix(".json").read_text("utf-8"))["out_of_fold"]
    for kind in ("counted", "measured_misfit"):
        assert said[kind]["joint"]["nll"] < said[kind]["uncorrected"]["nll"]
    assert joint.shipped() is joint.shipped()
    assert len(shipped().members) > 1
