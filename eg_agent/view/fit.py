"""A fit and what its leading candidates make of it, as a picture: for a person who checks the verifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from eg_agent.view import panels, style
from eg_agent.view.reflections import spell_hkl, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from eg_agent.patterns.pattern import Pattern
    from eg_agent.verify.evidence import Evidence
    from eg_agent.verify.predicted import Contrast, Predicted

_LEFT, _SPLIT, _RIGHT = 0.085, 0.79, 0.985
_CLOSE_UPS = 6

#: Of the first candidate and those after it; the fit without absences keeps `style.FIT`.
CANDIDATE_COLOURS = ("#0072b2", "#e69f00", "#cc79a7", "#56b4e9")


@dataclass(frozen=True, eq=False)
class ShownCandidate:
    """A candidate of the picture.

    lines: degrees 2-theta of the lines of the lattice; allowed: which of them it allows. probability: with
    a uniform prior, and with the network's where there is one. space_groups: for the label.
    """

    predicted: Predicted
    lines: style.FloatVector
    allowed: np.ndarray
    log_evidence: float
    probability: float
    fused: float | None
    space_groups: str

    @property
    def symbol(self) -> str:
        """Extinction symbol in the axes of the cell."""
        return self.predicted.candidate.setting.symbol


@dataclass(frozen=True, eq=False)
class CloseUp:
    """A place where the first candidate and candidate number `rival` disagree."""

    contrast: Contrast
    rival: int
    fwhm: float


def plot_fit(
    pattern: Pattern,
    evidence: Evidence,
    shown: Sequence[ShownCandidate],
    close_ups: Sequence[CloseUp],
    path: str | Path,
    *,
    name: str = "",
) -> Path:
    """Draw measured, fit, difference, ticks per candidate and close-ups; the path written.

    Without candidates ("not fitted") the fit as far as it came is drawn, with the reason. Raises BadInput
    when the file cannot be written.
    """
    return style.save(draw_fit(pattern, evidence, shown, close_ups, name=name), path)


def draw_fit(
    pattern: Pattern,
    evidence: Evidence,
    shown: Sequence[ShownCandidate],
    close_ups: Sequence[CloseUp],
    *,
    name: str = "",
) -> Figure:
    """The picture as a matplotlib figure."""
    figure = style.new_figure(12.6, 8.8)
    _heading(figure, pattern, evidence, name)
    bottom = 0.085
    if close_ups:
        _draw_close_ups(figure, pattern, evidence, shown, close_ups)
        bottom = 0.325
    top = 0.89
    fit = evidence.fit
    width = (_SPLIT if shown else _RIGHT) - _LEFT
    low, high = _limits(pattern, evidence)
    ticks = 0.034 * len(shown)
    residual = figure.add_axes((_LEFT, bottom, width, 0.095)) if fit is not None else None
    foot = bottom + (0.103 if fit is not None else 0.0)
    if shown:
        row = figure.add_axes((_LEFT, foot, width, ticks))
        _draw_ticks(row, shown, (low, high))
        _draw_column(figure, shown, foot, ticks, top)
        foot += ticks + 0.006
    main = figure.add_axes((_LEFT, foot, width, top - foot))
    panels.draw_pattern(main, pattern, fit)
    main.set_xlim(low, high)
    main.set_ylabel("counts (√ scale)" if pattern.raw_counts else "intensity (√ scale)", fontsize=9)
    main.legend(loc="upper right", fontsize=8, frameon=False, handlelength=1.6)
    _mark(main, close_ups)
    lowest = main
    if residual is not None and fit is not None:
        panels.draw_residual(residual, pattern, fit)
        residual.set_xlim(low, high)
        lowest = residual
    if lowest is not main or shown:
        main.tick_params(labelbottom=lowest is main)
    lowest.set_xlabel("2θ / degrees", fontsize=9, labelpad=2)
    _footer(figure, pattern, evidence)
    return figure


def _heading(figure: Figure, pattern: Pattern, evidence: Evidence, name: str) -> None:
    title = style.escape(style.shorten(name or pattern.source.sample or pattern.source.name or "pattern", 70))
    figure.text(0.018, 0.978, title, fontsize=13, fontweight="bold", va="top", color=style.INK)
    fitted = evidence.status == "fitted"
    colour = style.VERDICT_COLOURS["identified" if fitted else "refused"]
    badge = {"boxstyle": "round,pad=0.35", "facecolor": colour, "edgecolor": "none"}
    label = {"fontsize": 11, "fontweight": "bold", "color": "white", "ha": "right", "va": "top"}
    figure.text(0.98, 0.975, evidence.status, bbox=badge, **label)
    text = evidence.reason
    if evidence.cell is not None and fitted:
        a, b, c, alpha, beta, gamma = evidence.cell
        cell = f"{evidence.lattice}  {a:.4f}  {b:.4f}  {c:.4f} Å  {alpha:.2f}  {beta:.2f}  {gamma:.2f}°"
        good = (
            ""
            if evidence.goodness_of_fit is None
            else f"   ·   goodness of fit {evidence.goodness_of_fit:.2f}"
        )
        rwp = "" if evidence.rwp is None else f"   ·   Rwp {evidence.rwp:.1f} %"
        text = f"{cell}   ·   zero {evidence.zero_shift:+.3f}°{rwp}{good}"
    figure.text(0.018, 0.942, style.escape(style.wrap(text, 160, 2)), fontsize=9.5, va="top", color=style.INK)


def _footer(figure: Figure, pattern: Pattern, evidence: Evidence) -> None:
    parts = [style.radiation_text(pattern), f"{len(pattern)} points", f"{evidence.seconds:.1f} s"]
    if evidence.status == "fitted":
        parts.insert(0, evidence.reason.rstrip("."))
    text = style.escape("   ·   ".join(parts))
    figure.text(0.018, 0.012, text, fontsize=7.5, color=style.MUTED, va="bottom")


def _draw_ticks(axes: Axes, shown: Sequence[ShownCandidate], limits: tuple[float, float]) -> None:
    """A row a candidate: lines that it allows stand in its colour, those that it forbids hang, open."""
    axes.set_ylim(len(shown), 0)
    axes.set_xlim(*limits)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(left=False, bottom=False, labelbottom=False, labelleft=False)
    for i, candidate in enumerate(shown):
        colour = CANDIDATE_COLOURS[i]
        thin = 0.9 if candidate.lines.size < 120 else 0.55
        axes.vlines(candidate.lines[candidate.allowed], i + 0.12, i + 0.62, color=colour, linewidth=thin)
        forbidden = candidate.lines[~candidate.allowed]
        axes.plot(forbidden, np.full(forbidden.size, i + 0.8), linestyle="none", **_CROSS)
        transform = axes.get_yaxis_transform()
        text = {"ha": "right", "va": "center", "fontsize": 8.5, "fontweight": "bold", "clip_on": False}
        axes.text(-0.006, i + 0.42, style.minus(candidate.symbol), transform=transform, color=colour, **text)


_CROSS = {"marker": "x", "markersize": 3.0, "markeredgewidth": 0.8, "color": style.AGAINST}


def _limits(pattern: Pattern, evidence: Evidence) -> tuple[float, float]:
    """The fitted range with a little on both sides; the whole pattern where nothing was fitted."""
    low, high = style.finite_range(pattern)
    if evidence.fit is None:
        return low, high
    fitted = evidence.fit.two_theta[np.isfinite(evidence.fit.calculated)]
    if fitted.size == 0:
        return low, high
    margin = 0.03 * float(fitted[-1] - fitted[0])
    return max(low, float(fitted[0]) - margin), min(high, float(fitted[-1]) + margin)


def _draw_column(
    figure: Figure, shown: Sequence[ShownCandidate], foot: float, ticks: float, top: float
) -> None:
    """Right of the pattern the space groups of each candidate, right of the ticks its numbers."""
    columns = (("evidence", 0.845), ("alone", 0.905), ("+ network", _RIGHT))
    head = {"fontsize": 7.5, "color": style.MUTED, "ha": "right", "va": "bottom"}
    for name, x in columns if shown[0].fused is not None else columns[:2]:
        figure.text(x, foot + ticks + 0.004, name, **head)
    for i, candidate in enumerate(shown):
        y = foot + ticks * (1.0 - (i + 0.42) / len(shown))
        values = [f"{candidate.log_evidence:+.1f}".replace("-", "−"), style.percent(candidate.probability)]
        values += [] if candidate.fused is None else [style.percent(candidate.fused)]
        text = {"fontsize": 8.5, "ha": "right", "va": "center", "color": style.INK}
        for value, (_, x) in zip(values, columns):
            figure.text(x, y, value, fontweight="bold" if i == 0 else "normal", **text)
    y = top - 0.002
    left = _SPLIT + 0.018
    figure.text(
        left, y, "Space groups in these axes", fontsize=8, fontweight="bold", va="top", color=style.INK
    )
    y -= 0.026
    for i, candidate in enumerate(shown):
        named = {"fontsize": 8.5, "fontweight": "bold", "va": "top", "color": CANDIDATE_COLOURS[i]}
        figure.text(left, y, style.minus(candidate.symbol), **named)
        body = style.wrap(candidate.space_groups, 40, 4)
        figure.text(left, y - 0.019, body, fontsize=8, va="top", color=style.INK, linespacing=1.25)
        y -= 0.034 + 0.0175 * (body.count("\n") + 1)


def _mark(main: Axes, close_ups: Sequence[CloseUp]) -> None:
    """Letters over the pattern at the places that are enlarged below."""
    transform = main.get_xaxis_transform()
    low, high = main.get_xlim()
    at = np.array([close.contrast.two_theta for close in close_ups])
    placed = spread(at, 0.014 * (high - low), low, high)
    text = {"ha": "center", "va": "bottom", "fontsize": 8.5, "fontweight": "bold", "color": style.MUTED}
    for letter, x, two_theta in zip("abcdef", placed, at):
        main.axvline(two_theta, color=style.PALE, linewidth=0.8, zorder=0.5)
        main.text(x, 1.002, letter, transform=transform, **text)


def _draw_close_ups(
    figure: Figure,
    pattern: Pattern,
    evidence: Evidence,
    shown: Sequence[ShownCandidate],
    close_ups: Sequence[CloseUp],
) -> None:
    gap = 0.034
    width = (_RIGHT - _LEFT - gap * (_CLOSE_UPS - 1)) / _CLOSE_UPS
    for i, (letter, close) in enumerate(zip("abcdef", close_ups)):
        axes = figure.add_axes((_LEFT + i * (width + gap), 0.068, width, 0.148))
        _draw_close_up(axes, pattern, shown, close, letter)
    note = (
        "Where the first candidate and another disagree: measured points, the best fit of each, and (dotted) "
        "how high a typical line would stand if it were allowed. Colours as in the rows above."
    )
    figure.text(_LEFT, 0.027, note, fontsize=7.8, color=style.MUTED, va="bottom")


def _draw_close_up(
    axes: Axes, pattern: Pattern, shown: Sequence[ShownCandidate], close: CloseUp, letter: str
) -> None:
    style.tidy(axes)
    contrast = close.contrast
    half = float(np.clip(4.0 * close.fwhm, 0.25, 1.2))
    low, high = contrast.two_theta - half, contrast.two_theta + half
    near = (pattern.two_theta >= low) & (pattern.two_theta <= high) & np.isfinite(pattern.intensity)
    x, y = pattern.two_theta[near], pattern.intensity[near]
    axes.axvline(contrast.two_theta, color=style.PALE, linewidth=0.8, zorder=0.5)
    axes.plot(x, y, ".", color=style.MEASURED, markersize=2.8, zorder=2, alpha=0.8)
    curve = shown[0].predicted.curve
    close_by = (curve.two_theta >= low) & (curve.two_theta <= high)
    grid, background = curve.two_theta[close_by], curve.background[close_by]
    drawn = [(0, 2.0), (close.rival, 1.2)]
    top = float(y.max()) if y.size else 1.0
    for number, linewidth in drawn:
        values = shown[number].predicted.curve.calculated[close_by]
        axes.plot(grid, values, color=CANDIDATE_COLOURS[number], linewidth=linewidth, zorder=3 + number)
    # a Gaussian of the line's width and the typical area: a height to compare the data with
    height = 0.94 * contrast.typical / close.fwhm
    shape = np.exp(-4.0 * np.log(2.0) * ((grid - contrast.two_theta) / close.fwhm) ** 2)
    axes.plot(grid, background + height * shape, ":", color=style.INK, linewidth=0.9, zorder=2.5)
    axes.set_xlim(low, high)
    _limit(axes, x - contrast.two_theta, y, background, height, close.fwhm, top)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_formatter(FuncFormatter(_short))
    axes.tick_params(labelsize=7)
    first, rival = shown[0].symbol, shown[close.rival].symbol
    absent = first if contrast.absent_in == "first" else rival
    favoured = 0 if contrast.log_odds >= 0 else close.rival
    title = f"{letter}   {spell_hkl(contrast.hkl)}   absent in {style.minus(absent)}"
    axes.text(0.0, 1.15, title, transform=axes.transAxes, fontsize=8, color=style.INK, va="bottom")
    words = f"{odds_in_words(contrast.log_odds)} for {style.minus(shown[favoured].symbol)}"
    colour = CANDIDATE_COLOURS[favoured]
    axes.text(
        0.0, 1.03, words, transform=axes.transAxes, fontsize=8, color=colour, va="bottom", fontweight="bold"
    )


def _short(value: float, _position: int) -> str:
    """A tick label without an offset: 7500, 12k, 1.5M."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= unit:
            return f"{value / (1e3 if letter == 'k' else unit):g}{letter}"
    return f"{value:g}"


