"""Settings, ledgers and boards for the tests of the queue; Redis is a real one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from servers import Redis, absent

from eg_agent.decide import Limits
from eg_agent.queue.board import FolderBoard
from eg_agent.queue.board_redis import RedisBoard
from eg_agent.queue.settings import ApprovalSettings, RunSettings, ShiftSettings
from eg_agent.queue.share import SharedLedger
from eg_agent.queue.work import WorkBook
from eg_agent.records import Ledger


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory) -> Iterator[Redis]:
    """A Redis with a password."""
    if why := absent("redis-server"):
        pytest.skip(why)
    server = Redis(tmp_path_factory.mktemp("redis"), password="pass-of-redis")
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["folder", "redis"])
def make_board(request, tmp_path) -> Callable[[], FolderBoard | RedisBoard]:
    """Make one more board of the same shift, as another agent would."""
    made = []
    if request.param == "redis":
        server = request.getfixturevalue("redis_server")
        server.client().flushall()

    def make() -> FolderBoard | RedisBoard:
        if request.param == "folder":
            board: FolderBoard | RedisBoard = FolderBoard(tmp_path)
        else:
            board = RedisBoard(server.url, "agents", "night", seconds=1.0)
        made.append(board)
        return board

    yield make
    for board in made:
        board.close()


@pytest.fixture
def settings() -> RunSettings:
    return RunSettings(
        shift=ShiftSettings("night", samples=("a", "b"), two_theta=(10.0, 60.0), step=0.1),
        approval=ApprovalSettings(expires=60.0),
        limits=Limits(two_theta=(5.0, 90.0), max_seconds_per_point=20.0),
    )


@pytest.fixture
def shared(tmp_path):
    """A shared ledger with its book, by board and folder name."""

    def make(board, name: str = "records") -> SharedLedger:
        folder = tmp_path / name
        return SharedLedger(Ledger(folder / "ledger.jsonl", session=name), board, WorkBook("night"))

    return make
