"""Expected information gain of a further measurement, in closed form, and what it costs.

Two models, by what is known:

- **A reflection decides** (a cell was given and the fit stands): absent or allowed is one question
  about one intensity, and its expected answer after more counting is an integral
  (`eg_agent.identify.information`). It bears on the two leading groups only, so it counts with their
  joint probability.
- **The network speaks alone**: with N counts in the strongest point, the share
  s w(N), w(N) = 1 / sqrt(1 + N / N_half), of its entropy h is laid to counting noise and falls with
  it: r times the exposure on top brings s h (w(N) - w((1+r) N)). Well above N_half counts there is
  nothing more to gain, however uncertain the network is.

A wider range is credited with the share of the canonical range that it adds, times the entropy that
a whole scan is expected to remove. Both network models are rough on purpose (they order actions, the
next posterior decides), and their constants are settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from eg_agent.decide.decision import ActionName
from eg_agent.decide.limits import Costs, Limits
from eg_agent.decide.settings import DecideSettings
from eg_agent.identify.identification import Identification, Measured, Settle
from eg_agent.identify.information import absence_information, combined_information, entropy
from eg_agent.patterns.radiation import CU_KALPHA1

Window = tuple[float, float]

#: Counts in the strongest point from which a fit that fails is no longer laid to counting alone, and degrees
#: that the range is then extended by at a time.
UNFITTED_COUNTS, FURTHER_DEGREES = 1000.0, 15.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A measurement that could be asked for: expected gain (nats), cost (seconds), motor moves, dose."""

    action: ActionName
    windows: tuple[Window, ...]
    seconds_per_point: float
    gain: float
    cost: float
    about: str
    step: float | None = None
    moves: int = 0
    dose: float = 0.0

    @property
    def rate(self) -> float:
        """Nats a second."""
        return self.gain / self.cost if self.cost > 0 else 0.0


def clip(windows: tuple[Window, ...], limits: Window) -> tuple[Window, ...]:
    """The parts of `windows` inside `limits`, overlapping ones merged, ascending; degrees."""
    inside = sorted((max(low, limits[0]), min(high, limits[1])) for low, high in windows)
    merged: list[Window] = []
    for low, high in inside:
        if not high > low:
            continue
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def points_in(windows: tuple[Window, ...], step: float) -> int:
    """Points of a scan over `windows` with `step` degrees."""
    return sum(int(np.floor((high - low) / step + 1e-9)) + 1 for low, high in windows)


def reflections_gain(identification: Identification, settles: tuple[Settle, ...], ratio: float) -> float:
    """Nats expected from counting the deciding reflections `ratio` times longer on top."""
    log_p = identification.log_probability
    if log_p is None or not settles:
        return 0.0
    first, second = settles[0].between
    pair = np.exp([log_p[first - 1], log_p[second - 1]])
    total = float(pair.sum())
    if total <= 0.0:
        return 0.0
    shares = pair / total
    question = float(entropy(np.log(np.clip(shares, 1e-300, 1.0))))
    parts = []
    for settle in settles:
        if settle.intensity is None or settle.sigma is None or settle.between != (first, second):
            continue
        p_absent = float(shares[0] if settle.absent_in == first else shares[1])
        parts.append(absence_information(settle.intensity, settle.sigma, ratio, p_absent))
    return total * combined_information(parts, question)


def counting_gain(h: float, measured: Measured, ratio: float, settings: DecideSettings) -> float:
    """Nats expected from counting everything `ratio` times longer on top, entropy now `h` nats."""
    counts = measured.strongest_counts
    if counts is None:  # in arbitrary units: taken half way to where counting has nothing to add
        counts = settings.half_counts
    noise = 1.0 / np.sqrt(1.0 + counts / settings.half_counts)
    after = 1.0 / np.sqrt(1.0 + (1.0 + ratio) * counts / settings.half_counts)
    return float(settings.noise_share * h * (noise - after))


def extending_gain(h: float, measured: Measured, added: float, settings: DecideSettings) -> float:
    """Nats expected from covering the further share `added` of the canonical range."""
    return float(h * settings.scan_power * min(max(added, 0.0), 1.0))


def count_plans(
    identification: Identification,
    measured: Measured,
    seconds_per_point: float,
    limits: Limits,
    costs: Costs,
    settings: DecideSettings,
) -> list[Plan]:
    """Ways of counting longer: the deciding windows, or the whole range, at several exposures."""
    assert identification.log_probability is not None
    longest = limits.max_seconds_per_point
    plans: list[Plan] = []
    # The others lie outside what was measured (for them the range is extended) or cannot be counted.
    settles = tuple(s for s in identification.would_settle if s.hkl is not None and s.counting)
    decisive = clip(tuple(s.two_theta for s in settles), limits.two_theta)
    whole = clip(measured.windows, limits.two_theta)
    h = entropy(identification.log_probability)
    for ratio in settings.exposures:
        if decisive:
            # The windows may have been counted longer than the rest before.
            base = max((s.counted for s in settles if s.counted is not None), default=seconds_per_point)
            seconds = min(ratio * base, longest)
            names = ", ".join("({} {} {})".format(*s.hkl) for s in settles if s.hkl is not None)
            plans.append(
                Plan(
                    "count longer",
                    decisive,
                    seconds,
                    reflections_gain(identification, settles, seconds / base),
                    **_cost(costs, decisive, measured.step, seconds),
                    about=f"{names} at {_windows(decisive)} deg",
                )
            )
        if whole and identification.evidence_only is None:
            seconds = min(ratio * seconds_per_point, longest)
            plans.append(
                Plan(
                    "count longer",
                    whole,
                    seconds,
                    counting_gain(h, measured, seconds / seconds_per_point, settings),
                    **_cost(costs, whole, measured.step, seconds),
                    about=f"the whole range, {_windows(whole)} deg,",
                )
            )
    return plans


