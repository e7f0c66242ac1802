"""What knowing the composition costs: groups and properties of one pattern, one core, processor time."""

from __future__ import annotations

import time

import torch

from eg_agent.chemistry import Composition
from eg_agent.model import Classifier
from eg_agent.model.properties import PropertyModel
from tests.bench.bench_model import milliseconds, pattern

#: Milliseconds that a pattern with its composition may take, all networks together.
BOUND_MS = 20.0


def rows() -> list[tuple[str, float, str, float | None]]:
    """(what, value, unit, bound), on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        classifier = Classifier.load()
        began = time.process_time()
        properties = PropertyModel.load()
        load = 1e3 * (time.process_time() - began)
        full, garnet = pattern(5.0, 90.0), Composition.of_formula("Ca3Al2Si3O12")
        plain = milliseconds(lambda: classifier.predict(full))
        told = milliseconds(lambda: classifier.predict(full, garnet))
        expected = milliseconds(lambda: properties.estimate(full, garnet))
        both = milliseconds(lambda: (classifier.predict(full, garnet), properties.estimate(full, garnet)))
        return [
            ("multimodal checkpoint load", load, "ms", None),
            ("groups, pattern alone", plain, "ms", None),
            ("groups, pattern and composition", told, "ms", BOUND_MS),
            ("properties, pattern and composition", expected, "ms", BOUND_MS),
            ("groups and properties, pattern and composition", both, "ms", BOUND_MS),
        ]
    finally:
        torch.set_num_threads(threads)
