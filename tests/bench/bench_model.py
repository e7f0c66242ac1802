"""The network's share of an answer: one pattern, warm, on one core."""

from __future__ import annotations

import time
from statistics import median

import numpy as np
import torch

from eg_agent.model import Classifier
from eg_agent.patterns import Pattern, Radiation

#: Milliseconds that the network may take for one pattern (the trainer's aim is 15).
BOUND_MS = 50.0


def pattern(low: float, high: float) -> Pattern:
    """Poisson counts over random peaks, every 0.02 degrees."""
    rng = np.random.default_rng(0)
    angle = np.arange(low, high, 0.02)
    centres = rng.uniform(low, high, 40)
    peaks = np.exp(-(((angle[:, None] - centres) / 0.06) ** 2)) @ rng.gamma(1.0, 300.0, 40)
    counts = rng.poisson(20.0 + peaks).astype(float)
    return Pattern(angle, counts, Radiation.anode("Cu"), raw_counts=True)


def milliseconds(call, repeats: int = 30) -> float:
    """Median time of a call, after three to warm up."""
    times = []
    for i in range(repeats + 3):
        began = time.perf_counter()
        call()
        if i >= 3:
            times.append(1e3 * (time.perf_counter() - began))
    return median(times)


def rows() -> list[tuple[str, float, str, float | None]]:
    """(what, value, unit, bound), on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        began = time.perf_counter()
        classifier = Classifier.load()
        load = 1e3 * (time.perf_counter() - began)
        full, part = pattern(5.0, 90.0), pattern(10.0, 45.0)
        many = [full] * 64
        projected = classifier.grid.project(full)
        intensity, coverage = projected.intensity[None], projected.coverage[None]
        alone = milliseconds(lambda: classifier.projected_scores(intensity, coverage))
        whole = milliseconds(lambda: classifier.predict(full))
        short = milliseconds(lambda: classifier.predict(part))
        together = milliseconds(lambda: classifier.predict(many), 3)
        return [
            ("checkpoint load", load, "ms", None),
            ("network, one pattern, warm", alone, "ms", BOUND_MS),
            ("network and projection, one pattern, warm", whole, "ms", BOUND_MS),
            ("network and projection, a 35-degree scan, warm", short, "ms", BOUND_MS),
            ("network and projection, 64 patterns", 64e3 / together, "patterns/s", None),
        ]
    finally:
        torch.set_num_threads(threads)
