"""A refusal that is none: the manager passes on what its Redis client says."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import redis.asyncio
from servers import free_port

from eg_agent.queue.manager import store_is_away


@pytest.fixture
def listening() -> Iterator[Callable[[bytes | None], int]]:
    """A server that answers every connection with some bytes and hangs up, or, with None, never answers."""
    sockets: list[socket.socket] = []

    def listen(answer: bytes | None) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        sockets.append(server)

        def serve() -> None:
            while True:
                try:
                    other, _ = server.accept()
                except OSError:
                    return
                sockets.append(other)
                if answer is not None:
                    other.recv(1 << 12)
                    other.sendall(answer)
                    other.close()

        threading.Thread(target=serve, daemon=True).start()
        return server.getsockname()[1]

    yield listen
    for one in sockets:
        one.close()


def _told(port: int) -> str:
    """What redis-py says when it is asked through a port, as the manager's client asks."""

    async def ask() -> str:
        url = f"redis://127.0.0.1:{port}"
        client = redis.asyncio.from_url(url, encoding="utf-8", decode_responses=True, socket_timeout=0.5)
        try:
            await client.ping()
        except Exception as error:
            return str(error)
        finally:
            await client.aclose()
        return ""

    return asyncio.run(ask())


def test_a_redis_that_is_gone_is_away(listening) -> None:
    assert store_is_away(_told(free_port()))


@pytest.mark.parametrize("answer", [b"", None], ids=["hangs up", "never answers"])
def test_a_redis_that_does_not_serve_is_away(listening, answer: bytes | None) -> None:
    assert store_is_away(_told(listening(answer)))


def test_a_redis_that_reads_its_data_is_away(listening) -> None:
    said = _told(listening(b"-LOADING Redis is loading the dataset in memory\r\n" * 3))
    assert store_is_away(said), said


@pytest.mark.parametrize(
    "said",
    [
        "Plan validation failed: Plan 'eg_measure' is not in the list of allowed plans.",
        "RE Manager must be in idle state before plan could be executed, current state: 'paused'",
        "Error: invalid lock key: the queue is locked",
        "plan 'connect': parameter 'reading' is missing",
    ],
)
def test_what_the_manager_says_itself_is_a_refusal(said: str) -> None:
    assert not store_is_away(said)
