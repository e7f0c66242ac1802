"""What samples look like that an isotype would have given."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from eg_agent.verify.line_features import FEATURES
from trainer.absences.isotypes import PLACE_SPREAD, THERE, like_isotypes
from trainer.absences.network import Lines

STANDING, INTENSITY = FEATURES.index("standing"), FEATURES.index("intensity")
OF_STRONGEST, PLACE = FEATURES.index("of_strongest"), FEATURES.index("place")
CHANGED = {STANDING, INTENSITY, OF_STRONGEST, PLACE}


def _lines(seed: int) -> Lines:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(6, 40, len(FEATURES))).astype(np.float32)
    values[..., STANDING] = np.sign(values[..., STANDING]) * rng.uniform(0.0, 8.0, (6, 40))
    there = (rng.random((6, 40)) < 0.9).astype(np.float32)
    values *= there[..., None]
    whole = {name: torch.zeros(6, 1) for name in ("kinds", "family", "shape", "forbidden", "groups", "group")}
    return Lines(torch.from_numpy(values), there=torch.from_numpy(there), **whole)


def _standing(of: Lines) -> np.ndarray:
    said = of.values[..., STANDING].double().numpy()
    return np.sign(said) * np.expm1(np.abs(said))


@given(st.integers(0, 10_000))
def test_absent_lines_stay_absent_and_the_others_stay_there(seed: int) -> None:
    of = _lines(seed)
    before = of.values.clone()
    found = like_isotypes(of, np.random.default_rng(seed))
    np.testing.assert_array_equal(of.values, before)
    was, now = _standing(of), _standing(found)
    absent = was < THERE * (1 - 1e-4)
    np.testing.assert_allclose(now[absent], was[absent], rtol=1e-4, atol=1e-4)
    assert (now[~absent] > THERE * (1 - 1e-3)).all()
    rest = [i for i in range(len(FEATURES)) if i not in CHANGED]
    np.testing.assert_array_equal(found.values[..., rest], of.values[..., rest])


@given(st.integers(0, 10_000))
def test_all_that_tells_an_intensity_changes_alike(seed: int) -> None:
    of = _lines(seed)
    found = like_isotypes(of, np.random.default_rng(seed))
    there = _standing(of) > 1.01 * THERE
    factor = np.log(_standing(found)[there] / _standing(of)[there])
    for feature in (INTENSITY, OF_STRONGEST):
        change = (found.values - of.values)[..., feature].numpy()[there]
        np.testing.assert_allclose(2 * change, factor, atol=2e-3)


def test_places_move_a_little_but_those_of_no_line() -> None:
    of = _lines(1)
    moved = (like_isotypes(of, np.random.default_rng(2)).values - of.values)[..., PLACE].numpy()
    there = of.there.numpy() > 0
    assert (moved[~there] == 0.0).all()
    assert 0.8 * PLACE_SPREAD < moved[there].std() < 1.2 * PLACE_SPREAD
