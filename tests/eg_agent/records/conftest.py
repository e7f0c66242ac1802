"""Fixtures of the records' tests: the beamline's modules, and one Tiled server for the session."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "beamline"))


@pytest.fixture(scope="session")
def tiled_uri() -> str:
    """URI of a real Tiled server, the same one for the whole session."""
    from beamline import shared_tiled

    return shared_tiled().uri


@pytest.fixture
def engine():
    """A real RunEngine."""
    from bluesky import RunEngine

    run_engine = RunEngine({}, call_returns_result=False)
    yield run_engine
    if run_engine.state != "idle":
        run_engine.abort()
    run_engine.loop.call_soon_threadsafe(run_engine.loop.stop)
