"""The process that writes to Tiled: `TiledDocumentWriter`, fed from the journal's files.

Run as `python -m eg_agent.records.writing` by `WriterProcess`. Lines of JSON in: the settings, then
`{"upto": {run: n}}` (documents 0 to n of the run are in the journal), `{"doc": [run, n, name, doc]}`
(one that the disk refused), until standard input ends. Out: `{"state": ..., "asked": ...}` when it
changed, `{"settled": [run, done]}`, `{"change": state}` as `on_change`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eg_agent.records.child import answers
from eg_agent.records.journal import Entry, Journal, Tail
from eg_agent.records.tiled_client import Segments
from eg_agent.records.writer import TiledDocumentWriter, WriterState


class Writing:
    """Follows the journal's files and feeds a `TiledDocumentWriter`."""

    def __init__(self, settings: dict[str, Any], say: Any) -> None:
        self._say = say
        # The agent's own process syncs: this one only reads, and marks what arrived.
        self._journal = Journal(Path(settings["journal"]), fsync="never")
        self._arrived = {uid for uid, mark in self._journal.marks().items() if mark.get("state") == "written"}
        self._tails: dict[str, tuple[Tail, list[Entry]]] = {}
        self._settled: dict[str, bool] = {}
        self._lock = threading.Lock()
        self.writer = TiledDocumentWriter(
            settings["tiled"],
            self._journal,
            queue_size=settings["queue_size"],
            retry_seconds=settings["retry_seconds"],
            segments=Segments(**settings["segments"]),
            on_change=lambda state: say({"change": as_json(state)}),
            on_settled=self._on_settled,
        )

    def _on_settled(self, run: str, done: bool) -> None:
        with self._lock:
            self._settled[run] = done
            while len(self._settled) > 10_000:
                self._settled.pop(next(iter(self._settled)))
            self._tails.pop(run, None)
        self._say({"settled": [run, done]})

    def upto(self, run: str, n: int) -> None:
        """Documents of a run are in the journal, up to number n."""
        with self._lock:
            # Arrived: by an earlier process, which did not live to say so.
            settled = True if run in self._arrived else self._settled.get(run)
            following = None
            if settled is None:
                following = self._tails.setdefault(run, (Tail(self._journal, run), []))
        if following is None:
            self._say({"settled": [run, settled]})
            return
        tail, ahead = following
        # The file may be ahead of what was told; what the disk refused in between comes by the pipe first.
        ahead.extend(tail.new())
        while ahead and ahead[0].n <= n:
            entry = ahead.pop(0)
            self.writer.put(run, entry.n, entry.name, entry.doc, on_disk=True)

    def report(self, ended: threading.Event) -> None:
        """Say what changed, until `ended`."""
        last: Any = None
        while not ended.wait(0.1):
            now = {"state": as_json(self.writer.state), "asked": self.writer.asked}
            if now != last:
                self._say(now)
                last = now


def as_json(state: WriterState) -> dict[str, Any]:
    """A state as plain JSON types."""
    return {**asdict(state), "behind": list(state.behind), "elsewhere": list(state.elsewhere)}


def main() -> None:
    """Serve until standard input ends, then write what is left, and end."""
    say = answers()
    settings = json.loads(sys.stdin.readline())
    if hasattr(os, "nice"):
        os.nice(settings["nice"])
    writing = Writing(settings, say)
    ended = threading.Event()
    reporter = threading.Thread(target=writing.report, args=(ended,), daemon=True)
    reporter.start()
    for line in sys.stdin:
        message = json.loads(line)
        for run, n in message.get("upto", {}).items():
            writing.upto(run, n)
        if "doc" in message:
            run, n, name, doc = message["doc"]
            writing.writer.put(run, n, name, doc, on_disk=False)
    done = writing.writer.close(settings["close_seconds"])
    ended.set()
    reporter.join()
    say({"state": as_json(writing.writer.state), "asked": writing.writer.asked, "closed": done})
    sys.stderr.flush()
    os._exit(0)  # a connection that hangs must not keep the process


if __name__ == "__main__":
    main()
