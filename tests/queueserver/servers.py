"""Real servers for the tests: Redis, PostgreSQL, Tiled and RE Manager, each a process of its own.

Every server can be killed (what a power cut does) and started again on the same port with the same data,
as systemd would. `absent` says which programs are missing on this machine.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "queueserver"
BIN = Path(sys.executable).parent


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def program(name: str) -> str | None:
    """Path of a program: in PATH, in the environment's bin, or where Debian keeps PostgreSQL's."""
    if found := shutil.which(name):
        return found
    places = [BIN / name, *sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)]
    return next((str(place) for place in places if place.exists()), None)


def absent(*names: str) -> str:
    """Why tests that need these programs cannot run here, "" when they can."""
    missing = [name for name in names if program(name) is None]
    return f"not on this machine: {', '.join(missing)} (see .ci/run for how to install)" if missing else ""


def wait_for(
    what: str, ready: Callable[[], bool], seconds: float = 300.0, seen: Callable[[], object] | None = None
) -> None:
    """Wait until `ready`, or fail: what was waited for, how `ready` failed last, and what is `seen` then."""
    deadline, problem = time.monotonic() + seconds, ""
    while time.monotonic() < deadline:
        try:
            if ready():
                return
            problem = ""
        except Exception as error:
            problem = f"; {type(error).__name__}: {error}"
        time.sleep(0.05)
    if seen is not None:
        with contextlib.suppress(Exception):
            problem += f"; {seen()}"
    raise TimeoutError(f"{what}: not within {seconds:g} s{problem}")


class Server(ABC):
    """A process that is started, killed and started again; `log` holds what all its lives wrote."""

    name = "server"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "log.txt"
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.without: tuple[str, ...] = ()  #: variables that are taken out of its environment

    @abstractmethod
    def command(self) -> list[str]:
        """What starts it."""

    def environment(self) -> dict[str, str]:
        return {}

    def cwd(self) -> Path:
        return self.folder

    @abstractmethod
    def ready(self) -> bool:
        """Whether it serves; may raise while it does not."""

    def start(self, wait: float = 300.0) -> None:
        """Start, and wait until it serves."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self.whole_environment(),
                cwd=self.cwd(),
                start_new_session=True,
            )
        self.starts += 1
        if wait:
            try:
                wait_for(self.name, self._serves, wait)
            except TimeoutError as error:
                raise TimeoutError(f"{error}\n{self.tail()}") from None

    def whole_environment(self) -> dict[str, str]:
        """All variables that its process has."""
        found = {**os.environ, "OMP_NUM_THREADS": "1", **self.environment()}
        return {name: value for name, value in found.items() if name not in self.without}

    def _serves(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}\n{self.tail()}")
        return self.ready()

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def kill(self) -> None:
        """End it and its children at once, without their consent."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def stop(self) -> None:
        """End it the polite way, then the other."""
        if self.process is None or self.process.poll() is not None:
            self.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.kill()


class Redis(Server):
    """Redis that forgets nothing: every write is on disk before it is answered."""

    name = "Redis"

    def __init__(self, folder: Path, password: str = "") -> None:
        super().__init__(folder)
        self.port = free_port()
        self.password = password
        at = f":{password}@" if password else ""
        self.url = f"redis://{at}127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        found = program("redis-server")
        assert found
        settings = self.folder / "redis.conf"
        settings.write_text(
            f"bind 127.0.0.1\nport {self.port}\ndir {self.folder}\n"
            'appendonly yes\nappendfsync always\nsave ""\n'
            + (f"requirepass {self.password}\n" if self.password else "")
        )
        return [found, str(settings)]

    def client(self) -> Any:
        import redis

        return redis.Redis.from_url(self.url, decode_responses=True, socket_timeout=2)

    def ready(self) -> bool:
        return bool(self.client().ping())


class Postgres(Server):
    """PostgreSQL, run by a user of its own when the tests run as root (it refuses root)."""

    name = "PostgreSQL"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = free_port()
        self.uri = f"postgresql://tiled@127.0.0.1:{self.port}/postgres"
        self.as_user: list[str] = []
        # Not in pytest's folders, which are closed to other users whenever a session of pytest begins.
        self.home = Path(tempfile.mkdtemp(prefix="eg-agent-postgres-"))
        self.data = self.home / "data"
        if os.getuid() == 0:
            user = "postgres"
            self.as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
            shutil.chown(self.home, user)
        found = program("initdb")
        assert found
        subprocess.run(
            [*self.as_user, found, "-D", str(self.data), "-U", "tiled", "--auth=trust", "-E", "UTF8"],
            check=True,
            capture_output=True,
            cwd="/",
        )

    def command(self) -> list[str]:
        found = program("postgres")
        assert found
        return [
            *self.as_user,
            found,
            "-D",
            str(self.data),
            "-p",
            str(self.port),
            "-h",
            "127.0.0.1",
            "-k",
            str(self.home),
        ]

    def cwd(self) -> Path:
        return self.home

    def stop(self) -> None:
        super().stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def ready(self) -> bool:
        found = program("pg_isready")
        if found is None:
            with socket.create_connection(("127.0.0.1", self.port), 1):
                return True
        asked = subprocess.run(
            [found, "-h", "127.0.0.1", "-p", str(self.port)], capture_output=True, check=False
        )
        return asked.returncode == 0


class Tiled(Server):
    """`tiled serve config`: catalog and tables in PostgreSQL where there is one, else SQLite and DuckDB."""

    name = "Tiled"

    def __init__(self, folder: Path, postgres: Postgres | None, redis: Redis | None) -> None:
        super().__init__(folder)
        self.port = free_port()
        self.key = secrets.token_hex(16)
        self.postgres = postgres
        self.redis = redis
        self.url = f"http://127.0.0.1:{self.port}/api/v1"
        self.uri = f"{self.url}?api_key={self.key}"

    def settings(self) -> str:
        """The text of its configuration."""
        import yaml

        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        if self.postgres is not None:
            catalog = self.postgres.uri.replace("postgresql://", "postgresql+asyncpg://")
            tables = self.postgres.uri
        else:
            catalog = f"sqlite:///{self.folder / 'catalog.db'}"
            tables = f"duckdb:///{self.folder / 'tables.duckdb'}"
        tree = {
            "uri": catalog,
            "writable_storage": [str(data), tables],
            "init_if_not_exists": True,
        }
        cache = {"uri": self.redis.url if self.redis else "memory"}
        trees = [{"path": "/", "tree": "catalog", "args": tree}]
        return yaml.safe_dump({"trees": trees, "streaming_cache": cache})

    def command(self) -> list[str]:
        file = self.folder / "config.yml"
        file.write_text(self.settings())
        return [
            str(BIN / "tiled"),
            "serve",
            "config",
            str(file),
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]

    def environment(self) -> dict[str, str]:
        return {"TILED_SINGLE_USER_API_KEY": self.key}

    def ready(self) -> bool:
        import httpx

        return httpx.get(f"http://127.0.0.1:{self.port}/healthz", timeout=2).status_code == 200


class Manager(Server):
    """`start-re-manager` with the example's startup profile and permissions."""

    name = "RE Manager"

    def __init__(self, folder: Path, redis: Redis, tiled: Tiled, **environment: str) -> None:
        super().__init__(folder)
        self.control = f"tcp://127.0.0.1:{free_port()}"
        self.info = f"tcp://127.0.0.1:{free_port()}"
        self.redis = redis
        self.tiled = tiled
        self.more = environment
        self.profile = folder / "profile"
        shutil.copytree(EXAMPLE / "startup", self.profile)
        self.permissions = folder / "user_group_permissions.yaml"
        shutil.copy(EXAMPLE / "user_group_permissions.yaml", self.permissions)

    def command(self) -> list[str]:
        at = f":{self.redis.password}@" if self.redis.password else ""
        return [
            str(BIN / "start-re-manager"),
            "--startup-dir",
            str(self.profile),
            "--user-group-permissions",
            str(self.permissions),
            "--existing-plans-devices",
            str(self.folder / "existing_plans_and_devices.yaml"),
            "--redis-addr",
            f"{at}127.0.0.1:{self.redis.port}",
            "--redis-name-prefix",
            "eg",
            "--zmq-control-addr",
            self.control,
            "--zmq-info-addr",
            self.info,
            "--zmq-publish-console",
            "OFF",
        ]

    def environment(self) -> dict[str, str]:
        return {
            "EG_AGENT_TILED": self.tiled.url,
            "TILED_API_KEY": self.tiled.key,
            "EG_AGENT_WORKER_RECORDS": str(self.folder / "records"),
            **self.more,
        }

    def ready(self) -> bool:
        return bool(self.ask("status").get("manager_state"))

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """One request over 0MQ, by a client of its own (a client does not survive its manager)."""
        from bluesky_queueserver.manager.comms import zmq_single_request

        found, problem = zmq_single_request(method, params, timeout=5000, zmq_server_address=self.control)
        if problem or found is None:
            raise RuntimeError(problem or "no answer")
        return found

    def open_environment(self, wait: float = 300.0) -> None:
        self.ask("environment_open")
        wait_for("environment", lambda: self.ask("status")["worker_environment_state"] == "idle", wait)

    def pids(self) -> dict[str, int]:
        """Process ids of manager and worker (start-re-manager itself is the watchdog)."""
        import psutil

        assert self.process is not None
        found: dict[str, int] = {}
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                found[child.name() + str(child.pid)] = child.pid
        return found
