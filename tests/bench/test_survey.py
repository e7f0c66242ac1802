"""What `tests/bench/survey.py` compares keeps to one budget, and its totals are those of its samples."""

from __future__ import annotations

from pathlib import Path

import pytest

from eg_agent.errors import BadInput
from eg_agent.identify import Identifier, IdentifySettings
from tests.bench.adaptive_strategies import STOP_AT, Trial
from tests.bench.survey import WAYS, Shift, report, run
from trainer.benchmark.counted_samples import COSTS, STAGE_TWO, Sample, draw

SECONDS = 1500.0


@pytest.fixture(scope="module")
def samples(structures: Path) -> list[Sample]:
    return [one.sample() for one in draw(structures, 3, 0, 12, STAGE_TWO)[0]]


@pytest.fixture(scope="module")
def trial() -> Trial:
    return Trial(Identifier("default", "inorganic", IdentifySettings(identified=STOP_AT)))


def test_all_ways_keep_to_the_shift_and_pay_for_every_change(samples: list[Sample], trial: Trial) -> None:
    found = run(samples, trial, SECONDS)
    assert set(found) == set(WAYS)
    for way in found.values():
        changes = way["seconds"] - sum(way["measured_seconds"])
        assert way["seconds"] <= SECONDS + 1e-6
        assert changes >= len(samples) * COSTS.sample_change - 1.0
        assert round(changes / COSTS.sample_change, 1) == pytest.approx(round(changes / COSTS.sample_change))
        assert all(seconds > 0.0 for seconds in way["measured_seconds"])
        assert way["right"] == sum(way["right_of"])
        assert way["decided"] == way["right"] + way["wrong"]
        assert [t for t, _ in way["course"]] == sorted(t for t, _ in way["course"])
    assert found["equal"]["seconds"] == pytest.approx(SECONDS, abs=1.0), "a share is used up"
    told = report([found, found], SECONDS)
    assert told["n"] == 2 * len(samples)
    for name in WAYS:
        assert told[name]["right"] == 2 * found[name]["right"]
    for name, more in told["more_right_than"].items():
        assert more["value"] * told["n"] == pytest.approx(told["survey"]["right"] - told[name]["right"])
        assert more["low"] <= more["value"] <= more["high"]


def test_a_shift_too_short_for_moves_is_refused(samples: list[Sample], trial: Trial) -> None:
    with pytest.raises(BadInput, match="more --hours"):
        Shift(trial, samples, 300.0).equal(90.0, 0.04)
