"""Logs without secrets, health and metrics over HTTP, and a doctor that finds what is wrong."""

from __future__ import annotations

import io
import json
import logging
import time
import urllib.error
import urllib.request

import pytest
from typer.testing import CliRunner

from eg_agent.cli.main import app
from eg_agent.errors import BadInput
from eg_agent.operations.doctor import Place, examine
from eg_agent.operations.health import STUCK_AFTER, HealthServer, health
from eg_agent.operations.logs import Formatter, Secrets
from eg_agent.operations.metrics import metrics_of
from eg_agent.queue.state import LoopState

SECRET = "c4nary-s3cret"


@pytest.fixture
def log():
    """A logger with the formatter, and what it wrote."""

    def make(kind):
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(
            Formatter(
                kind, Secrets([SECRET, f"redis://:{SECRET}2@host/0", f"http://h/api/v1?api_key={SECRET}3"])
            )
        )
        logger = logging.Logger("eg_agent.test")
        logger.addHandler(handler)
        return logger, stream

    return make


@pytest.mark.parametrize("kind", ["text", "json"])
def test_no_secret_in_message_extra_or_traceback(log, kind):
    logger, stream = log(kind)
    logger.warning("reading %s", f"http://u:{SECRET}2@h/api/v1?api_key={SECRET}3&x=1", extra={"key": SECRET})
    try:
        held = f"{SECRET}3"
        raise RuntimeError(f"no answer with {held} and {SECRET}2")
    except RuntimeError:
        logger.exception("failed with %s", SECRET)
    text = stream.getvalue()
    assert "RuntimeError" in text
    assert SECRET not in text
    if kind == "json":
        rows = [json.loads(line) for line in text.splitlines()]
        assert [row["level"] for row in rows] == ["warning", "error"]
        assert "Traceback" in rows[1]["traceback"]


def test_health_says_why_it_waits():
    state = LoopState(role="acting", shift="night", stepped=time.time())
    assert health(state)["ready"]
    state.shown = {"lock": "the queue is locked"}
    assert health(state)["ok"]
    assert not health(state)["ready"]
    assert not health(state, now=time.time() + STUCK_AFTER + 1.0)["ok"]


def test_health_and_metrics_over_http():
    state = LoopState(role="acting", shift="night", stepped=time.time(), runs_answered=7)
    state.decisions["count longer"] = 3
    state.stop_to_submit = [0.4, 2.5]
    server = HealthServer(state, 0, metrics=metrics_of(state))

    def get(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
            return answer.read().decode()

    try:
        assert json.loads(get("/healthz"))["runs_answered"] == 7
        text = get("/metrics")
        assert "eg_agent_runs_answered_total 7.0" in text
        assert 'eg_agent_decisions_total{action="count longer"} 3.0' in text
        assert 'eg_agent_stop_to_submit_seconds_bucket{le="0.5"} 1.0' in text
        assert 'eg_agent_waiting{what="lock"} 0.0' in text
        state.held = "a person is needed"
        with pytest.raises(urllib.error.HTTPError, match="503"):
            get("/readyz")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get("/nothing")
        with pytest.raises(BadInput, match="--port"):
            HealthServer(state, server.port)
    finally:
        server.close()


@pytest.mark.slow
def test_the_doctor_gives_a_remedy_for_each_thing_that_fails(tmp_path, monkeypatch):
    place = Place(
        records=tmp_path / "records",
        tiled=f"http://127.0.0.1:9/api/v1?api_key={SECRET}",
        queue="tcp://127.0.0.1:9",
        redis=f"redis://:{SECRET}@127.0.0.1:9",
        checkpoint="no-such-checkpoint",
    )
    monkeypatch.setattr("eg_agent.operations.doctor.SECRETS", Secrets([SECRET]))
    found = {finding.what: finding for finding in examine(place)}
    for what in ("checkpoint", "Tiled", "queue", "Redis"):
        assert found[what].grade == "failed", found[what]
        assert found[what].remedy
    for what in ("Tiled's clock", "permissions", "Redis' disk"):
        assert found[what].grade == "skipped", "a server that is away is said once"
    assert found["records"].grade == "ok"
    assert found["disk"].grade in ("ok", "warning")
    assert SECRET not in str(found)


def test_the_doctor_by_command(tmp_path):
    done = CliRunner().invoke(app, ["doctor", "--records", str(tmp_path)])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert any(line.startswith("ok") and "checkpoint" in line for line in lines)
    assert sum("skipped" in line for line in lines) == 3
    bad = CliRunner().invoke(app, ["doctor", "--records", str(tmp_path), "--checkpoint", "none"])
    assert bad.exit_code == 1
    assert "->" in bad.output


def test_a_key_file_that_others_may_read_is_refused(tmp_path):
    from eg_agent.cli.options import secret_in

    path = tmp_path / "key"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o644)
    with pytest.raises(BadInput, match="chmod 600"):
        secret_in(path)
    path.chmod(0o600)
    assert secret_in(path) == SECRET
    path.write_text("")
    with pytest.raises(BadInput, match="empty"):
        secret_in(path)
    with pytest.raises(BadInput, match="cannot be read"):
        secret_in(tmp_path / "none")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--mode", "act"], "needs a queue"),
        (["--mode", "dream"], "unknown"),
        (["--mode", "act", "--queue", "localhost:60615"], "no address of a queue server"),
    ],
)
def test_wrong_options_are_one_sentence(tmp_path, arguments, said):
    path = tmp_path / "shift.toml"
    path.write_text('[shift]\nname = "n"\nsamples = ["a"]\n')
    done = CliRunner().invoke(
        app, ["run", str(path), "--tiled", "http://127.0.0.1:9", "--records", str(tmp_path), *arguments]
    )
    assert isinstance(done.exception, BadInput)
    assert said in str(done.exception)
