"""The fit of the chances finds weights that are known, and shifts dealt out from courses keep their time."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.study_turns import by_promise, fit, measurements, shift
from trainer.benchmark.counted_samples import COSTS

FIRST = 100.0


def course(group: int, *probabilities: float, cost: float = 100.0) -> dict:
    """A course with these leading probabilities, always of group 5; each measurement takes `cost` seconds."""
    steps = [
        {
            "t": FIRST + i * cost,
            "took": cost if i else FIRST,
            "p": p,
            "g": 5,
            "H": 1.0,
            "verdict": "undecided",
        }
        | {"cost": cost, "rate": p / cost}
        for i, p in enumerate(probabilities)
    ]
    return {"group": group, "steps": steps}


def test_the_fit_finds_what_it_was_made_with() -> None:
    rng = np.random.default_rng(0)
    weights, intercept = np.array([-2.0, 1.0, 0.5, 0.0, -0.5, 2.0]), -1.0
    x = rng.normal(size=(20_000, 6)) * np.array([0.5, 1.0, 1.0, 2.0, 0.5, 0.3])
    y = rng.random(len(x)) < 1.0 / (1.0 + np.exp(-(x @ weights + intercept)))
    found, at = fit(list(zip(x, y, strict=True)))
    assert found == pytest.approx(weights, abs=0.15)
    assert at == pytest.approx(intercept, abs=0.1)


def test_every_decided_measurement_is_a_row_with_what_it_brought() -> None:
    rows = list(measurements([course(5, 0.3, 0.6, 0.97), course(5, 0.99), course(7, 0.2, 0.1)]))
    assert [answered for _, answered in rows] == [False, True, False]
    assert rows[1][0][-1] == pytest.approx(0.3), "the step up of the look before"


def test_a_shift_is_dealt_out_in_its_time() -> None:
    near, wrong, far = course(5, 0.9, 0.96), course(7, 0.8, 0.96), course(5, 0.1, 0.1, 0.96)
    glances = 3 * (COSTS.sample_change + FIRST)
    one = 100.0 + COSTS.sample_change
    assert shift([near, wrong, far], glances, by_promise, np.inf) == (0, 0)
    assert shift([near, wrong, far], glances + one, by_promise, np.inf) == (1, 0)
    assert shift([near, wrong, far], glances + 2 * one, by_promise, np.inf) == (1, 1)
    # the last two are of one sample, which needs no change in between
    assert shift([near, wrong, far], glances + 3 * one + 100.0, by_promise, np.inf) == (2, 1)
    assert shift([near, wrong, far], glances + 3 * one + 99.0, by_promise, np.inf) == (1, 1)
