"""How a network's entropy falls with counting: `python -m tests.bench.study_counting STRUCTURES`.

Simulated patterns of real structures at 30 to 100,000 counts in the strongest point go through a
checkpoint. Printed are the mean entropy and the rate of the true group first at each count, and the
pair of `DecideSettings.half_counts` and `noise_share` under which the policy's closed form
(`eg_agent.decide.gain.counting_gain`) predicts the drop in entropy from counting four times as long
best. No measured pattern is touched.
"""

from __future__ import annotations

import argparse
import sys
from itertools import product
from pathlib import Path

import numpy as np

from eg_agent.decide import DecideSettings
from eg_agent.decide.gain import counting_gain
from eg_agent.identify.information import entropy
from eg_agent.identify.measured import measured
from eg_agent.model import Classifier
from eg_agent.patterns import Radiation
from eg_agent.reporting import reported
from simulators.measurement import simulate
from tests.bench.study_fusion import crystals

#: Counts a second at the highest peak, by factors of four so that neighbours are one "count longer" apart.
COUNTS = tuple(30.0 * 4.0**k for k in range(7))
HALF_COUNTS = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0)
SHARES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 0.8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("structures", type=Path, help="folder with the parquet tables of structures")
    parser.add_argument("--checkpoint", default="default")
    parser.add_argument("--prior", default="inorganic")
    parser.add_argument("--number", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    classifier = Classifier.load(arguments.checkpoint, arguments.prior)
    drawn = crystals(arguments.structures, rng, arguments.number)
    angle = np.arange(5.0, 90.0, 0.02)
    h = np.zeros((len(drawn), len(COUNTS)))
    right = np.zeros_like(h)
    summaries = []
    for i, crystal in enumerate(drawn):
        patterns = [simulate(crystal, Radiation.anode("Cu"), angle, rng, peak_rate=rate) for rate in COUNTS]
        summaries.append([measured(pattern) for pattern in patterns])
        for j, posterior in enumerate(classifier.predict(patterns)):
            h[i, j] = entropy(posterior.log_probability)
            right[i, j] = posterior.top(1)[0][0] == crystal.group
    out = sys.stdout
    out.write("counts  entropy (nats)  true group first\n")
    for j, rate in enumerate(COUNTS):
        out.write(f"{rate:7.0f} {h[:, j].mean():12.3f} {right[:, j].mean():12.3f}\n")
    drop = h[:, :-1] - h[:, 1:]
    errors = {}
    for half, share in product(HALF_COUNTS, SHARES):
        settings = DecideSettings(half_counts=half, noise_share=share)
        predicted = np.array(
            [
                [
                    counting_gain(float(h[i, j]), summaries[i][j], 3.0, settings)
                    for j in range(len(COUNTS) - 1)
                ]
                for i in range(len(drawn))
            ]
        )
        errors[half, share] = float(np.sqrt(np.mean((predicted.mean(axis=0) - drop.mean(axis=0)) ** 2)))
    for (half, share), error in sorted(errors.items(), key=lambda entry: entry[1])[:5]:
        out.write(f"half_counts {half:.0f}, noise_share {share}: error of the mean drop {error:.3f} nats\n")
    now = DecideSettings()
    out.write(f"defaults: half_counts {now.half_counts:.0f}, noise_share {now.noise_share}\n")


if __name__ == "__main__":
    reported(main, "tests.bench.study_counting")
