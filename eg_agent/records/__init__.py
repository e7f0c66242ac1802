"""What was measured and decided: journal, ledger, and the one place that reads and writes Tiled."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eg_agent.records.embedded import EmbeddedTiled
    from eg_agent.records.journal import Journal
    from eg_agent.records.ledger import (
        DecisionRow,
        Ledger,
        NoteRow,
        OutcomeRow,
        Policy,
        ledger_schema,
        read_ledger,
        replay,
    )
    from eg_agent.records.merging import merge
    from eg_agent.records.reader import pattern_of, read_pattern, read_run
    from eg_agent.records.run_data import DataKeys, NotAPattern, RunData, RunDocuments
    from eg_agent.records.tiled_client import redacted
    from eg_agent.records.writer import TiledDocumentWriter, WriterState
    from eg_agent.records.writer_process import WriterProcess

_WHERE = {
    "embedded": ("EmbeddedTiled",),
    "journal": ("Journal",),
    "ledger": (
        "DecisionRow",
        "Ledger",
        "NoteRow",
        "OutcomeRow",
        "Policy",
        "ledger_schema",
        "read_ledger",
        "replay",
    ),
    "merging": ("merge",),
    "reader": ("pattern_of", "read_pattern", "read_run"),
    "run_data": ("DataKeys", "NotAPattern", "RunData", "RunDocuments"),
    "tiled_client": ("redacted",),
    "writer": ("TiledDocumentWriter", "WriterState"),
    "writer_process": ("WriterProcess",),
}
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}

__all__ = [
    "DataKeys",
    "DecisionRow",
    "EmbeddedTiled",
    "Journal",
    "Ledger",
    "NotAPattern",
    "NoteRow",
    "OutcomeRow",
    "Policy",
    "RunData",
    "RunDocuments",
    "TiledDocumentWriter",
    "WriterProcess",
    "WriterState",
    "ledger_schema",
    "merge",
    "pattern_of",
    "read_ledger",
    "read_pattern",
    "read_run",
    "redacted",
    "replay",
]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
