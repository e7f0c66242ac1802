"""The hidden classes of `score.hidden`, and what simpler criteria say."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest

from eg_agent.symmetry import Setting
from eg_agent.verify.candidates import Candidate
from eg_agent.verify.criteria import criteria
from eg_agent.verify.fitting import NotFitted
from eg_agent.verify.score import HIDDEN, MOST_HIDDEN, T_HIDDEN, hidden

EVERYTHING = np.full(6, 2.0)
LEVEL = np.full(6, T_HIDDEN)


def _candidate(lines: list[int], absent: tuple[float, float, float]) -> Candidate:
    return Candidate(cast(Setting, None), 2.0 * np.array(lines, dtype=float), np.array(absent))


AXIS = _candidate([1, 1, 1, 1, 0, 0], (2, 0, 0))
CENTRED = _candidate([1, 1, 0, 0, 0, 0], (2, 2, 8))


def test_absences_speak_no_louder_than_the_chance_that_a_class_is_hidden() -> None:
    """The absence-free lattice is a mixture, so another candidate cannot beat it by more than 1/chance."""
    found = hidden(np.array([200.0, -50.0]), [AXIS, CENTRED], EVERYTHING, LEVEL)
    assert found[0] == pytest.approx(-np.log(HIDDEN[0]), abs=5e-3)
    found = hidden(np.array([-50.0, 200.0]), [AXIS, CENTRED], EVERYTHING, LEVEL)
    assert found[1] == pytest.approx(-np.log(HIDDEN[2]), abs=0.05)
    # AXIS may look centred as well as the absence-free lattice may
    assert found[0] == pytest.approx(0.0, abs=0.1)


def test_what_is_seen_is_left_as_it_is() -> None:
    found = hidden(np.array([-30.0, -300.0]), [AXIS, CENTRED], EVERYTHING, LEVEL)
    assert found[0] == pytest.approx(-30.0, abs=0.1)


def test_faint_lines_hide_more_easily_in_noise() -> None:
    quiet = hidden(np.array([200.0, -50.0]), [AXIS, CENTRED], EVERYTHING, LEVEL)
    noisy = hidden(np.array([200.0, -50.0]), [AXIS, CENTRED], EVERYTHING, 10 * LEVEL)
    assert noisy[0] < quiet[0]
    assert noisy[0] >= -np.log(MOST_HIDDEN) - 1e-6


def test_criteria_rank_a_clear_pattern_alike(simulated: Callable) -> None:
    made = simulated("barite", counts=5e4)
    found = criteria(made.pattern, made.known.cell)
    assert len(found.group) == 33
    assert found.group[np.argmax(found.log_evidence)] == 17
    place = int(np.flatnonzero(found.group == 17)[0])
    assert np.sum(found.bic < found.bic[place]) < 3
    free = int(np.flatnonzero(found.group == 7)[0])
    # more lines fit no worse, so AIC, which hardly counts them, never puts the absence-free group far behind
    assert found.aic[free] - found.aic.min() < found.bic[free] - found.bic.min()
    assert np.all(np.isfinite(found.le_bail))
    assert found.le_bail[free] < 3.0


def test_criteria_of_a_wrong_cell_are_not_given(simulated: Callable) -> None:
    with pytest.raises(NotFitted):
        criteria(simulated("barite").pattern, (5.9, 5.9, 5.9, 90, 90, 90))
