"""The network's share of an answer: one pattern, and 1,000, on one core, by processor time."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch

from eg_agent.model import Classifier
from eg_agent.patterns import Pattern, Radiation

#: Milliseconds that the network may take for one pattern.
BOUND_MS = 15.0
#: Patterns a second that are at least asked for, of many at once.
AT_LEAST = 150.0
MANY = 1000


def pattern(low: float, high: float) -> Pattern:
    """Poisson counts over random peaks, every 0.02 degrees."""
    rng = np.random.default_rng(0)
    angle = np.arange(low, high, 0.02)
    centres = rng.uniform(low, high, 40)
    peaks = np.exp(-(((angle[:, None] - centres) / 0.06) ** 2)) @ rng.gamma(1.0, 300.0, 40)
    counts = rng.poisson(20.0 + peaks).astype(float)
    return Pattern(angle, counts, Radiation.anode("Cu"), raw_counts=True)


def milliseconds(call: Callable[[], object], repeats: int = 30, warm_up: int = 3) -> float:
    """Median processor time of a call: one thread's, which other programs do not lengthen."""
    times = []
    for i in range(repeats + warm_up):
        began = time.process_time()
        call()
        if i >= warm_up:
            times.append(1e3 * (time.process_time() - began))
    return median(times)


def rows() -> list[tuple[str, float, str, float | None]]:
    """(what, value, unit, bound), on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        began = time.process_time()
        classifier = Classifier.load()
        load = 1e3 * (time.process_time() - began)
        full, part = pattern(5.0, 90.0), pattern(10.0, 45.0)
        projected = classifier.grid.project(full)
        intensity, coverage = projected.intensity[None], projected.coverage[None]
        alone = milliseconds(lambda: classifier.projected_scores(intensity, coverage))
        whole = milliseconds(lambda: classifier.predict(full))
        short = milliseconds(lambda: classifier.predict(part))
        seconds = milliseconds(lambda: classifier.predict([full] * MANY), 1, 0) / 1e3
        return [
            ("checkpoint load", load, "ms", None),
            ("network, one pattern, warm", alone, "ms", BOUND_MS),
            ("network and projection, one pattern, warm", whole, "ms", BOUND_MS),
            ("network and projection, a 35-degree scan, warm", short, "ms", BOUND_MS),
            (f"network and projection, {MANY:,} patterns", MANY / seconds, "patterns/s", AT_LEAST),
        ]
    finally:
        torch.set_num_threads(threads)
