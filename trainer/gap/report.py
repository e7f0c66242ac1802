"""The domain gap in figures: distances of every statistic and two-sample tests, as one JSON-ready mapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from trainer.gap.distance import auc, distance
from trainer.gap.samples import Sample, with_groups_of
from trainer.gap.statistics import STATISTICS
from trainer.gap.twosample import convolutional, cross_validated_auc, linear, perceptron
from trainer.halves import Half

#: What no single statistic should exceed on half B (or fall below 1 minus it).
AIM = 0.65


def report(halves: Mapping[Half, Sample], simulated: Sample, *, network: bool = True) -> dict[str, Any]:
    """Distances of the simulated sample from both halves, and two-sample tests against half B.

    network: also the convolutional one (a minute or two on one core).
    """
    judge, shaping = halves["B"], halves["A"]
    matched = with_groups_of(simulated, judge)
    rows = []
    for j, statistic in enumerate(STATISTICS):
        found = distance(simulated.table[:, j], judge.table[:, j], judge.name)
        rows.append(
            {
                "name": statistic.name,
                "family": statistic.family,
                "label": statistic.label,
                **asdict(found),
                "auc_same_groups": _auc(matched, judge, j),
                "auc_half_a": _auc(simulated, shaping, j),
            }
        )
    tests = {
        "logistic regression on all statistics": (linear, False),
        "perceptron on all statistics": (perceptron, False),
    }
    if network:
        tests["convolutional network on patterns"] = (convolutional, True)
    classifiers = {}
    for name, (fit, on_patterns) in tests.items():
        # twice as many as measured ones are enough for the network, which is the slow one
        ours = simulated.take(np.arange(min(len(simulated), 2 * len(judge)))) if on_patterns else simulated
        sides = [s.channels if on_patterns else s.table for s in (ours, judge)]
        found = cross_validated_auc(sides[0], sides[1], ours.name, judge.name, fit)
        classifiers[name] = dict(zip(("auc", "auc_low", "auc_high"), found))
    return {
        "patterns": {"simulated": len(simulated), "half A": len(shaping), "half B": len(judge)},
        "compounds": {name: len(set(sample.name)) for name, sample in halves.items()},
        "statistics": rows,
        "two_sample_tests": classifiers,
        "aim": AIM,
        "beyond_aim": [row["name"] for row in rows if not 1 - AIM <= row["auc"] <= AIM],
    }


def _auc(simulated: Sample, measured: Sample, column: int) -> float:
    s, m = simulated.table[:, column], measured.table[:, column]
    return auc(s[s == s], m[m == m])
