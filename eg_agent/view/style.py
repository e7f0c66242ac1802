"""What all pictures share: colours, text that fits, curves with gaps, and writing the file."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from eg_agent.errors import BadInput
from eg_agent.view import FORMATS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from eg_agent.identify.identification import Identification, Verdict
    from eg_agent.patterns.pattern import Pattern

FloatVector = npt.NDArray[np.float64]

# Okabe & Ito's palette, which people with any of the usual colour blindnesses can tell apart.
INK = "#222222"
MUTED = "#767676"
PALE = "#c8c8c8"
MEASURED = "#5a5a5a"
PRIOR = "#cc79a7"
FIT = "#d55e00"
BACKGROUND = "#009e73"
RESIDUAL = "#0072b2"
NETWORK = "#56b4e9"
EVIDENCE = "#e69f00"
FUSED = "#222222"
FOR = "#0072b2"
AGAINST = "#d55e00"

VERDICT_COLOURS: dict[Verdict, str] = {
    "identified": "#007a5a",
    "undecided": "#a86b00",
    "no confident match": "#5a5a5a",
    "refused": "#b04a00",
}


def new_figure(width: float, height: float, dpi: int = 120) -> Figure:
    """A figure on its own canvas, in inches; nothing of pyplot, so any thread may draw."""
    figure = Figure(figsize=(width, height), dpi=dpi, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure; the file appears whole or not at all. Raises BadInput for an impossible path."""
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise BadInput(f"cannot draw to {target.name!r}: end the name in {', '.join(FORMATS)}.")
    if not target.absolute().parent.is_dir():
        raise BadInput(f"{target.absolute().parent} is not a folder: make it first.")
    # The process id keeps two writers of one picture apart.
    part = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        figure.savefig(part)
        part.replace(target)
    except OSError as error:
        raise BadInput(f"cannot write {target}: {error.strerror or error}.") from None
    finally:
        part.unlink(missing_ok=True)
    return target


def tidy(axes: Axes) -> None:
    """No box around the data, small quiet ticks."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
    axes.tick_params(labelsize=8, colors=INK, width=0.6, length=3)


def escape(text: str) -> str:
    """Text with no mathtext in it: file names may hold dollar signs."""
    return text.replace("$", r"\$")


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, the middle left out: both ends of a file name tell it from others."""
    if len(text) <= limit:
        return text
    head = (limit - 1) // 2
    return f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"


def wrap(text: str, width: int, lines: int) -> str:
    """Text in at most so many lines of so many characters."""
    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder=" …"))


def minus(symbol: str) -> str:
    """An extinction symbol with real minus signs, which stand apart better than hyphens."""
    return symbol.replace("-", "−")


def percent(probability: float) -> str:
    """A probability as a person reads it: "12 %", "<0.1 %", ">99.9 %"."""
    if probability > 0.999:
        return ">99.9 %"
    if probability < 0.001:
        return "<0.1 %"
    return f"{100 * probability:.0f} %" if 0.0995 < probability < 0.9905 else f"{100 * probability:.1f} %"


def probabilities(log_probability: npt.NDArray[np.float64] | None) -> FloatVector | None:
    """[99] probabilities of log-probabilities; a missing one (NaN, minus infinity) is zero."""
    if log_probability is None:
        return None
    return np.nan_to_num(np.exp(log_probability), nan=0.0)


def name_of(pattern: Pattern, identification: Identification) -> str:
    """Sample, file or run that a picture is of."""
    for source in (pattern.source, identification.provenance.source):
        if source.sample:
            return source.sample
        if source.name:
            return Path(source.name).name if source.kind == "file" else source.name
    return f"pattern {identification.provenance.pattern_uid}"


def radiation_text(pattern: Pattern) -> str:
    """Wavelengths for a person, e.g. "λ 1.5406, 1.5444 Å"."""
    kind = "neutrons, " if pattern.radiation.kind == "neutron" else ""
    return f"{kind}λ {', '.join(f'{w:.5g}' for w in pattern.radiation.wavelengths)} Å"


def finite_range(pattern: Pattern) -> tuple[float, float]:
    """(low, high) of the axis in degrees; (0, 1) when there is none."""
    angles = pattern.two_theta[np.isfinite(pattern.two_theta)]
    if angles.size == 0:
        return 0.0, 1.0
    low, high = float(angles.min()), float(angles.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def with_gaps(x: FloatVector, y: FloatVector) -> tuple[FloatVector, FloatVector]:
    """A curve with a break where the pattern was not measured, so that no line is drawn over it."""
    if x.size < 3:
        return x, y
    steps = np.diff(x)
    # A window of finer or coarser steps is no gap: only a step far above those on both sides is.
    around = np.minimum(np.r_[steps[1:], steps[-1]], np.r_[steps[0], steps[:-1]])
    gaps = np.flatnonzero((steps > 8 * np.maximum(around, 1e-9)) & (steps > 0.3)) + 1
    return np.insert(x, gaps, np.nan), np.insert(y, gaps, np.nan)


def smoothing_window(x: FloatVector, y: FloatVector) -> int:
    """How many points to average so that lines show through the noise; 1 where they do already.

    Noise is read from the differences of neighbours. The window stays below 0.06 degrees, half the
    width of a line of a laboratory instrument, so that averaging hides no line.
    """
    good = np.isfinite(y)
    if good.sum() < 1000:
        return 1
    seen = np.sqrt(np.maximum(y[good], 0.0))  # as on the axis
    noise = 1.05 * float(np.median(np.abs(np.diff(seen))))  # of a normal distribution
    height = float(seen.max() - np.percentile(seen, 1.0))
    step = float(np.median(np.diff(x)))
    if step <= 0 or 4 * noise < 0.2 * height:  # the band of noise is thin
        return 1
    window = int(0.06 / step)
    return window if window >= 3 else 1


def running_mean(x: FloatVector, y: FloatVector, window: int) -> tuple[FloatVector, FloatVector]:
    """(angles, means) of `window` points each, none of them across a gap, gaps kept as breaks."""
    gapped_x, gapped_y = with_gaps(x, y)
    if gapped_x.size < window:
        return gapped_x, gapped_y
    views = np.lib.stride_tricks.sliding_window_view
    return views(gapped_x, window).mean(axis=1), views(gapped_y, window).mean(axis=1)


def sqrt_scale(axes: Axes) -> None:
    """A square-root intensity axis: weak lines show, and counting noise is equally wide everywhere."""

    def forward(values: npt.ArrayLike) -> FloatVector:
        v = np.asarray(values, dtype=np.float64)
        return np.sign(v) * np.sqrt(np.abs(v))

    def inverse(values: npt.ArrayLike) -> FloatVector:
        v = np.asarray(values, dtype=np.float64)
        return np.sign(v) * v * v

    axes.set_yscale("function", functions=(forward, inverse))


def sqrt_ticks(top: float) -> list[float]:
    """A few round values for a square-root axis from 0 to `top`: 1, 2 or 5 times a power of ten."""
    if not np.isfinite(top) or top <= 0:
        return []
    ladder = [m * 10.0**e for e in range(int(np.floor(np.log10(top))) - 2, 16) for m in (1, 2, 5)]
    ticks = [0.0]
    for value in ladder:
        if value <= top and np.sqrt(value) - np.sqrt(ticks[-1]) >= 0.14 * np.sqrt(top):
            ticks.append(value)
    return ticks
