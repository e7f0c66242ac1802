"""From a document to a decision: network, fit and policy, warm, on one core.

The document is an event as Bluesky emits it, with the whole trace in it; what is timed is everything
from there to a decision, and its parts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from eg_agent.decide import Decider, State
from eg_agent.identify import Identifier, IdentifySettings
from eg_agent.model import Card, Classifier, Network, NetworkConfig, shipped_names
from eg_agent.model.fusion import Calibration
from eg_agent.model.prior import log_prior
from eg_agent.patterns import Pattern, Radiation
from simulators.measurement import simulate
from simulators.textbook import textbook

REPEATS = 7


def rows() -> list[tuple[str, float, str, float | None]]:
    """Medians of warm calls; 3 s to a decision is the project's bound."""
    crystal = next(c for c in textbook() if c.space_group == 62)
    x = np.arange(5.0, 90.0, 0.02)
    pattern = simulate(crystal, Radiation.anode("Cu"), x, np.random.default_rng(0), peak_rate=5000.0)
    document = {"data": {"det_two_theta": x, "det_intensity": pattern.intensity}, "time": 0.0}
    identifier = Identifier(_classifier())
    decider, state = Decider(), State(sample="bench", seconds_per_point=1.0)

    def decide(cell: tuple[float, ...] | None) -> Callable[[], Any]:
        return lambda: decider.decide(identifier.identify(_pattern(document), cell), state)

    indexing = Identifier(identifier.classifier, settings=IdentifySettings(index_seconds=20.0))
    answer = identifier.identify(pattern, crystal.cell)
    assert answer.evidence is not None
    assert answer.evidence.status == "fitted", answer.evidence.reason
    return [
        (
            "network, one pattern, warm",
            1e3 * _seconds(lambda: identifier.classifier.predict(pattern)),
            "ms",
            None,
        ),
        ("document to decision, no cell", _seconds(decide(None)), "s", 3.0),
        ("document to decision, cell known", _seconds(decide(crystal.cell)), "s", 3.0),
        ("pattern alone, cell looked for", _seconds(lambda: indexing.identify(pattern)), "s", 60.0),
    ]


def _pattern(document: dict[str, Any]) -> Pattern:
    data = document["data"]
    seconds = np.ones(len(data["det_two_theta"]))
    return Pattern(
        np.asarray(data["det_two_theta"]),
        np.asarray(data["det_intensity"]),
        Radiation.anode("Cu"),
        counting_time=seconds,
        raw_counts=True,
    )


def _classifier() -> Classifier:
    """The shipped network, or one of its architecture with random weights: speed is the same."""
    if "default" in shipped_names():
        return Classifier.load()
    config = NetworkConfig()
    card = Card("random", config, tuple(log_prior("uniform").tolist()))
    return Classifier(
        Network(config).eval(), card, config.grid, "uniform", log_prior("uniform"), Calibration()
    )


def _seconds(call: Callable[[], Any]) -> float:
    """Median wall-clock seconds of a call, after one to warm up."""
    call()
    found = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return median(found)
