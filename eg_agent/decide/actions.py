"""The measurements that could be asked for next where a fit stands, with what each costs and promises."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from eg_agent.decide.decision import ActionName
from eg_agent.decide.gain import Plan, Window, clip
from eg_agent.decide.limits import Costs, Limits
from eg_agent.decide.predict import Forecast
from eg_agent.decide.scene import SCALES, Scene, seconds_at
from eg_agent.decide.settings import DecideSettings
from eg_agent.decide.state import State
from eg_agent.identify.identification import Measured

Floats = npt.NDArray[np.float64]

#: Half width of a window around a line: so many widths, and degrees that it is at least and at most.
HALF_WIDTHS, LEAST_HALF, MOST_HALF = 1.5, 0.15, 0.6
#: Numbers of the most telling lines that are counted together, and of new lines to extend the range to.
SETS, FURTHER = (1, 2, 4, 8, 16, 48), (8, 20, 60)
#: Points that a line's width should hold: below this, a finer step is considered.
POINTS_A_WIDTH = 2.5
#: Share of the range below which it counts as measured, and exposures of a first scan of the whole of it, in
#: units of the counting time so far.
LEAST_UNSEEN, WHOLE_EXPOSURES = 0.1, (1.0, 4.0)
#: A promise is kept from this share on; one that was not makes the next count so much.
KEPT, DISTRUST = 0.3, 0.35


@dataclass(frozen=True, slots=True)
class Option:
    """A measurement with its windows, seconds and step, and the further seconds that each line would get.

    unseen: share of the range that it shows the network for the first time.
    """

    action: ActionName
    windows: tuple[Window, ...]
    seconds: float
    step: float
    lines: Floats
    about: str
    unseen: float = 0.0


def windows_around(angles: Floats, fwhm: Floats, limits: Window) -> tuple[Window, ...]:
    """Windows of `HALF_WIDTHS` widths to either side of lines [k], inside the limits, joined; degrees."""
    half = np.clip(HALF_WIDTHS * fwhm, LEAST_HALF, MOST_HALF)
    spans = tuple((float(a - h), float(a + h)) for a, h in zip(angles, half, strict=True))
    return clip(spans, limits)


def options(
    scene: Scene,
    measured: Measured,
    base: float,
    limits: Limits,
    constants: DecideSettings,
    step: float | None = None,
) -> list[Option]:
    """Some fifty ways to measure more.

    base: seconds a point of the counting so far. step: degrees between the points of the next measurement,
    where that is not the step of all that was measured: interleaved scans have points half as far apart
    together as each by itself.
    """
    step = step or measured.step
    found = _at_step_of(scene, measured, base, limits, constants)
    # each line gets so many points of what it would get in the step of all together
    share = measured.step / step
    return [replace(o, step=o.step / share, lines=o.lines * share) for o in found]


def _at_step_of(
    scene: Scene, measured: Measured, base: float, limits: Limits, constants: DecideSettings
) -> list[Option]:
    """The ways to measure more in the step of what was measured."""
    found: list[Option] = []
    span = limits.two_theta
    longest = limits.max_seconds_per_point
    times = [min(ratio * base, longest) for ratio in constants.exposures]
    tells = _telling(scene)
    covered = np.flatnonzero(scene.covered)
    ranked = covered[np.argsort(-tells[covered], kind="stable")]
    ranked = ranked[tells[ranked] > 0.0]
    sizes = [n for n in SETS if n < ranked.size] + ([ranked.size] if ranked.size else [])
    for size in sizes:
        chosen = ranked[:size]
        windows = windows_around(scene.two_theta[chosen], scene.fwhm[chosen], span)
        inside = _inside(scene.two_theta, windows)
        # some of them may have been counted longer than the rest before
        so_far = max(base, float(np.median(seconds_at(measured, scene.two_theta[chosen]))))
        for ratio in constants.exposures:
            seconds = min(ratio * so_far, longest)
            found.append(
                Option("count longer", windows, seconds, measured.step, seconds * inside, f"{size} line(s)")
            )
    whole = clip(measured.windows, span)
    inside = _inside(scene.two_theta, whole) * scene.covered
    found += [
        Option("repeat all", whole, seconds, measured.step, seconds * inside, "all that was measured")
        for seconds in times
    ]
    # grains that happen to reflect, or not, are averaged when the sample turns
    again = min(base, longest)
    found += [Option("spin", whole, again, measured.step, again * inside, "all of it while it spins")]
    if np.median(scene.all_fwhm) < POINTS_A_WIDTH * measured.step:
        # twice as many points in the time of one: what is won is that lines are told apart, see `docs`
        found += [
            Option("finer step", whole, t, 0.5 * measured.step, 2.0 * t * inside, "at half the step")
            for t in (again, min(3.0 * base, longest))
        ]
    return [*found, *_further(scene, measured, base, longest, span), *_all(scene, measured, base, limits)]


def _all(scene: Scene, measured: Measured, base: float, limits: Limits) -> list[Option]:
    """One scan of the whole range, where only windows of it were measured so far.

    The lines of the hypotheses are not all that it shows: the network reads profiles, background and foreign
    phases, and knows windows less well than patterns.
    """
    low, high = limits.two_theta
    seen = sum(b - a for a, b in clip(measured.windows, limits.two_theta))
    unseen = 1.0 - seen / (high - low)
    if unseen < LEAST_UNSEEN:
        return []
    everywhere = ((low, high),)
    inside = _inside(scene.two_theta, everywhere)
    times = dict.fromkeys(min(ratio * base, limits.max_seconds_per_point) for ratio in WHOLE_EXPOSURES)
    return [
        Option("extend range", everywhere, t, measured.step, t * inside, "the whole range", unseen)
        for t in times
    ]


def _further(scene: Scene, measured: Measured, base: float, longest: float, span: Window) -> list[Option]:
    """Ways to go on to lines that were not measured yet, and the whole rest of the range."""
    found: list[Option] = []
    seen = _inside(scene.all_two_theta, measured.windows) > 0
    new = np.flatnonzero(~seen & (scene.all_two_theta > span[0]) & (scene.all_two_theta < span[1]))
    for number in dict.fromkeys(min(n, new.size) for n in FURTHER if new.size):
        chosen = new[:number]
        windows = windows_around(scene.all_two_theta[chosen], scene.all_fwhm[chosen] + 0.1, span)
        inside = _inside(scene.two_theta, windows) * ~scene.covered
        for ratio in (1.0, 4.0):
            seconds = min(ratio * base, longest)
            found.append(
                Option(
                    "extend range",
                    windows,
                    seconds,
                    measured.step,
                    seconds * inside,
                    f"{number} further lines",
                )
            )
    return found


def _telling(scene: Scene) -> Floats:
    """[k] a quick rank of lines: how much the hypotheses differ there, and whether the difference could be
    seen after counting four times as long."""
    share = np.exp(scene.log_weight)[:, None]
    allowed = np.sum(share * scene.allowed, axis=0)
    log_share, centre = scene.components()
    chance = np.exp(log_share - np.logaddexp.reduce(log_share, axis=1)[:, None])
    size = np.maximum(centre, np.minimum(SCALES * scene.expected[:, None], scene.sigma[:, None]))
    error = np.sqrt(np.maximum(0.2 * (scene.sigma**2 - scene.floor**2), 0.0) + scene.floor**2)
    power = np.sum(chance * np.minimum(size / np.maximum(error[:, None], 1e-300), 4.0) ** 2, axis=1)
    return allowed * (1.0 - allowed) * power


def _inside(angles: Floats, windows: tuple[Window, ...]) -> Floats:
    """[k] 1.0 where an angle lies in one of the windows."""
    inside = np.zeros(angles.size)
    for low, high in windows:
        inside[(angles >= low) & (angles <= high)] = 1.0
    return inside


def weighed(found: list[Option], forecast: Forecast, costs: Costs, constants: DecideSettings) -> list[Plan]:
    """Each option as a plan, with what it costs and promises: by its lines, and by what the network sees for
    the first time."""
    plans = []
    for option in found:
        if not option.windows:
            continue
        cost = costs.of(option.windows, option.step, option.seconds)
        by_lines = forecast.expect(option.lines, afresh=option.action == "spin").gain
        left = max(forecast.entropy - by_lines, 0.0)
        plans.append(
            Plan(
                option.action,
                option.windows,
                option.seconds,
                by_lines + constants.scan_power * option.unseen * left,
                cost.seconds + (costs.spin if option.action == "spin" else 0.0),
                f"{option.about}, {_span(option.windows)}",
                step=option.step,
                moves=cost.moves,
                dose=cost.dose,
            )
        )
    return plans


def trust(windows: tuple[Window, ...], state: State) -> float:
    """How far a promise is to be believed, 0 to 1: less where the same windows promised and did not tell.

    The model of a line knows neither the fit's misfit nor what hides under a neighbour; where counting kept
    less than a third of its promise, the next promise of the same windows counts `DISTRUST` as much.
    """
    share = 1.0
    for asked in state.asked:
        if asked.told is None or asked.told >= KEPT * asked.promised:
            continue
        common = sum(max(0.0, min(high, b) - max(low, a)) for low, high in windows for a, b in asked.windows)
        share *= 1.0 - (1.0 - DISTRUST) * min(1.0, common / max(sum(b - a for a, b in windows), 1e-9))
    return share


def _span(windows: tuple[Window, ...]) -> str:
    """Windows in words, shortened where there are many; degrees."""
    if len(windows) > 3:
        return f"{len(windows)} windows in {windows[0][0]:.2f}-{windows[-1][1]:.2f} deg"
    return ", ".join(f"{low:.2f}-{high:.2f}" for low, high in windows) + " deg"
