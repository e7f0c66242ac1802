"""`SeriesWatcher`: the patterns of a series, on their way from the RunEngine to a monitor of symmetry."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from eg_agent.monitor.change import FrameReport
from eg_agent.records.reader import pattern_of
from eg_agent.records.run_data import DataKeys, RunDocuments

_log = logging.getLogger(__name__)


class Monitors(Protocol):
    """What takes the patterns in order (`eg_agent.monitor.SymmetryMonitor`)."""

    def ingest(self, pattern: Any, at: float | None = None) -> FrameReport:
        """The next frame; at: its temperature or time."""
        ...


class SeriesWatcher:
    """Subscribe it to a RunEngine; it takes the runs of `monitor` and gives each to the monitor, in order.

    monitor: a `SymmetryMonitor`. keys: names of the data keys, where hints do not tell them.
    sample: watch other people's scans too: runs with this `sample` in their metadata, or any when "".

    The monitor works on a thread of its own, one frame after the other: the RunEngine never waits.
    A frame that cannot be read or judged fails its own future; the series goes on without it.
    """

    def __init__(self, monitor: Monitors, *, keys: DataKeys | None = None, sample: str | None = None) -> None:
        self.monitor = monitor
        self.keys, self.sample = keys, sample
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="eg-monitor")
        self._lock = threading.Lock()
        self._run: RunDocuments | None = None
        self._futures: dict[str, Future[FrameReport]] = {}
        self._of: dict[str, str] = {}

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """A document of the RunEngine; never raises."""
        if name == "start":
            self._run = RunDocuments() if self._wanted(doc) else None
        if self._run is None:
            return
        self._run.add(name, doc)
        if name == "stop":
            run, self._run = self._run, None
            uid = str(run.start.get("uid", ""))
            if doc.get("exit_status") != "success":
                self._future(uid).cancel()
                return
            self._worker.submit(self._take, run, uid)

    def ask(self, run_uid: str) -> Future[FrameReport]:
        """What the monitor made of a run, as a future."""
        return self._future(run_uid)

    def close(self) -> None:
        """Finish the frames that wait, and end the thread."""
        self._worker.shutdown(wait=True)

    def _wanted(self, start: Mapping[str, Any]) -> bool:
        if "eg_series" in start:
            return bool(start.get("eg_monitor_frame", True))
        return self.sample is not None and self.sample in ("", str(start.get("sample", "")))

    def _future(self, uid: str) -> Future[FrameReport]:
        with self._lock:
            if uid not in self._futures:
                self._futures[uid] = Future()
                while len(self._futures) > 1000:  # nobody asks for frames that long ago
                    del self._futures[next(iter(self._futures))]
            return self._futures[uid]

    def _take(self, run: RunDocuments, uid: str) -> None:
        future = self._future(uid)
        try:
            pattern = pattern_of(run.data(), keys=self.keys)
            at = run.start.get("eg_at")
            future.set_result(self.monitor.ingest(pattern, None if at is None else float(at)))
        except Exception as error:  # whatever it is, the series goes on
            _log.warning("run %s could not be judged: %s", uid[:8], error)
            if not future.cancelled():
                future.set_exception(error)
