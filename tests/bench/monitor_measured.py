"""The measured series that judge the monitor: nothing is fitted on them.

CuCr2O4 (17 temperatures, 6.8 to 288.7 K, 0.4133 angstrom): tetragonal above, orthorhombic (Fddd) below about
130 K (Suchomel et al., Phys. Rev. B 86 (2012) 054406), read on cooling and on warming, with the tetragonal
cell (lattice evidence) and without. Without a transition: a mineral mixture milled for longer and longer,
and eight-minute scans dealt out into frames. The PrCoGeSn ramp (five frames over 6.3 degrees) is refused:
it is shorter than what can be judged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from eg_agent.errors import BadPattern
from eg_agent.monitor import MonitorSettings, SymmetryMonitor
from eg_agent.patterns import Pattern, Radiation, Source
from eg_agent.symmetry import group_of_space_group

#: A wavelength for series whose own is not stated; the monitor uses it for nothing but the pattern's record.
UNSTATED = 0.4133
#: The tetragonal cell at room temperature (space group 141), angstrom and degrees.
CELL = (6.0331, 6.0331, 7.7786, 90.0, 90.0, 90.0)


def series(folder: Path) -> dict[str, tuple[list[Pattern], list[float]]]:
    """Patterns and coordinates of each measured series, in the order in which they are judged."""
    import pandas as pd

    index = pd.read_csv(folder / "series" / "index.csv")
    arrays = np.load(folder / "series" / "patterns.npz")

    def patterns(ids: list[str]) -> list[Pattern]:
        out = []
        for ident in ids:
            x, y = arrays[ident].astype(np.float64)
            row = index[index.id == ident].iloc[0]
            wavelength = UNSTATED if np.isnan(row.wavelength) else float(row.wavelength)
            out.append(
                Pattern(
                    two_theta=x,
                    intensity=y,
                    radiation=Radiation(wavelength),
                    raw_counts=bool(np.all(y == np.round(y)) and y.max() > 50),
                    source=Source(kind="file", name=ident),
                )
            )
        return out

    cold = index.loc[index.id.str.startswith("cucr2o4"), :].sort_values(by="T_K")
    warm_ids, kelvin = list(cold.id), [float(t) for t in cold.T_K]
    chrome = patterns(warm_ids)
    found = {
        "CuCr2O4 cooling": (chrome[::-1], kelvin[::-1]),
        "CuCr2O4 warming": (chrome, kelvin),
    }
    mill = list(index[index.id.str.contains("minmill")].id)
    found["milling"] = (patterns(mill), [1.0, 2.0, 3.0, 5.0, 10.0][: len(mill)])
    return found


def measured(folder: Path) -> dict[str, Any]:
    """What the monitor says of each measured series at the shipped thresholds, and its scores."""
    found: dict[str, Any] = {}
    for name, (patterns, at) in series(folder).items():
        found[name] = told(SymmetryMonitor(), patterns, at)
        if name.startswith("CuCr2O4"):
            lattice = SymmetryMonitor(
                MonitorSettings(kinds=("lattice",)), cell=CELL, group=group_of_space_group(141)
            )
            found[f"{name}, cell known"] = told(lattice, patterns, at)
    found["thinned"] = thinned(folder)
    return found


def told(monitor: SymmetryMonitor, patterns: list[Pattern], at: list[float]) -> dict[str, Any]:
    """Alarms, scores and, where a cell is known, the best way's evidence of one series."""
    reports, evidence = [], []
    for pattern, place in zip(patterns, at, strict=True):
        reports.append(monitor.ingest(pattern, place))
        if monitor.distortions:
            best = max(monitor.distortions[-1], key=lambda d: d.log_evidence)
            evidence.append({"at": place, "way": best.way, "nats": best.log_evidence, "strain": best.strain})
    return {
        "frames": len(patterns),
        "alarms": [
            {"at": reports[c.frame].at, "between": c.between, "kind": c.kind, "score": c.score}
            for c in monitor.changes
        ],
        "scores": [{"at": r.at, **{k: float(v) for k, v in r.scores.items()}} for r in reports],
        "evidence": evidence,
        "thresholds": monitor.thresholds,
    }


def thinned(folder: Path, frames: int = 16) -> dict[str, Any]:
    """False alarms where nothing can change: eight-minute scans dealt out, photon by photon, into frames,
    each moved by a little more expansion: measured profiles, background and mixtures."""
    import pandas as pd

    index = pd.read_csv(folder / "series" / "index.csv")
    arrays = np.load(folder / "series" / "patterns.npz")
    long = index[index.kind.str.contains("scan pair") & index.id.str.contains("8")]
    alarms = judged = refused = 0
    rng = np.random.default_rng(7)
    for ident in list(long.id)[:6]:
        x, y = arrays[ident].astype(np.float64)
        left = np.round(y).astype(np.int64)
        monitor = SymmetryMonitor()
        for k in range(frames):
            part = rng.binomial(np.maximum(left, 0), 1.0 / (frames - k))
            left = left - part
            grown = 2.0 * np.degrees(np.arcsin(np.sin(np.radians(0.5 * x)) / (1.0 + 1e-4 * k)))
            frame = Pattern(
                two_theta=x,
                intensity=np.round(np.interp(x, grown, part.astype(np.float64))),
                radiation=Radiation(1.5406),
                raw_counts=True,
            )
            try:
                monitor.ingest(frame, float(k))
            except BadPattern:  # points that happen to be equal at the top look saturated
                refused += 1
                continue
            judged += k >= 3
        alarms += len(monitor.changes)
    return {"frames_judged": judged, "refused": refused, "false_alarms": alarms}
