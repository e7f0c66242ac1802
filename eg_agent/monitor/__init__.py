"""Notice a change of symmetry in a series of patterns, with a stated false-alarm rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eg_agent.monitor.change import Change, FrameReport
    from eg_agent.monitor.monitor import SymmetryMonitor
    from eg_agent.monitor.settings import MonitorSettings

__all__ = ["Change", "FrameReport", "MonitorSettings", "SymmetryMonitor"]

_WHERE = {
    "Change": "change",
    "FrameReport": "change",
    "MonitorSettings": "settings",
    "SymmetryMonitor": "monitor",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
