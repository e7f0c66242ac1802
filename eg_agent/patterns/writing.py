"""Writing a pattern as text."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from eg_agent.patterns.pattern import Pattern


def write_xye(pattern: Pattern, path: str | Path) -> Path:
    """Write 2-theta, intensity and standard error, with the wavelength in the header; `read` reads it back.

    Without a known standard error, counts get their square root (1 where there are none) and other data get
    no third column. Written at once or not at all. Returns the path.
    """
    path = Path(path)
    columns, names = (
        [pattern.two_theta, pattern.intensity],
        ["2theta", "counts" if pattern.raw_counts else "intensity"],
    )
    sigma = pattern.sigma
    if sigma is None and pattern.raw_counts:
        sigma = np.sqrt(np.maximum(pattern.intensity, 1.0))
    if sigma is not None:
        columns.append(sigma)
        names.append("sigma")
    time = pattern.counting_time
    header = [f"wavelength {pattern.radiation.wavelength:.8f}"]
    if pattern.radiation.wavelength2 is not None:
        header.append(f"wavelength2 {pattern.radiation.wavelength2:.8f}")
    if pattern.source.sample:
        header.append(f"sample: {pattern.source.sample}")
    if time is not None:
        if np.ptp(time) == 0.0:
            header.append(f"counting time: {time[0]:.9g} s")
        else:
            columns.append(time)
            names.append("time")
    lines = [f"# {line}" for line in (*header, "  ".join(names))]
    table = np.stack(columns, axis=1)
    lines += [" ".join(f"{value:.10g}" for value in row) for row in table.tolist()]
    partial = path.with_name(path.name + ".part")
    partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return path
