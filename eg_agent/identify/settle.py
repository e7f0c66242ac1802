"""What would settle the question between two groups: which reflection, what counting, what nobody told."""

from __future__ import annotations

import numpy as np

from eg_agent.identify.identification import Settle
from eg_agent.identify.information import absence_information, present_mean
from eg_agent.identify.measured import measured, seconds_a_point
from eg_agent.identify.settings import IdentifySettings
from eg_agent.patterns.coordinate import two_theta_of_d
from eg_agent.patterns.pattern import Pattern
from eg_agent.symmetry import Setting, absence_free, group, settings, unique_reflections
from eg_agent.verify.evidence import DecidingReflection, Evidence
from eg_agent.verify.metric import metric_system

#: Longest further counting that is still proposed, in units of the counting so far.
_LONGEST = 300.0
#: Exposure, in units of the counting so far, at which reflections are compared.
_EXPOSURE = 3.0
#: Reflections named, best first.
_MOST = 3
#: Highest angle looked for outside the measured range, degrees.
_HIGHEST = 140.0


def would_settle(
    pattern: Pattern,
    evidence: Evidence,
    log_probability: np.ndarray,
    between: tuple[int, int],
    constants: IdentifySettings,
) -> tuple[Settle, ...]:
    """What would tell `between` (two group numbers, the more probable first) apart, best first.

    log_probability: [99] nats, fused. Never empty: where nothing would help, it says so.
    """
    span = (float(pattern.two_theta[0]), float(pattern.two_theta[-1]))
    first, second = (group(n).symbol for n in between)
    if evidence.status != "fitted" or evidence.cell is None:
        why = (
            "a right cell (the given one does not fit)"
            if evidence.status == "not fitted"
            else "a cell (from indexing or a reference)"
        )
        return (
            Settle(
                None, span, None, between, f"{first} or {second}: {why} would settle, or longer counting."
            ),
        )
    pair = _settings_in_cell(evidence, between)
    if pair is None:
        return (
            Settle(
                None,
                span,
                None,
                between,
                f"{first} or {second}: the cell cannot carry both, so that a check of the cell would settle.",
            ),
        )
    inside = _inside(pattern, evidence, log_probability, between, pair, constants)
    if inside:
        return inside
    return (_without_estimate(pattern, evidence, between, pair, constants),)


def being_told(pattern: Pattern, between: tuple[int, int]) -> Settle:
    """What the sample is made of, where nobody has said it: of 200 simulated samples with a cell 93.5 %
    are answered rightly with it, 88.5 % without, and of measured patterns without a cell 10 in 100 more have
    their group first (docs/explanations/deciding.md, docs/how-to/use-the-chemistry.md)."""
    first, second = (group(n).symbol for n in between)
    return Settle(
        None,
        (float(pattern.two_theta[0]), float(pattern.two_theta[-1])),
        None,
        between,
        f"{first} or {second}: the formula, or its elements, may settle it without counting; none was told.",
    )


def _settings_in_cell(evidence: Evidence, between: tuple[int, int]) -> tuple[Setting, Setting] | None:
    """The settings in which the two groups were scored in the fitted cell; None if one was not."""
    found = []
    for number in between:
        symbols = [c.symbol for c in evidence.candidates if c.group == number]
        matching = [s for s in settings(number) if symbols and s.symbol == symbols[0]]
        if not matching:
            return None
        found.append(matching[0])
    return found[0], found[1]


def _inside(
    pattern: Pattern,
    evidence: Evidence,
    log_probability: np.ndarray,
    between: tuple[int, int],
    pair: tuple[Setting, Setting],
    constants: IdentifySettings,
) -> tuple[Settle, ...]:
    """Reflections with an estimate that one group allows and the other forbids, most telling first."""
    low, high = float(pattern.two_theta[0]), float(pattern.two_theta[-1])
    known: dict[tuple[int, int, int], DecidingReflection] = {
        r.hkl: r
        for c in evidence.candidates
        for r in c.deciding
        if r.sigma > 0.0 and low <= r.two_theta <= high  # tails of lines beyond the end are fitted, too
    }
    if not known:
        return ()
    hkl = np.array(list(known), dtype=np.int64)
    absent = np.array([setting.absent(hkl) for setting in pair], dtype=bool)
    shares = np.exp(np.array([log_probability[n - 1] for n in between]))
    shares = np.clip(shares / shares.sum(), 1e-9, 1.0 - 1e-9)
    ranked = []
    for i, reflection in enumerate(known.values()):
        if absent[0, i] == absent[1, i]:
            continue
        which = 0 if absent[0, i] else 1
        tells = absence_information(reflection.intensity, reflection.sigma, _EXPOSURE, float(shares[which]))
        # What is seen already is no news: it comes last, and counting it longer changes nothing.
        seen = reflection.intensity >= constants.seen_at * reflection.sigma
        ranked.append((not seen, tells, -reflection.two_theta, which, reflection))
    ranked.sort(key=lambda entry: entry[:3], reverse=True)
    return tuple(
        _count(pattern, reflection, between, which, pair, constants)
        for *_, which, reflection in ranked[:_MOST]
    )


