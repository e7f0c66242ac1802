"""Connecting to Ray, quietly and within a bounded time, and always letting go of it.

For training (`trainer.cluster`) and for the archive (`eg_agent.archive`); Ray is imported here when it
is asked for.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from eg_agent.errors import BadInput, MissingExtra

#: Seconds to wait for an answer from an address.
ANSWER_SECONDS = 10.0
#: Times that a local Ray is started before it is given up.
STARTS = 4
#: Bytes of shared memory of a Ray that is started here: states travel by storage, corpora are small.
OBJECT_STORE = 256 * 2**20
#: Settings of Ray that are read from the environment; what the user has set stays.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # as the same command without Ray; by default workers run at 15
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}


def require_ray() -> None:
    """Raise MissingExtra where Ray is not installed."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray.train
        import ray.tune  # noqa: F401 - both belong to the extra
    except ImportError as error:
        raise MissingExtra("--ray", "train") from error


def _send_token() -> None:
    """Have Ray send its token where there is one: `ray start` asks for it then, and a driver has to be told.

    A cluster that asks for none lets in who sends it. A Ray that is started here sees to it itself.
    """
    if "RAY_AUTH_MODE" in os.environ or not _has_token():
        return
    os.environ["RAY_AUTH_MODE"] = "token"
    with suppress(ImportError, AttributeError):  # the mode was read when Ray was imported
        from ray._raylet import Config  # pyright: ignore[reportAttributeAccessIssue]

        Config.initialize("")


def _has_token() -> bool:
    """Whether Ray finds an authentication token here: in the environment, or in ~/.ray/auth_token."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return True
    return (Path.home() / ".ray" / "auth_token").is_file()


@contextmanager
def connected(address: str, *, cpus: int = 1, object_store: int = OBJECT_STORE) -> Iterator[None]:
    """Be connected to Ray: "local" starts one on this machine and ends it, "auto" finds the one that runs
    here, "HOST:PORT" is a cluster that this machine belongs to.

    cpus: logical cores that a local Ray has at least. object_store: its shared memory, bytes.
    A connection that this process has already is used and left as it is.
    BadInput when nobody answers, or not a Ray of this version.
    """
    require_ray()
    import ray

    if ray.is_initialized():
        yield
        return
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address == "local":
            _start(max(cpus, os.cpu_count() or 1), object_store, quiet)
        else:
            check_address(address)
            _send_token()
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
        ray.shutdown()
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        token = "" if address == "local" or _has_token() else "; a cluster with a token wants RAY_AUTH_TOKEN"
        raise BadInput(f"cannot use Ray at {address} ({reason}){token}.") from error
    try:
        yield
    finally:
        ray.shutdown()


def _start(cpus: int, object_store: int, settings: dict[str, Any]) -> None:
    """Start a Ray on this machine. It gives itself 30 s, which a busy machine may need more than."""
    import ray

    for tries_left in range(STARTS - 1, -1, -1):
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                object_store_memory=object_store,
                include_dashboard=False,
                **settings,
            )
            return
        except Exception as error:  # Ray raises the bare class when its processes are late
            ray.shutdown()
            if not tries_left or "timed out during startup" not in str(error):
                raise ConnectionError(str(error)) from error


def check_address(address: str) -> None:
    """BadInput unless an address is "auto", or HOST:PORT and somebody listens there."""
    if address == "auto":
        return
    if "://" in address:
        raise BadInput(
            f"--ray {address}: Ray Train does not run over Ray Client, and no command of ours does; run this "
            "one on a node of the cluster with --ray auto, or send it there by `ray job submit`."
        )
    parts = re.fullmatch(r"(.+):(\d{1,5})", address)
    if parts is None:
        raise BadInput(
            f"--ray {address} is not local, auto or HOST:PORT (of the head node, mostly port 6379)."
        )
    try:
        socket.create_connection((parts[1].strip("[]"), int(parts[2])), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise BadInput(
            f"nobody answers at --ray {address} ({reason}): start Ray there, or take local."
        ) from error
