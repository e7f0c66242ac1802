"""`python tests/bench/adaptive_replay_pairs.py --data DIR [--json]`: pairs of 2- and 8-minute scans.

20 mixtures of two or three powders, each scanned at a diffractometer for 2 and again for 8 minutes. What
would the agent have done after the first 2 minutes, with 6 more allowed? It sees the 2-minute scan, with no
cell; what it asks for is dealt out from the photons of the 8-minute scan, none twice: four points of that
scan make one of the short scan's. Nothing is invented: what would need more photons than were counted is cut
to those.

A mixture has no one symmetry. So no answer can be right; what counts is whether the agent says so ("no
confident match"), names the group of one of the phases, or is sure of another one; whether 6 more minutes
change that; and what it spends. The phases are those weighed in, in the forms that they are sold in. Nothing
is fitted on these patterns.

A strip detector moves on while it counts: a point costs its counting time and no move, and a run 10 s.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(_name, "1")
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from eg_agent.decide import Costs, Decider, Limits, State
from eg_agent.errors import BadInput
from eg_agent.identify import Identifier, IdentifySettings
from eg_agent.identify.identification import Identification
from eg_agent.patterns import Pattern, Radiation, Source
from eg_agent.records.merging import merge
from eg_agent.reporting import reported
from eg_agent.symmetry import group_of_space_group
from tests.bench.telling import some, tell
from trainer.benchmark.counted_samples import Windows

KIND = "mixture scan pair (2min/8min)"
#: Seconds of the two scans, and how much longer the long one counted a degree: 12.495 s in each of 8,282
#: points against 10.965 s in 2,071 (the detector sees a point in all of its strips).
SHORT, LONG = 120.0, 480.0
EXPOSURE = (12.495 * 8282) / (10.965 * 2071)
#: Points of the long scan to one of the short.
NEIGHBOURS = 4
#: Space groups of the powders in the forms that they are sold in; TiO2 is anatase or rutile.
PHASES = {
    "Bi2O3": (14,),
    "In2O3": (206,),
    "La(OH)3": (176,),
    "Li2CO3": (15,),
    "MnCO3": (167,),
    "NiO": (225,),
    "TiO2": (141, 136),
    "V2O5": (59,),
    "ZnO": (186,),
    "ZrO2": (14,),
}
COSTS = Costs(overhead=10.0, move_per_point=0.0)


@dataclass(frozen=True, eq=False)
class Pair:
    """A mixture: the short scan, the long one, and the groups of what was weighed in."""

    name: str
    short: Pattern
    long: Pattern
    groups: frozenset[int]


def pairs(folder: Path) -> list[Pair]:
    """The pairs of a folder of series."""
    import pandas as pd

    index = pd.read_csv(folder / "index.csv")
    arrays = np.load(folder / "patterns.npz")
    index = index[index.kind == KIND]
    wavelength = dict(zip(index["id"], index["wavelength"], strict=True))
    if not wavelength:
        raise BadInput(f"{folder / 'index.csv'} has no rows of the kind {KIND!r}: give the folder of series.")

    def pattern(ident: str, seconds: float) -> Pattern:
        x, y = arrays[ident].astype(np.float64)
        return Pattern(
            two_theta=x,
            intensity=y,
            radiation=Radiation(float(wavelength[ident])),
            counting_time=np.full(x.size, seconds / x.size),
            raw_counts=True,
            source=Source(kind="file", name=ident),
        )

    found = []
    for ident in sorted(name for name in wavelength if name.endswith("--2min")):
        name = ident.removeprefix("dara_").removesuffix("--2min")
        numbers = [n for part in name.split("-") for n in PHASES[part.split("_")[0]]]
        found.append(
            Pair(
                name,
                pattern(ident, SHORT),
                pattern(ident.replace("--2min", "--8min"), LONG),
                frozenset(group_of_space_group(n) for n in numbers),
            )
        )
    return found


class Photons:
    """The counts of a long scan, dealt out at the points of the short one, none twice."""

    def __init__(self, pair: Pair, seed: int) -> None:
        self.pair, self.x = pair, pair.short.two_theta
        long = pair.long
        step = float(np.mean(np.diff(long.two_theta)))
        first = np.round((self.x - long.two_theta[0]) / step - 0.5 * (NEIGHBOURS - 1)).astype(np.intp)
        first = np.clip(first, 0, long.two_theta.size - NEIGHBOURS)
        near = first[:, None] + np.arange(NEIGHBOURS)
        self.counts = long.intensity[near].sum(axis=1).astype(np.int64)
        # exposure that is left, in units of the short scan
        self.left = np.full(self.x.size, EXPOSURE)
        self.short = False
        self._rng = np.random.default_rng([0xDA7A, seed])

    def measure(self, windows: Windows, seconds: float) -> Pattern:
        """Points in the windows (degrees), counted for `seconds` each, as far as the photons reach."""
        inside = np.zeros(self.x.size, dtype=bool)
        for low, high in windows:
            inside |= (self.x >= low - 1e-6) & (self.x <= high + 1e-6)
        unit = SHORT / self.x.size
        asked = seconds / unit
        part = np.minimum(asked, self.left[inside])
        self.short = self.short or bool(np.any(part < asked * (1.0 - 1e-9)))
        got = self._rng.binomial(self.counts[inside], part / np.maximum(self.left[inside], 1e-12))
        self.counts[inside] -= got
        self.left[inside] -= part
        return Pattern(
            two_theta=self.x[inside],
            intensity=got.astype(np.float64),
            radiation=self.pair.short.radiation,
            counting_time=part * unit,
            raw_counts=True,
            covered=tuple(windows) if len(windows) > 1 else (),
            source=Source(kind="file", name=self.pair.name),
        )


def said(found: Identification, groups: frozenset[int]) -> dict[str, Any]:
    """What an identification says of a mixture."""
    best = found.top[0] if found.top else None
    return {
        "verdict": found.verdict,
        "group": best.group if best else 0,
        "symbol": best.symbol if best else "",
        "probability": round(best.probability, 4) if best else 0.0,
        "of_a_phase": bool(best and best.group in groups),
        "evidence": found.evidence.status if found.evidence else "none",
        "cells": len(found.cells),
        "reason": found.reason,
    }


def followed(pair: Pair, identifier: Identifier, seed: int) -> dict[str, Any]:
    """What the agent does after the short scan, what it says at its end, and what the long scan says."""
    limits = Limits(
        two_theta=(float(pair.short.two_theta[0]), float(pair.short.two_theta[-1])),
        max_seconds_per_sample=LONG,
        max_total_seconds=1e9,
    )
    decider, photons = Decider(limits, costs=COSTS), Photons(pair, seed)
    state = State(sample=pair.name).measured(SHORT, seconds_per_point=SHORT / len(pair.short))
    pattern, steps = pair.short, []
    found = early = identifier.identify(pattern)
    while True:
        state = state.seen(found)
        decision = decider.decide(found, state)
        steps.append({"action": decision.action, "cost": round(decision.cost, 1), "reason": decision.reason})
        if not decision.windows or decision.seconds_per_point is None:
            break
        pattern = merge(pattern, photons.measure(decision.windows, decision.seconds_per_point))
        state = state.spent(decision)
        found = identifier.identify(pattern)
    return {
        "name": pair.name,
        "groups": sorted(pair.groups),
        "short": said(early, pair.groups),
        "end": said(found, pair.groups),
        "long": said(identifier.identify(pair.long), pair.groups),
        "steps": steps,
        "seconds": round(state.sample_seconds, 1),
        "photons_short": photons.short,
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Verdicts after 2 minutes, at the agent's end and after 8 minutes; changes, decisions and seconds."""
    seconds = np.array([row["seconds"] for row in rows])

    def at(when: str) -> dict[str, Any]:
        told = [row[when] for row in rows]
        verdicts = sorted({one["verdict"] for one in told})
        return {
            "verdicts": {v: sum(one["verdict"] == v for one in told) for v in verdicts},
            "leading_group_of_a_phase": sum(one["of_a_phase"] for one in told),
            "identified_of_a_phase": sum(
                one["verdict"] == "identified" and one["of_a_phase"] for one in told
            ),
            "mean_probability": float(np.mean([one["probability"] for one in told])),
        }

    def changed(a: str, b: str, what: str) -> int:
        return sum(row[a][what] != row[b][what] for row in rows)

    actions = sorted({row["steps"][0]["action"] for row in rows})
    return {
        "n": len(rows),
        **{when: at(when) for when in ("short", "end", "long")},
        "first_decision": {a: sum(row["steps"][0]["action"] == a for row in rows) for a in actions},
        "seconds_of_the_agent": {
            "median": float(np.median(seconds)),
            "mean": float(seconds.mean()),
            "least": float(seconds.min()),
            "most": float(seconds.max()),
            "seconds_of_the_long_scan_over_mean": float(LONG / seconds.mean()),
        },
        "changed_from_short_to_long": {w: changed("short", "long", w) for w in ("verdict", "group")},
        "changed_from_end_to_long": {w: changed("end", "long", w) for w in ("verdict", "group")},
        "asked_for_more_photons_than_counted": sum(row["photons_short"] for row in rows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of series: index.csv, patterns.npz")
    parser.add_argument(
        "--index-seconds", type=float, default=20.0, help="to look for a cell; 0: network alone"
    )
    parser.add_argument("--number", type=some, help="the first so many pairs only")
    parser.add_argument("--prior", default="inorganic")
    parser.add_argument("--rows", type=Path, help="write what was said of each pair")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    settings = IdentifySettings(index_seconds=arguments.index_seconds)
    identifier = Identifier("default", arguments.prior, settings)
    rows = []
    for number, pair in enumerate(pairs(arguments.data)[: arguments.number]):
        rows.append(followed(pair, identifier, number))
        sys.stderr.write(f"{number + 1}: {pair.name}\n")
    result = summary(rows)
    if arguments.rows:
        arguments.rows.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tell(result, as_json=arguments.json, width=36)


if __name__ == "__main__":
    reported(main, "tests.bench.adaptive_replay_pairs")
