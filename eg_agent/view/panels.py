"""The panels of a picture: pattern and fit, tick rows, residual, close-ups, posterior bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter

from eg_agent.symmetry import group
from eg_agent.view import style
from eg_agent.view.reflections import Ticks, colour_of, spell_hkl, spell_odds, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from eg_agent.identify.identification import Identification
    from eg_agent.patterns.pattern import Pattern
    from eg_agent.verify.evidence import DecidingReflection, FitCurve

_MOST_GROUPS = 6


def draw_pattern(axes: Axes, pattern: Pattern, fit: FitCurve | None, *, small: bool = False) -> None:
    """Measured points as a line, fit and background over them, on a square-root axis."""
    style.tidy(axes)
    style.sqrt_scale(axes)
    low, high = style.finite_range(pattern)
    axes.set_xlim(low, high)
    intensity = np.where(np.isfinite(pattern.intensity), pattern.intensity, np.nan)
    x, y = style.with_gaps(pattern.two_theta, intensity)
    width = 0.5 if small else 0.7
    window = style.smoothing_window(pattern.two_theta, intensity)
    colour = style.MEASURED if window == 1 else style.PALE
    axes.plot(x, y, color=colour, linewidth=width, label="measured", zorder=1.5)
    if window > 1:
        mean = style.running_mean(pattern.two_theta, intensity, window)
        label = f"mean of {window} points"
        axes.plot(*mean, color=style.MEASURED, linewidth=width, label=label, zorder=2)
    if fit is not None:
        x, y = style.with_gaps(fit.two_theta, fit.background)
        axes.plot(x, y, color=style.BACKGROUND, linewidth=0.9, linestyle=(0, (4, 2)), label="background")
        x, y = style.with_gaps(fit.two_theta, fit.calculated)
        axes.plot(x, y, color=style.FIT, linewidth=0.8, label="Pawley fit, no absences", zorder=3, alpha=0.9)
    _limit_intensity(axes, intensity, small=small)


def _limit_intensity(axes: Axes, intensity: style.FloatVector, *, small: bool) -> None:
    finite = intensity[np.isfinite(intensity)]
    top = float(finite.max()) if finite.size else 1.0
    bottom = float(np.percentile(finite, 0.5)) if finite.size else 0.0
    if not top > 0:
        axes.set_ylim(min(bottom, 0.0) - 1.0, 1.0)
        return
    # The axis starts a little below the lowest counts, so that a high background leaves room for lines.
    floor = bottom - 0.06 * (top - bottom) if bottom > 0.02 * top else min(bottom, 0.0)
    axes.set_ylim(max(floor, 0.0) if bottom >= 0 else floor, top * (1.12 if small else 1.05))
    ticks = [t for t in style.sqrt_ticks(top) if t >= axes.get_ylim()[0]]
    axes.set_yticks(ticks, [f"{t:g}" if t < 1e5 else f"{t:.0e}".replace("e+0", "e") for t in ticks])
    axes.minorticks_off()


def draw_labels(band: Axes, main: Axes, reflections: Sequence[DecidingReflection]) -> None:
    """Labels of decisive reflections in a band over the pattern, each with a line to its place.

    The two axes share their x limits; the band's width in inches sets how close labels may stand.
    """
    band.set_xlim(main.get_xlim())
    band.set_ylim(0, 1)
    band.axis("off")
    if not reflections:
        return
    low, high = main.get_xlim()
    figure = band.get_figure(root=True)
    assert figure is not None
    inches = band.get_position().width * figure.get_size_inches()[0]
    width = 0.62 * (high - low) / inches  # of one label, degrees
    true = np.array([r.two_theta for r in reflections])
    placed = spread(true, width, low + width / 2, high - width / 2)
    for reflection, x in zip(reflections, placed):
        colour = colour_of(reflection)
        text = f"{spell_hkl(reflection.hkl)}\n{spell_odds(reflection.log_odds)}"
        band.text(x, 1.0, text, ha="center", va="top", fontsize=8.5, color=colour, linespacing=1.25)
        band.plot([x, reflection.two_theta], [0.28, 0.0], color=colour, linewidth=0.8, clip_on=False)
        main.axvline(reflection.two_theta, color=colour, linewidth=0.8, alpha=0.55, zorder=1)


def draw_ticks(axes: Axes, ticks: Ticks, symbol: str) -> None:
    """Two rows: lines that the group allows, and lines that its lattice would allow but it forbids."""
    axes.set_ylim(0, 2)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(left=False, bottom=False, labelbottom=False, labelleft=False)
    thin = 0.8 if ticks.allowed.size < 250 else 0.45
    axes.vlines(ticks.allowed, 1.12, 1.92, color=style.INK, linewidth=thin)
    axes.vlines(ticks.forbidden, 0.08, 0.88, color=style.AGAINST, linewidth=thin)
    transform = axes.get_yaxis_transform()
    axes.text(-0.006, 1.52, style.minus(symbol), transform=transform, **_row_label(style.INK))
    axes.text(-0.006, 0.48, "absent in it", transform=transform, **_row_label(style.AGAINST))


def _row_label(colour: str) -> dict[str, Any]:
    return {"ha": "right", "va": "center", "fontsize": 7.5, "color": colour, "clip_on": False}


def residual_of(pattern: Pattern, fit: FitCurve) -> tuple[style.FloatVector, style.FloatVector, str]:
    """(angles, measured less fit, label): in standard errors where they are known."""
    inside = (pattern.two_theta >= fit.two_theta[0]) & (pattern.two_theta <= fit.two_theta[-1])
    x = pattern.two_theta[inside]
    calculated = np.interp(x, fit.two_theta, fit.calculated)
    difference = pattern.intensity[inside] - calculated
    if pattern.sigma is not None and (pattern.sigma[inside] > 0).all():
        return x, difference / pattern.sigma[inside], "diff. / σ"
    if pattern.raw_counts:
        return x, difference / np.sqrt(np.maximum(calculated, 1.0)), "diff. / σ"
    return x, difference, "difference"


def draw_residual(axes: Axes, pattern: Pattern, fit: FitCurve) -> None:
    """Measured less fit; the axis holds all but the worst points, which are clipped at its edge."""
    style.tidy(axes)
    x, difference, label = residual_of(pattern, fit)
    finite = np.abs(difference[np.isfinite(difference)])
    limit = float(np.percentile(finite, 99.7)) * 1.15 if finite.size else 1.0
    if label == "diff. / σ":
        limit = max(limit, 4.0)
    limit = limit if limit > 0 else 1.0
    gapped = style.with_gaps(x, np.clip(difference, -limit, limit))
    axes.axhline(0.0, color=style.PALE, linewidth=0.7)
    axes.plot(*gapped, color=style.RESIDUAL, linewidth=0.55)
    axes.set_ylim(-limit, limit)
    axes.yaxis.set_major_locator(MaxNLocator(3, symmetric=True))
    axes.set_ylabel(label, fontsize=8)


def draw_close_up(
    axes: Axes,
    pattern: Pattern,
    fit: FitCurve | None,
    reflection: DecidingReflection,
    half_width: float,
    ticks: Ticks | None,
) -> None:
    """The pattern around one decisive reflection, on a linear axis: is there a line or not?

    Ticks along the bottom are the other lines there, allowed and absent ones.
    """
    style.tidy(axes)
    low, high = reflection.two_theta - half_width, reflection.two_theta + half_width
    near = (pattern.two_theta >= low) & (pattern.two_theta <= high) & np.isfinite(pattern.intensity)
    x, y = pattern.two_theta[near], pattern.intensity[near]
    colour = colour_of(reflection)
    axes.axvline(reflection.two_theta, color=colour, linewidth=0.9, alpha=0.6, zorder=1)
    axes.plot(x, y, ".-", color=style.MEASURED, markersize=2.5, linewidth=0.5, zorder=2)
    if fit is not None:
        close = (fit.two_theta >= low) & (fit.two_theta <= high)
        axes.plot(fit.two_theta[close], fit.background[close], color=style.BACKGROUND, linewidth=1)
        axes.plot(fit.two_theta[close], fit.calculated[close], color=style.FIT, linewidth=1.1, zorder=3)
    if ticks is not None:
        foot = {"transform": axes.get_xaxis_transform(), "linewidth": 1.2, "zorder": 4}
        axes.vlines(ticks.allowed, 0.0, 0.07, colors=style.INK, **foot)
        axes.vlines(ticks.forbidden, 0.0, 0.07, colors=style.AGAINST, **foot)
    axes.set_xlim(low, high)
    _limit_close_up(axes, x - reflection.two_theta, y, half_width)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4), useMathText=True)
    axes.yaxis.get_offset_text().set_fontsize(7)
    axes.tick_params(labelsize=7)
    kind = "absent" if reflection.forbidden else "allowed"
    title = f"{spell_hkl(reflection.hkl)}  {kind}  {spell_odds(reflection.log_odds)}"
    axes.set_title(title, fontsize=8.5, color=colour, pad=3)


def _limit_close_up(axes: Axes, offset: style.FloatVector, y: style.FloatVector, half_width: float) -> None:
    """Cut strong neighbours off, so that the place in the middle can be judged."""
    centre = y[np.abs(offset) < 0.25 * half_width]
    if centre.size == 0:
        return
    floor = float(y.min())
    top = min(float(y.max()), floor + 2.5 * float(centre.max() - floor))
    if top > floor:
        margin = 0.07 * (top - floor)
        axes.set_ylim(floor - margin, top + margin)


def groups_to_show(identification: Identification, most: int = _MOST_GROUPS) -> list[int]:
    """Numbers of the groups worth a bar, best first: those of the answer, and the first of each source."""
    fused = style.probabilities(identification.log_probability)
    network = style.probabilities(identification.network.log_probability if identification.network else None)
    evidence = style.probabilities(identification.evidence_only)
    leading = next((p for p in (fused, network, evidence) if p is not None), None)
    if leading is None:
        return []
    order = [int(i) + 1 for i in np.argsort(-leading, kind="stable")]
    wanted = order[: most - 2]
    for other in (network, evidence):
        if other is not None and (first := int(np.argmax(other)) + 1) not in wanted:
            wanted.append(first)
    wanted += [n for n in order if n not in wanted][: most - len(wanted)]
    return sorted(wanted, key=order.index)


def draw_posterior(axes: Axes, identification: Identification) -> None:
    """Bars for the network, the evidence alone and both together, and the prior as a mark."""
    style.tidy(axes)
    numbers = groups_to_show(identification)
    if not numbers:
        axes.axis("off")
        axes.text(
            0.0, 0.98, "no posterior", transform=axes.transAxes, va="top", fontsize=9, color=style.MUTED
        )
        return
    network = identification.network
    series = [
        ("network", style.NETWORK, style.probabilities(network.log_probability if network else None)),
        ("evidence alone", style.EVIDENCE, style.probabilities(identification.evidence_only)),
        ("both", style.FUSED, style.probabilities(identification.log_probability)),
    ]
    if identification.evidence_only is None and network is not None:
        series.pop()  # the network is the answer
    present = [(name, colour, p) for name, colour, p in series if p is not None]
    rows = np.arange(len(numbers))
    index = np.array(numbers) - 1
    height = 0.74 / max(len(present), 2)
    for i, (name, colour, p) in enumerate(present):
        y = rows + (i - (len(present) - 1) / 2) * height
        axes.barh(y, p[index], height=height * 0.92, color=colour, label=name, zorder=2)
    if network is not None:
        prior = style.probabilities(network.log_prior)
        assert prior is not None
        marks = {"colors": style.PRIOR, "linewidth": 1.6, "zorder": 3}
        axes.vlines(prior[index], rows - 0.42, rows + 0.42, label=f"prior ({network.prior})", **marks)
    _label_bars(axes, numbers, present[-1][2][index], max(float(p[index].max()) for *_, p in present))


def _label_bars(axes: Axes, numbers: list[int], answer: style.FloatVector, longest: float) -> None:
    """Symbols and group numbers on the left, the answer's probabilities in a column on the right."""
    rows = np.arange(len(numbers))
    labels = [f"{style.minus(group(n).symbol)}  {n:>3}" for n in numbers]
    axes.set_yticks(rows, labels, fontsize=9)
    axes.tick_params(axis="y", length=0)
    transform = axes.get_yaxis_transform()
    for row, value in enumerate(answer):
        text = {"ha": "right", "va": "center", "fontsize": 8.5, "fontweight": "bold", "color": style.INK}
        axes.text(1.0, row, style.percent(value), transform=transform, **text)
    axes.set_ylim(len(numbers) - 0.5, -0.5)
    # The right quarter is kept for the column of numbers. Below 20 % the axis does not shrink further,
    # so that a flat answer looks flat.
    full = next(limit for limit in (0.2, 0.5, 1.0) if longest <= limit or limit == 1.0)
    axes.set_xlim(0, full / 0.74)
    axes.set_xticks([0.0, full / 2, full])
    axes.spines["bottom"].set_bounds(0.0, full)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    legend = {"fontsize": 7.5, "frameon": False, "handlelength": 1.2, "columnspacing": 1.2}
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, borderaxespad=0.2, **legend)