def _count(
    pattern: Pattern,
    reflection: DecidingReflection,
    between: tuple[int, int],
    which: int,
    pair: tuple[Setting, Setting],
    constants: IdentifySettings,
) -> Settle:
    """Counting one reflection until it would be seen if it were as strong as the data still allow."""
    low, high = float(pattern.two_theta[0]), float(pattern.two_theta[-1])
    window = (
        max(low, reflection.two_theta - constants.window),
        min(high, reflection.two_theta + constants.window),
    )
    forbids, allows = pair[which].symbol, pair[1 - which].symbol
    name = "({} {} {})".format(*reflection.hkl)
    says = f"{name} at {reflection.two_theta:.2f} deg is absent in {forbids} and allowed in {allows}"
    counting = False
    present = present_mean(reflection.intensity, reflection.sigma)
    # Relative errors of a steady rate fall with the square root of the exposure.
    times = (constants.seen_at * reflection.sigma / present) ** 2
    timing = seconds_a_point(pattern, window)
    seconds: float | None = None
    if reflection.intensity >= constants.seen_at * reflection.sigma:
        says += (
            f"; it is seen at {reflection.intensity / reflection.sigma:.0f} standard errors: unless it is "
            f"foreign, it speaks for {allows}."
        )
    elif times - 1.0 > _LONGEST:
        says += "; so weak a line cannot be settled by counting."
    elif timing is None or not pattern.raw_counts:
        counting = True
        says += f"; counted {max(times, 1.0):.1f} times as long in all, it would be seen if it is there."
    else:
        counting = True
        seconds = max(times - 1.0, 0.0) * timing[0] * timing[1]
        says += (
            f"; {seconds:.0f} s more in {window[0]:.2f}-{window[1]:.2f} deg would show it at "
            f"{constants.seen_at:g} standard errors if it is as strong as the data still allow."
        )
    return Settle(
        hkl=reflection.hkl,
        two_theta=window,
        seconds=seconds,
        between=between,
        reason=says,
        intensity=reflection.intensity,
        sigma=reflection.sigma,
        absent_in=between[which],
        counted=timing[0] if timing else None,
        counting=counting,
    )


def _without_estimate(
    pattern: Pattern,
    evidence: Evidence,
    between: tuple[int, int],
    pair: tuple[Setting, Setting],
    constants: IdentifySettings,
) -> Settle:
    """No fitted reflection tells the groups apart: the nearest one outside the range, or why none can."""
    assert evidence.cell is not None
    wavelength = pattern.radiation.wavelength
    d_min = wavelength / (2.0 * np.sin(np.radians(_HIGHEST / 2.0)))
    free = absence_free(metric_system(evidence.cell).primitive, pair[0].unique_axis or "b")
    reflections = unique_reflections(evidence.cell, free, d_min)
    angle = two_theta_of_d(reflections.d, wavelength) + evidence.zero_shift
    absent = np.array([setting.absent(reflections.hkl) for setting in pair], dtype=bool)
    tells = (absent[0] != absent[1]) & np.isfinite(angle)
    windows = measured(pattern).windows
    covered = np.zeros(angle.size, dtype=bool)
    for low, high in windows:
        covered |= (angle >= low) & (angle <= high)
    span = (float(pattern.two_theta[0]), float(pattern.two_theta[-1]))
    if not tells.any():
        first, second = (setting.symbol for setting in pair)
        said = (
            f"{first} or {second}: no reflection is allowed in one and forbidden in the other; only "
            "intensities (a structure) can tell them apart."
        )
        return Settle(None, span, None, between, said)
    outside = bool((tells & ~covered).any())
    wanted = tells & ~covered if outside else tells
    edges = np.array(windows).ravel()
    away = np.abs(angle[:, None] - edges[None, :]).min(axis=1) if outside else angle
    at = int(np.flatnonzero(wanted)[np.argmin(away[wanted])])
    which = 0 if absent[0, at] else 1
    hkl = (int(reflections.hkl[at, 0]), int(reflections.hkl[at, 1]), int(reflections.hkl[at, 2]))
    window = (float(angle[at]) - constants.window, float(angle[at]) + constants.window)
    said = "({} {} {})".format(*hkl) + (
        f" at {angle[at]:.2f} deg is absent in {pair[which].symbol} and allowed in {pair[1 - which].symbol}; "
    )
    if outside:
        said += f"it lies outside what was measured: extend the range to {window[0]:.1f}-{window[1]:.1f} deg."
    else:
        said += "the fit has no estimate of its own for it (it overlaps): sharper lines would settle."
    return Settle(hkl, window, None, between, said, absent_in=between[which])
