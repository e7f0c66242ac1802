"""Shared fixtures: where measured patterns and reference tables lie, a RunEngine, a Tiled server."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[1]


def _shared(name: str, variable: str) -> Path:
    path = Path(os.environ.get(variable, _ROOT.parent / "shared" / name))
    if not path.is_dir():
        pytest.skip(f"{name} is not here: set {variable} to its folder")
    return path


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Folder with index.csv and patterns.npz of measured patterns; skips where it is absent."""
    return _shared("realdata", "EG_AGENT_REALDATA")


@pytest.fixture(scope="session")
def symmetry_tables() -> Path:
    """Folder with the reference tables of groups, codes and graph; skips where it is absent."""
    return _shared("symmetry", "EG_AGENT_SYMMETRY")


@pytest.fixture(scope="session")
def structures() -> Path:
    """Folder with the parquet files of crystal structures; skips where it is absent."""
    return _shared("structures", "EG_AGENT_STRUCTURES")


@pytest.fixture(scope="session")
def tiled_uri() -> str:
    """URI of a real Tiled server, the same one for the whole session."""
    from beamline import shared_tiled

    return shared_tiled().uri


@pytest.fixture(scope="session")
def random_network(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """Saves a small network with random weights, as any is saved: (name, seed) to its card."""
    import torch

    from eg_agent.model import Card, Network, NetworkConfig, save_checkpoint

    def saved(name: str, seed: int) -> Path:
        torch.manual_seed(seed)
        config = NetworkConfig(
            length=1024, width=32, depth=1, heads=2, stem_widths=(8, 16, 32), stem_blocks=(0, 0, 0)
        )
        path = tmp_path_factory.mktemp("checkpoint") / f"{name}.json"
        save_checkpoint(path, Network(config), Card(name, config, tuple([-math.log(99.0)] * 99)))
        return path

    return saved


@pytest.fixture(scope="session")
def random_checkpoint(random_network: Callable[[str, int], Path]) -> Path:
    """A small network that is fast, and exists without the shipped one."""
    return random_network("random", 7)


@pytest.fixture
def files_of_at_most() -> Callable[[int], AbstractContextManager[None]]:
    """A context in which the kernel lets no file of this process grow beyond a size in bytes (EFBIG)."""
    import resource

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture
def engine():
    """A real RunEngine."""
    from bluesky import RunEngine

    run_engine = RunEngine({}, call_returns_result=False)
    yield run_engine
    if run_engine.state != "idle":
        run_engine.abort()
    run_engine.loop.call_soon_threadsafe(run_engine.loop.stop)
