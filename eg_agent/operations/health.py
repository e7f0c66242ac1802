"""The health endpoint: `/healthz` (the loop steps), `/readyz` (it can act), `/metrics` (for Prometheus)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from eg_agent import __version__
from eg_agent.errors import BadInput
from eg_agent.operations.logs import SECRETS
from eg_agent.queue.state import LoopState

#: Seconds without a step after which the loop counts as stuck: an identification may take this long.
STUCK_AFTER = 120.0


def health(state: LoopState, now: float | None = None) -> dict[str, Any]:
    """What the loop is doing, as plain types; `ok`: it steps; `ready`: nothing keeps it from acting."""
    now = time.time() if now is None else now
    age = now - (state.stepped or state.began)
    return {
        "ok": age < STUCK_AFTER,
        "ready": age < STUCK_AFTER and not state.held and not state.shown,
        "version": __version__,
        "role": state.role,
        "mode": state.mode,
        "shift": state.shift,
        "seconds_since_step": round(age, 3),
        "waiting": dict(state.shown),
        "held": state.held,
        "finished": state.finished,
        "open_decisions": state.open_decisions,
        "runs_answered": state.runs_answered,
        "token": state.token,
        "identifications_in_tiled": state.entries,
        "identifications_wait": state.entries_problem,
    }


class HealthServer:
    """Serves the state of a loop by HTTP on a thread. Raises BadInput when the port is taken.

    address: by default only this host; metrics and health hold no key, but they need not be public.
    """

    def __init__(
        self,
        state: LoopState,
        port: int,
        *,
        address: str = "127.0.0.1",
        metrics: Callable[[], bytes] | None = None,
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                told = health(state)
                path = self.path.partition("?")[0]
                if path == "/metrics" and metrics is not None:
                    self._send(200, metrics(), "text/plain; version=0.0.4; charset=utf-8")
                elif path in ("/healthz", "/readyz"):
                    good = told["ok" if path == "/healthz" else "ready"]
                    text = SECRETS.without(json.dumps(told))
                    self._send(200 if good else 503, text.encode(), "application/json")
                else:
                    self._send(404, b"/healthz, /readyz and /metrics are here\n", "text/plain")

            def _send(self, status: int, body: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        try:
            self._server = ThreadingHTTPServer((address, port), Handler)
        except OSError as error:
            raise BadInput(
                f"port {port} on {address} cannot be served ({error.strerror}): give another --port."
            ) from None
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, name="eg-agent health", daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
