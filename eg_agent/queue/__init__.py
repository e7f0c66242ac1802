"""The loop over a queue server: decisions become items of its queue, at most one successful run each."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eg_agent.queue.once import CarriedOut, Once
    from eg_agent.records.runs import RunHead, Runs, TiledAway

_WHERE = {
    "eg_agent.queue.once": ("CarriedOut", "Once"),
    "eg_agent.records.runs": ("RunHead", "Runs", "TiledAway"),
}
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}

__all__ = ["CarriedOut", "Once", "RunHead", "Runs", "TiledAway"]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(_MODULE_OF[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
