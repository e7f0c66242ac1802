"""Bluesky plans for powder diffraction: measure a pattern, and measure samples until they are known."""

from __future__ import annotations

from plans.asking import AgentAnswer, Asks, wait_for
from plans.devices import Diffractometer, StepDiffractometer, TraceDiffractometer
from plans.identify import identify
from plans.limits import OutsideLimits, within
from plans.scan import measure, positions, step_scan, trace_scan

__all__ = [
    "AgentAnswer",
    "Asks",
    "Diffractometer",
    "OutsideLimits",
    "StepDiffractometer",
    "TraceDiffractometer",
    "identify",
    "measure",
    "positions",
    "step_scan",
    "trace_scan",
    "wait_for",
    "within",
]
