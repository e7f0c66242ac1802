"""Startup profile of an RE Manager that measures for eg-agent: RunEngine, writers, device, one plan.

Replace the simulated diffractometer by your own; the rest can stay as it is. Settings come from the
environment, so that no key stands in a file:

    EG_AGENT_TILED            URI of the Tiled server (its key in TILED_API_KEY)
    EG_AGENT_WORKER_RECORDS   folder for the journal of this worker, on its own disk
    EG_AGENT_SAMPLES          names of the simulated samples' seeds, here "seed:count" (default 1:7)
    EG_AGENT_TIME_SCALE       real seconds a simulated second (default 0: measures at once)
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

from bluesky import RunEngine

from eg_agent.decide import Limits
from eg_agent.queue import Once, Runs
from eg_agent.records import Journal, TiledDocumentWriter
from plans import measure, within
from simulators import SimDiffractometer, draw

_tiled = os.environ["EG_AGENT_TILED"]
_records = Path(os.environ.get("EG_AGENT_WORKER_RECORDS", "~/.local/state/eg-agent-worker")).expanduser()

RE = RunEngine({})

# Order matters: the writer journals a document on this disk before it queues it for Tiled, and `_once`
# learns of a run's end after that. A run that the journal has is never measured again.
_journal = Journal(_records / "journal", fsync="document")
_writer = TiledDocumentWriter(_tiled, _journal, retry_seconds=1.0)
_once = Once(_journal, known=Runs(_tiled).successful)
RE.subscribe(_writer)
RE.subscribe(_once)
RE.md_validator = _once.validate

# The device. The names of its samples are what the agent's `samples` must say.
_seed, _, _count = os.environ.get("EG_AGENT_SAMPLES", "1:7").partition(":")
_samples = draw(int(_seed), int(_count or 7))
diffractometer = SimDiffractometer(
    name="diffractometer",
    samples={sample.crystal.name: sample.rate for sample in _samples},
    radiation=_samples[0].radiation,
    limits=(5.0, 90.0),
    seed=int(_seed),
    time_scale=float(os.environ.get("EG_AGENT_TIME_SCALE", "0")),
)

# The fence of this instrument. Whoever asks: no message outside it leaves this process.
_limits = Limits(two_theta=(5.0, 90.0), max_seconds_per_point=60.0)


def eg_measure(
    sample: str,
    two_theta: list[float],
    step: float,
    seconds_per_point: float,
    windows: list[list[float]] = [],  # noqa: B006 - the queue server wants a default that it can show
    md: dict = {},  # noqa: B006
) -> Generator[Any, Any, Any]:
    """Measure one powder pattern of one sample.

    two_theta: low, high in degrees; step: degrees; seconds_per_point: seconds; windows: count only there.
    md: metadata of the run; with an `eg_decision_id` that had its successful run, nothing is measured.
    """
    import bluesky.plan_stubs as bps

    def inner() -> Generator[Any, Any, Any]:
        yield from bps.mv(diffractometer.sample, sample)
        return (
            yield from measure(
                diffractometer,
                two_theta=(two_theta[0], two_theta[1]),
                step=step,
                seconds_per_point=seconds_per_point,
                windows=[(low, high) for low, high in windows],
                md={"sample": sample, **md},
            )
        )

    return (yield from _once.plan(md, within(_limits, diffractometer, inner())))
