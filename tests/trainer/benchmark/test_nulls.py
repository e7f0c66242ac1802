"""The null rows: by hand where small, by what must hold otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.errors import BadInput
from trainer.benchmark import nulls


def test_frequencies_by_hand() -> None:
    base = np.full(99, 1 / 99)
    found = np.exp(nulls.frequencies([0, 0, 4], base, 99.0))
    assert found[0] == pytest.approx(3 / 102)
    assert found[4] == pytest.approx(2 / 102)
    assert found[1] == pytest.approx(1 / 102)
    assert found.sum() == pytest.approx(1.0)


compound_lists = st.lists(st.sampled_from("abcdefgh"), min_size=3, max_size=40).filter(
    lambda c: len(set(c)) > 2
)


@settings(max_examples=50, deadline=None)
@given(compound_lists, st.integers(0, 1000))
def test_folds_keep_compounds_together_and_use_every_fold(compounds: list[str], seed: int) -> None:
    folds = min(3, len(set(compounds)))
    fold = nulls.folds_by_compound(compounds, folds, seed)
    assert set(fold.tolist()) == set(range(folds))
    for name in set(compounds):
        assert len({int(f) for f, c in zip(fold, compounds, strict=True) if c == name}) == 1


def test_too_few_compounds_for_the_folds() -> None:
    with pytest.raises(BadInput, match="folds of 2 compounds"):
        nulls.folds_by_compound(["a", "b", "a"], 3)


def test_out_of_fold_never_sees_its_own_compound() -> None:
    labels = np.array([7, 7, 7, 3, 3, 5])
    compounds = ["a", "a", "a", "b", "b", "c"]
    fold = nulls.folds_by_compound(compounds, 3)
    found = np.exp(nulls.out_of_fold(labels, fold, np.full(99, 1 / 99), 1.0))
    for i, label in enumerate(labels):  # each group is one compound here: only the pseudo-count is left
        others = int((fold != fold[i]).sum())
        assert found[i, label] == pytest.approx((1 / 99) / (others + 1))


def test_prior_only_takes_whichever_predicts_better() -> None:
    labels = np.repeat([10, 20], 100)
    compounds = [f"c{i % 40}" for i in range(200)]
    poor = np.full(99, -np.log(99))
    good = np.full(99, np.log(1e-6))
    good[[10, 20]] = np.log(0.5)
    assert nulls.prior_only(labels, compounds, good, "file").name == "shipped (file)"
    found = nulls.prior_only(labels, compounds, poor, "uniform")
    assert found.name.startswith("out-of-fold frequencies")
    assert -found.log_probability[:, [10, 20]].max(axis=1).mean() < 1.0


def test_prior_only_of_a_single_compound_is_the_shipped_one() -> None:
    assert nulls.prior_only([3, 3], ["a", "a"], np.zeros(99), "uniform").name == "shipped (uniform)"


def test_constant_answers_the_most_frequent_group_with_its_share() -> None:
    found = np.exp(nulls.constant([4, 4, 4, 8]))
    np.testing.assert_allclose(found[:, 4], 0.75, rtol=1e-9)
    np.testing.assert_allclose(found[:, 8], 0.25 / 98, rtol=1e-9)


@settings(max_examples=50, deadline=None)
@given(compound_lists, st.integers(0, 1000))
def test_permutation_uses_each_prediction_once_and_never_of_the_same_compound(
    compounds: list[str], seed: int
) -> None:
    names = np.array(compounds)
    largest = max(compounds.count(c) for c in set(compounds))
    for row in nulls.permutation(compounds, repeats=4, seed=seed):
        assert sorted(row.tolist()) == list(range(len(compounds)))
        if 2 * largest <= len(compounds):
            assert np.all(names[row] != names)
