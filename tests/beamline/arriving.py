"""What the tests of both Tiled guards share: a step scan's devices, waiting, and whether a run is whole."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from beamline import PointDetector
from ophyd.sim import SynAxis

from eg_agent.records import Journal


def until(condition: Callable[[], Any], timeout: float = 240.0) -> None:
    """Wait for a condition; seconds after which it counts as not met."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def point_detector() -> tuple[SynAxis, PointDetector]:
    """An axis, and the detector that counts at its position."""
    tth, det = SynAxis(name="tth"), PointDetector(name="det")
    det.motor = tth
    return tth, det


def journaled(journal: Journal, uid: str, key: str) -> list[Any]:
    """A data key of all events of a run, as the journal has them."""
    return [entry.doc["data"][key] for entry in journal.documents(uid) if entry.name == "event"]


def assert_complete(client: Any, journal: Journal, uid: str) -> None:
    """A run in Tiled is what the journal has: every row once, in order, with its stop document."""
    run = client[uid]
    assert run.metadata["stop"]["exit_status"] == "success"
    numbers = run["primary"].base["internal"].read(["seq_num"])["seq_num"].tolist()
    assert numbers == list(range(1, len(numbers) + 1))
    key = next(k for k in run["primary"].metadata["data_keys"] if k.endswith(("counts", "intensity")))
    np.testing.assert_array_equal(run["primary"][key].read(), np.array(journaled(journal, uid, key)))