def _limit(
    axes: Axes,
    offset: style.FloatVector,
    y: style.FloatVector,
    background: style.FloatVector,
    height: float,
    fwhm: float,
    top: float,
) -> None:
    """Strong neighbours and a tall dotted line are cut off, so that the place in the middle can be judged."""
    centre = y[np.abs(offset) < fwhm]
    level = float(np.nanmedian(background)) if background.size else 0.0
    floor = min(float(y.min()) if y.size else 0.0, level)
    if centre.size == 0:
        return
    noise = float(np.std(centre - np.median(centre))) if centre.size > 3 else 0.0
    own = max(float(centre.max()) - level, 4.0 * noise)
    ceiling = level + min(max(1.4 * own, 1.1 * min(height, 4.0 * own)), max(top - level, 4.0 * own))
    if ceiling > floor:
        margin = 0.06 * (ceiling - floor)
        axes.set_ylim(floor - margin, ceiling + margin)


def odds_in_words(log_odds: float) -> str:
    """Odds of nats, either way, as a person says them: "12 to 1", "more than a million to 1"."""
    odds = float(np.exp(min(abs(log_odds), 60.0)))
    if odds > 1e6:
        return "over a million to 1"
    if odds >= 1e3:
        return f"{float(f'{odds:.1e}'):,.0f} to 1"
    return f"{odds:.0f} to 1" if odds >= 9.5 else f"{odds:.1f} to 1"
