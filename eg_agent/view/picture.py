"""One identification as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eg_agent.symmetry import group
from eg_agent.view import panels, style
from eg_agent.view.reflections import Ticks, decisive, leading_candidate, ticks_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from eg_agent.identify.identification import Identification, Settle
    from eg_agent.patterns.pattern import Pattern
    from eg_agent.verify.evidence import DecidingReflection

_MARKED = 8  # decisive reflections labelled over the pattern
_CLOSE_UPS = 5

_LEFT, _SPLIT, _RIGHT = 0.062, 0.705, 0.98


def plot_identification(pattern: Pattern, identification: Identification, path: str | Path) -> Path:
    """Draw a pattern and what was said of it; returns the path written (.png, .pdf or .svg).

    Pattern with background, residual and the Pawley fit of the lattice (in which nothing is forbidden);
    tick rows of the reflections that the leading group allows and forbids; the reflections that decide,
    labelled with hkl and log-odds in nats (+ for the group, - against it), the strongest in close-up;
    posterior of the network, of the evidence alone and of both. What is missing is left out: a refused
    pattern is drawn with the reason.

    Raises BadInput when the file cannot be written.
    """
    return style.save(draw(pattern, identification), path)


def draw(pattern: Pattern, identification: Identification) -> Figure:
    """The picture as a matplotlib figure."""
    figure = style.new_figure(12.6, 8.2)
    top = _write_heading(figure, pattern, identification)
    if identification.verdict == "refused":
        _draw_refused(figure, pattern, top)
    else:
        _draw_answer(figure, pattern, identification, top)
    _write_footer(figure, pattern, identification)
    return figure


def _write_heading(figure: Figure, pattern: Pattern, identification: Identification) -> float:
    """Name, verdict and reason; returns the height that is left below them."""
    colour = style.VERDICT_COLOURS[identification.verdict]
    name = style.escape(style.shorten(style.name_of(pattern, identification), 64))
    figure.text(0.018, 0.975, name, fontsize=13, fontweight="bold", va="top", color=style.INK)
    badge = {"boxstyle": "round,pad=0.35", "facecolor": colour, "edgecolor": "none"}
    verdict = {"fontsize": 11, "fontweight": "bold", "color": "white", "ha": "right", "va": "top"}
    figure.text(0.98, 0.972, identification.verdict, bbox=badge, **verdict)
    reason = style.escape(style.wrap(identification.reason, 172, 3))
    figure.text(0.018, 0.937, reason, fontsize=9.5, va="top", color=style.INK, linespacing=1.3)
    return 0.905 - 0.0225 * reason.count("\n")


def _write_footer(figure: Figure, pattern: Pattern, identification: Identification) -> None:
    provenance = identification.provenance
    parts = [
        style.radiation_text(pattern),
        f"{len(pattern)} points",
        f"pattern {provenance.pattern_uid}" if provenance.pattern_uid else "",
        f"checkpoint {provenance.checkpoint}" if provenance.checkpoint else "",
        f"eg-agent {provenance.version}",
        f"{identification.seconds:.2f} s" if identification.seconds else "",
    ]
    text = style.escape("   ·   ".join(part for part in parts if part))
    figure.text(0.018, 0.012, text, fontsize=7.5, color=style.MUTED, va="bottom")


def _draw_refused(figure: Figure, pattern: Pattern, top: float) -> None:
    axes = figure.add_axes((_LEFT, 0.095, _RIGHT - _LEFT, top - 0.105))
    if len(pattern) == 0 or not np.isfinite(pattern.intensity).any():
        axes.axis("off")
        text = "no finite intensity to draw" if len(pattern) else "no points to draw"
        axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=13, color=style.MUTED)
        return
    panels.draw_pattern(axes, pattern, None)
    bad = pattern.two_theta[~np.isfinite(pattern.intensity)]
    if bad.size:
        marks = {"colors": style.AGAINST, "linewidth": 0.8, "transform": axes.get_xaxis_transform()}
        axes.vlines(bad[np.isfinite(bad)], 0.0, 0.03, **marks)
        axes.text(0.995, 0.98, f"{bad.size} points are not numbers", **_corner(axes))
    axes.set_xlabel("2θ / degrees", fontsize=9)
    axes.set_ylabel(_intensity_label(pattern), fontsize=9)


def _corner(axes: Axes) -> dict[str, Any]:
    return {"transform": axes.transAxes, "ha": "right", "va": "top", "fontsize": 9, "color": style.AGAINST}


def _intensity_label(pattern: Pattern) -> str:
    return "counts (√ scale)" if pattern.raw_counts else "intensity (√ scale)"


def _draw_answer(figure: Figure, pattern: Pattern, identification: Identification, top: float) -> None:
    evidence = identification.evidence
    fit = (
        evidence.fit
        if evidence is not None and evidence.fit is not None and len(evidence.fit.two_theta)
        else None
    )
    candidate = leading_candidate(identification)
    marked = decisive(pattern, candidate, _MARKED) if candidate else []
    ticks = ticks_of(pattern, evidence, candidate) if evidence and candidate else None
    close = sorted(marked, key=lambda r: -abs(r.log_odds))[:_CLOSE_UPS]

    bottom = 0.095
    if close:
        _draw_close_ups(figure, pattern, identification, close, ticks)
        bottom = 0.325
    heights = {"residual": 0.105 if fit is not None else 0.0, "ticks": 0.045 if ticks is not None else 0.0}
    band = 0.058 if marked else 0.0
    width = _SPLIT - _LEFT
    axes = None
    y = bottom
    if fit is not None:
        axes = figure.add_axes((_LEFT, y, width, heights["residual"]))
        panels.draw_residual(axes, pattern, fit)
        y += heights["residual"] + 0.008
    lowest = axes
    if ticks is not None and candidate is not None:
        row = figure.add_axes((_LEFT, y, width, heights["ticks"]))
        panels.draw_ticks(row, ticks, candidate.symbol)
        row.set_xlim(*style.finite_range(pattern))
        y += heights["ticks"] + 0.004
    main = figure.add_axes((_LEFT, y, width, top - band - y))
    panels.draw_pattern(main, pattern, fit)
    main.set_ylabel(_intensity_label(pattern), fontsize=9)
    main.legend(loc="upper right", fontsize=8, frameon=False, handlelength=1.6)
    if lowest is None:
        lowest = main
        if ticks is not None:
            main.tick_params(labelbottom=False)
    else:
        main.tick_params(labelbottom=False)
        lowest.set_xlim(main.get_xlim())
    lowest.set_xlabel("2θ / degrees", fontsize=9, labelpad=2)
    if marked:
        labels = figure.add_axes((_LEFT, top - band, width, band))
        panels.draw_labels(labels, main, marked)
    _draw_side(figure, identification, bottom, top)


def _draw_close_ups(
    figure: Figure,
    pattern: Pattern,
    identification: Identification,
    close: list[DecidingReflection],
    ticks: Ticks | None,
) -> None:
    assert identification.evidence is not None
    fit = identification.evidence.fit
    candidate = leading_candidate(identification)
    symbol = style.minus(candidate.symbol) if candidate else ""
    text = f"reflections that speak for (+) or against (−) {symbol}, nats"
    figure.text(_LEFT, 0.262, text, fontsize=8.5, color=style.MUTED, va="top")
    low, high = style.finite_range(pattern)
    half = float(np.clip((high - low) / 90.0, 0.25, 0.9))
    gap = 0.036
    width = (_RIGHT - _LEFT - gap * (_CLOSE_UPS - 1)) / _CLOSE_UPS
    for i, reflection in enumerate(close):
        axes = figure.add_axes((_LEFT + i * (width + gap), 0.072, width, 0.142))
        panels.draw_close_up(axes, pattern, fit, reflection, half, ticks)


def _draw_side(figure: Figure, identification: Identification, bottom: float, top: float) -> None:
    """Posterior bars and facts in words, in the right column."""
    line, gap, left = 0.0178, 0.011, _SPLIT + 0.018
    facts = _facts(identification)
    height = sum(line * (text.count("\n") + 2) + gap for _, text in facts)
    axis = bottom + height + 0.032
    axes = figure.add_axes((_SPLIT + 0.1, axis, _RIGHT - _SPLIT - 0.1, top - 0.042 - axis))
    panels.draw_posterior(axes, identification)
    y = bottom + height - gap
    for title, text in facts:
        figure.text(left, y, title, fontsize=8, fontweight="bold", va="top", color=style.INK)
        y -= line
        figure.text(left, y, text, fontsize=8, va="top", color=style.INK, linespacing=1.25)
        y -= line * (text.count("\n") + 1) + gap


def _facts(identification: Identification) -> list[tuple[str, str]]:
    """(title, text) blocks: space groups, fit, what would settle it."""
    facts = []
    if identification.top:
        first = identification.top[0]
        title = f"Space groups in group {first.group}"
        facts.append((title, style.wrap(", ".join(first.space_groups), 56, 3)))
    evidence = identification.evidence
    if evidence is not None and evidence.cell is not None:
        a, b, c, alpha, beta, gamma = evidence.cell
        text = (
            f"{evidence.lattice or ''}  {a:.4f}  {b:.4f}  {c:.4f} Å,  {alpha:.2f}  {beta:.2f}  {gamma:.2f}°"
        )
        if evidence.rwp is not None:
            fit = f"\nRwp {evidence.rwp:.1f} %" + (
                f",  goodness of fit {evidence.goodness_of_fit:.2f}" if evidence.goodness_of_fit else ""
            )
            text += fit
        facts.append(("Cell and fit", text.strip()))
    if evidence is not None and evidence.status != "fitted" and evidence.reason:
        facts.append((evidence.status.capitalize(), style.escape(style.wrap(evidence.reason, 56, 3))))
    if identification.would_settle:
        facts.append(("What would settle it", _settle_text(identification.would_settle[0])))
    return facts


def _settle_text(settle: Settle) -> str:
    low, high = settle.two_theta
    what = "({} {} {}), ".format(*settle.hkl) if settle.hkl else ""
    time = f", {settle.seconds:.0f} s" if settle.seconds is not None else ""
    first, second = (style.minus(group(n).symbol) for n in settle.between)
    text = f"{what}{low:.2f} to {high:.2f}°{time}: {first} or {second}. {settle.reason}"
    return style.escape(style.wrap(text, 58, 4))
