"""From a decision to a queue item: what to measure, on which sample, and the metadata that names it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from eg_agent.decide.decision import Decision
from eg_agent.decide.limits import MEASURING
from eg_agent.queue.manager import Item
from eg_agent.queue.settings import RunSettings


def sample_after(settings: RunSettings, sample: str) -> str:
    """The sample that follows in the changer, "" after the last and for one that is not in the list."""
    names = settings.shift.samples
    if sample not in names:
        return ""
    position = names.index(sample) + 1
    return names[position] if position < len(names) else ""


def samples_left(settings: RunSettings, sample: str) -> int | None:
    """How many samples wait after this one; None when it is not in the list."""
    names = settings.shift.samples
    return len(names) - names.index(sample) - 1 if sample in names else None


def to_measure(settings: RunSettings, decision: Decision) -> Decision | None:
    """The measurement that carries a decision out, under its id; None when nothing is to be measured.

    A measuring decision is its own; one that ends a sample becomes the first scan of the next.
    """
    if decision.action in MEASURING:
        return decision
    if decision.action == "stop" or (decision.action == "ask a person" and settings.ask == "hold"):
        return None
    name = sample_after(settings, decision.sample)
    if not name:
        return None
    return first_scan(settings, name, decision.decision_id, decision)


def first_scan(
    settings: RunSettings, sample: str, decision_id: str, because: Decision | None = None
) -> Decision:
    """The first scan of a sample as a decision; `because`: the one that ended the sample before."""
    shift = settings.shift
    scan = Decision(
        decision_id=decision_id,
        action="count longer",
        reason="First scan of the sample, as the shift's settings say.",
        windows=(shift.two_theta or settings.limits.two_theta,),
        seconds_per_point=shift.seconds_per_point,
        sample=sample,
    )
    if because is None:
        return scan
    return replace(scan, reason=f"First scan; {because.sample}: {because.reason}", run_uid=because.run_uid)


def item_for(
    settings: RunSettings, decision: Decision, attempt: int, *, first: bool, action: str = ""
) -> Item:
    """The queue item of a measurement. `first`: a whole scan, not windows on the grid of an earlier one.

    action: what was decided, where that is not to measure (`next sample` becomes a first scan); plans
    check it against the actions that the limits allow.
    """
    shift = settings.shift
    md: dict[str, Any] = {
        "sample": decision.sample,
        "eg_decision_id": decision.decision_id,
        "eg_attempt": attempt,
        "eg_action": action or decision.action,
        "eg_reason": decision.reason,
        "eg_shift": shift.name,
    }
    left = samples_left(settings, decision.sample)
    if left is not None:
        md["eg_samples_left"] = left
    two_theta, windows = _range(settings, decision, first=first)
    return {
        "item_type": "plan",
        "name": settings.queue.plan,
        "kwargs": {
            "sample": decision.sample,
            "two_theta": list(two_theta),
            "step": shift.step,
            "seconds_per_point": decision.seconds_per_point or shift.seconds_per_point,
            "windows": [list(window) for window in windows],
            "md": md,
        },
        "meta": md,
    }


def with_attempt(item: Item, attempt: int) -> Item:
    """An item of the queue as its next attempt, without what the manager wrote into it."""
    kept = {
        key: item[key] for key in ("item_uid", "item_type", "name", "args", "kwargs", "meta") if key in item
    }
    for where in (kept.get("meta"), (kept.get("kwargs") or {}).get("md")):
        if isinstance(where, dict) and "eg_decision_id" in where:
            where["eg_attempt"] = attempt
    return kept


def _range(
    settings: RunSettings, decision: Decision, *, first: bool
) -> tuple[tuple[float, float], tuple[tuple[float, float], ...]]:
    """(low, high) of the scan and its windows, in degrees.

    Windows keep to the grid of the first scan, whose counts they are added to; the grid begins lower
    when a window does, but inside the limits.
    """
    low = min(low for low, _ in decision.windows)
    high = max(high for _, high in decision.windows)
    if first:
        return (low, high), ()
    shift, fence = settings.shift, settings.limits.two_theta
    start = (shift.two_theta or fence)[0]
    if low < start:
        steps = math.floor((low - start) / shift.step + 1e-6)
        if start + steps * shift.step < fence[0] - 1e-6:
            steps += 1
        start = max(round(start + steps * shift.step, 6), fence[0])
    return (start, max(high, start + shift.step)), decision.windows
