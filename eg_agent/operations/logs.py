"""Logs as lines of text or of JSON, with every known key and password taken out of them."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterable
from typing import Any, Literal, TextIO
from urllib.parse import parse_qsl, unquote, urlsplit

from eg_agent.records.tiled_client import redacted

#: Variables of the environment whose values are never shown.
SECRET_VARIABLES = (
    "TILED_API_KEY",
    "EG_AGENT_REDIS",
    "QSERVER_HTTP_SERVER_API_KEY",
    "QSERVER_ZMQ_PUBLIC_KEY",
)

#: What every record has; anything else was given by `extra`.
_USUAL = set(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}


class Secrets:
    """The secrets of this process, and text without them."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values: set[str] = set()
        for value in values:
            self.add(value)

    def add(self, value: str) -> None:
        """Never show this value; of a URI, its key and password."""
        if "://" in value:
            parts = urlsplit(value)
            found = [
                parts.password or "",
                *(v for k, v in parse_qsl(parts.query) if "key" in k or "token" in k),
            ]
            for secret in found:
                self._values.update({secret, unquote(secret)})
        else:
            self._values.add(value.strip())
        self._values = {v for v in self._values if len(v) >= 4}

    def without(self, text: str) -> str:
        """The text with every secret replaced by dots."""
        for value in sorted(self._values, key=len, reverse=True):
            text = text.replace(value, "...")
        return redacted(text)


#: The secrets of this process: those of the environment, and what the command line added.
SECRETS = Secrets(os.environ.get(name, "") for name in SECRET_VARIABLES)


class Formatter(logging.Formatter):
    """One line a record: text for people, JSON for collectors; tracebacks inside it, secrets out of it."""

    def __init__(self, kind: Literal["text", "json"], secrets: Secrets = SECRETS) -> None:
        super().__init__()
        self._kind = kind
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        more = {key: value for key, value in record.__dict__.items() if key not in _USUAL}
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
        if self._kind == "json":
            row: dict[str, Any] = {
                "time": stamp,
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": record.getMessage(),
                **more,
            }
            if trace:
                row["traceback"] = trace
            return self._secrets.without(json.dumps(row, default=str))
        told = "".join(f" {key}={value}" for key, value in more.items())
        text = f"{stamp} {record.levelname.lower():7} {record.getMessage()}{told}"
        return self._secrets.without(f"{text}\n{trace}".rstrip())


def setup_logging(
    kind: Literal["text", "json"] = "text", level: str = "info", stream: TextIO | None = None
) -> None:
    """Send all logs of this process to a stream (standard error), and uncaught exceptions with them."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Formatter(kind))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("eg_agent").setLevel(level.upper())

    def uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        logging.getLogger("eg_agent").critical("ended by an error", exc_info=(kind, error, trace))

    sys.excepthook = uncaught
