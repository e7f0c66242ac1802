"""Configurations, budgets and the learning rate."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eg_agent.errors import BadInput
from trainer.config import CONFIGS, Budget, ScheduleConfig, config
from trainer.fit import config_of
from trainer.loop import learning_rate_scale


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_survives_json(name):
    made = config(name)
    assert made.name == name
    assert config_of(made.to_dict()) == made


def test_a_typo_is_an_error():
    with pytest.raises(BadInput, match="small"):
        config("smal")
    with pytest.raises(BadInput, match="written by another version"):
        config_of({**config("tiny").to_dict(), "learnig_rate": 1.0})


@given(st.floats(0, 1), st.floats(0, 1))
def test_learning_rate_falls_and_ends_at_zero(a, b):
    schedule = ScheduleConfig(warmup_steps=10, decay_share=0.4)
    low, high = sorted((a, b))
    assert learning_rate_scale(schedule, 100, low) >= learning_rate_scale(schedule, 100, high)
    assert learning_rate_scale(schedule, 100, 1.0) == 0.0
    assert learning_rate_scale(schedule, 100, 0.6) == pytest.approx(1.0)
    assert learning_rate_scale(schedule, 100, 0.8) == pytest.approx(0.5)


def test_warm_up_is_linear():
    schedule = ScheduleConfig(warmup_steps=4)
    np.testing.assert_allclose(
        [learning_rate_scale(schedule, s, 0.0) for s in range(6)], [0.25, 0.5, 0.75, 1, 1, 1]
    )


def test_progress_of_each_budget(monkeypatch):
    assert Budget(patterns=200).progress(50, 1e9) == 0.25
    assert Budget(seconds=200).progress(10**9, 50.0) == 0.25
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    # 30 s of training done and 90 s left on the clock: a pause between runs does not count
    assert Budget(until=1090.0).progress(7, 30.0) == 0.25
    assert Budget(until=999.0).progress(7, 30.0) == 1.0


@pytest.mark.parametrize("given", [{}, {"patterns": 1, "seconds": 1.0}, {"patterns": 0}, {"seconds": -1.0}])
def test_exactly_one_positive_budget(given):
    with pytest.raises(BadInput, match="exactly one budget"):
        Budget(**given)