def extend_plans(
    identification: Identification,
    measured: Measured,
    seconds_per_point: float,
    limits: Limits,
    costs: Costs,
    settings: DecideSettings,
) -> list[Plan]:
    """Measure what the limits allow and the pattern does not cover, if that is worth a move."""
    assert identification.log_probability is not None
    missing = uncovered(
        measured.windows, _canonical_window(measured, limits.two_theta), settings.smallest_gap
    )
    if not missing:
        return []
    seconds_per_point = min(seconds_per_point, limits.max_seconds_per_point)
    added = sum(high - low for low, high in missing) / _canonical_width(measured)
    h = entropy(identification.log_probability)
    return [
        Plan(
            "extend range",
            missing,
            seconds_per_point,
            extending_gain(h, measured, added, settings),
            **_cost(costs, missing, measured.step, seconds_per_point),
            about=f"{_windows(missing)} deg",
        )
    ]


def unfitted_plans(
    identification: Identification,
    measured: Measured,
    seconds_per_point: float,
    limits: Limits,
    costs: Costs,
    settings: DecideSettings,
) -> list[Plan]:
    """What may make a fit stand that does not yet: longer counting of all that was measured, or more range.

    A fit that fails at few counts or on few lines may stand with more of them; one that fails at
    `UNFITTED_COUNTS` counts and more has another reason, and what counting promises fades.
    """
    assert identification.log_probability is not None
    h = settings.unfitted * entropy(identification.log_probability)
    counts = measured.strongest_counts
    hope = 1.0 if counts is None else 1.0 / (1.0 + counts / UNFITTED_COUNTS)
    whole = clip(measured.windows, limits.two_theta)
    plans: list[Plan] = []
    for ratio in settings.exposures if whole else ():
        seconds = min(ratio * seconds_per_point, limits.max_seconds_per_point)
        more = seconds / (seconds + seconds_per_point)
        plans.append(
            Plan(
                "repeat all",
                whole,
                seconds,
                h * hope * more,
                **_cost(costs, whole, measured.step, seconds),
                about=f"all that was measured, {len(whole)} window(s),",
            )
        )
    top = _canonical_window(measured, limits.two_theta)[1]
    last = max((high for _, high in whole), default=limits.two_theta[0])
    if top - last >= settings.smallest_gap:
        further: tuple[Window, ...] = ((last, min(top, last + FURTHER_DEGREES)),)
        seconds = min(seconds_per_point, limits.max_seconds_per_point)
        plans.append(
            Plan(
                "extend range",
                further,
                seconds,
                h * hope * 0.2,
                **_cost(costs, further, measured.step, seconds),
                about=f"{_windows(further)} deg",
            )
        )
    return plans


def _cost(costs: Costs, windows: tuple[Window, ...], step: float, seconds: float) -> dict[str, Any]:
    """The parts of a plan that say what it takes."""
    cost = costs.of(windows, step, seconds)
    return {"cost": cost.seconds, "moves": cost.moves, "dose": cost.dose}


def uncovered(windows: tuple[Window, ...], wanted: Window, smallest: float) -> tuple[Window, ...]:
    """The parts of `wanted` outside `windows` that are at least `smallest` degrees wide."""
    low, high = wanted
    gaps: list[Window] = []
    for a, b in clip(windows, wanted):
        if a - low >= smallest:
            gaps.append((low, a))
        low = max(low, b)
    if high - low >= smallest:
        gaps.append((low, high))
    return tuple(gaps)


def _canonical_window(measured: Measured, limits_range: Window) -> Window:
    """The canonical range at the measured wavelength, within the limits; degrees."""
    low, high = _canonical(measured.wavelength)
    return max(low, limits_range[0]), min(high, limits_range[1])


def _canonical_width(measured: Measured) -> float:
    low, high = _canonical(measured.wavelength)
    return high - low


def _canonical(wavelength: float) -> Window:
    """5-90 degrees of Cu K-alpha1 in degrees of `wavelength` (angstrom), by equal d."""
    scale = wavelength / CU_KALPHA1
    sines = np.minimum(np.sin(np.radians([2.5, 45.0])) * scale, 1.0)
    low, high = 2.0 * np.degrees(np.arcsin(sines))
    return float(low), float(high)


def _windows(windows: tuple[Window, ...]) -> str:
    return ", ".join(f"{low:.2f}-{high:.2f}" for low, high in windows)
