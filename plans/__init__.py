"""Bluesky plans for powder diffraction: one pattern, samples until they are known, a shift, a series."""

from __future__ import annotations

from plans.asking import AgentAnswer, Asks, wait_for
from plans.devices import Diffractometer, StepDiffractometer, TraceDiffractometer
from plans.identify import identify
from plans.limits import OutsideLimits, within
from plans.monitor import Watches, monitor
from plans.scan import measure, positions, step_scan, trace_scan
from plans.survey import survey
from plans.watching import SeriesWatcher

__all__ = [
    "AgentAnswer",
    "Asks",
    "Diffractometer",
    "OutsideLimits",
    "SeriesWatcher",
    "StepDiffractometer",
    "TraceDiffractometer",
    "Watches",
    "identify",
    "measure",
    "monitor",
    "positions",
    "step_scan",
    "survey",
    "trace_scan",
    "wait_for",
    "within",
]
