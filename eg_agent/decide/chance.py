"""The chance that the next measurement of a sample brings its answer, as measured on many samples.

What a decision promises is an expectation within the model, and among samples it misleads: one that no
counting decides goes on promising. What was said so far tells more: how near to an answer the leading group
is, whether the last look brought it nearer, how often one has looked in vain, and how much is to be counted
now beside all that was. Everything is without unit, so that it holds for a fast beamline as for a tube.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from eg_agent.decide.decision import Decision
from eg_agent.decide.state import State

#: Nats of an answer that says nothing: 99 groups alike.
NOTHING_KNOWN = math.log(99.0)
#: Probability above which a leading group is no nearer to an answer.
NEAREST = 0.99
#: Seconds of the next measurement over those of all before, at least and at most: nothing is known beyond.
RATIOS = (0.01, 100.0)

FEATURES = ("refused", "nearness", "entropy", "log_ratio", "log_looks", "step_up")
#: Fitted to 3,338 measurements of 640 simulated samples (`tests/bench/study_turns.py`).
WEIGHTS: npt.NDArray[np.float64] = np.array([-2.782, 2.376, 1.515, 0.663, -0.398, 1.394])
INTERCEPT = -6.486


def features(decision: Decision, state: State) -> npt.NDArray[np.float64]:
    """What the chance is reckoned from, [6], as in `FEATURES`.

    refused: 1 where the last look gave no answer at all. nearness: -ln(1 - p) of the leading group; entropy:
    nats of the last answer. log_ratio: of the seconds that the decision takes over those spent so far.
    log_looks: ln of the measurements so far. step_up: by how much the last look raised the leading
    probability.
    """
    last = state.history[-1] if state.history else None
    before = state.history[-2] if len(state.history) > 1 else last
    refused = last is None or last.probability is None
    leading = _probability(last)
    entropy = NOTHING_KNOWN if last is None or last.entropy is None else last.entropy
    ratio = decision.cost / state.sample_seconds if state.sample_seconds > 0.0 else 1.0
    ratio = min(max(ratio, RATIOS[0]), RATIOS[1]) if math.isfinite(ratio) else 1.0
    return np.array(
        [
            float(refused),
            -math.log(1.0 - min(leading, NEAREST)),
            min(max(entropy, 0.0), NOTHING_KNOWN) if math.isfinite(entropy) else NOTHING_KNOWN,
            math.log(ratio),
            math.log1p(max(state.repeats, 0)),
            leading - _probability(before),
        ]
    )


def chance_of_answer(decision: Decision, state: State) -> float:
    """Chance, 0 to 1, that a decision's measurement brings the sample an answer at a probability of 0.95."""
    return float(1.0 / (1.0 + math.exp(-float(features(decision, state) @ WEIGHTS) - INTERCEPT)))


def _probability(look: object) -> float:
    """Of a look's leading group; none where it has none."""
    value = getattr(look, "probability", None)
    return float(value) if value is not None and 0.0 <= value <= 1.0 else 0.0
