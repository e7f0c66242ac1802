"""`eg-train retrain` whole: a real Tiled, a real Ray that is killed midway, gates, promotion, going back."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from typer.testing import CliRunner

from eg_agent.errors import BadInput
from eg_agent.identify import Identifier
from eg_agent.identify.following import FollowingIdentifier
from eg_agent.model import load_checkpoint, read_card, save_checkpoint
from eg_agent.model.promoted import Promoted, is_promoted
from eg_agent.records import EmbeddedTiled
from trainer.cli.main import app
from trainer.retrain.recent import Recent

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

COMPOUNDS, STRANGERS = 30, 2
#: Gates that any network passes: whether the good one wins is decided where there is a good one.
OPEN = "recent_bits = -9\ndeployed_bits = -9\nrecent_top1 = 100\nrecent_coverage = 100\nleast_compounds = 5\n"


@pytest.fixture(scope="module")
def facility(tmp_path_factory, measure):
    """A Tiled with runs, and their identifications, some there and some in an agent's ledger: known cells,
    real fits, formulas; the last runs without a cell."""
    from stored import write
    from tiled.client import from_uri

    from eg_agent.archive.actor import entry_of
    from eg_agent.records.identifications import Identifications
    from eg_agent.records.ledger import Ledger, for_record
    from eg_agent.records.runs import RunHead

    identifier, folder = Identifier(), tmp_path_factory.mktemp("facility")
    ledger = Ledger(folder / "ledger.jsonl")
    with EmbeddedTiled(folder / "tiled", start_timeout=900.0) as tiled:
        client, entries = from_uri(tiled.uri), Identifications(tiled.uri)
        confirmed = 0
        for number in range(COMPOUNDS + STRANGERS):
            pattern, cell, formula, group = measure(number, broad=False)
            known = number < COMPOUNDS
            start = {"sample": f"s{number}", "formula": formula, **({"cell": list(cell)} if known else {})}
            uid = write(client, pattern, **start)
            found = identifier.identify(pattern, cell if known else None)
            head = RunHead(uid, {"uid": uid, **start})
            if number % 3:
                ledger.append(entry_of(head, for_record(found)))
            else:
                entries.put(entry_of(head, found))
            confirmed += found.verdict == "identified" and known and found.top[0].group == group
        yield SimpleNamespace(uri=tiled.uri, ledger=ledger.path, confirmed=confirmed)


class Cluster:
    """A Ray head with two cores, of its own, as an administrator starts it; log: what it says."""

    def __init__(self, log: Path) -> None:
        for _ in range(4):  # it gives itself half a minute, which a busy machine may need more than
            if self._started(log):
                return
        raise AssertionError(log.read_text())

    def _started(self, log: Path) -> bool:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        program = [str(Path(sys.executable).with_name("ray")), "start", "--head", f"--port={port}", "--block"]
        program += ["--num-cpus=2", "--include-dashboard=false", "--object-store-memory=268435456"]
        program += ["--node-ip-address=127.0.0.1"]
        with log.open("w") as file:
            self._process = subprocess.Popen(program, stdout=file, stderr=subprocess.STDOUT)
        while self._process.poll() is None:
            if "Ray runtime started" in log.read_text():
                return True
            time.sleep(0.2)
        return False

    def kill(self) -> None:
        """All of its processes at once, as when the power goes."""
        for process in [*psutil.Process(self._process.pid).children(recursive=True), self._process]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self._process.wait(30)


@pytest.fixture
def cluster(monkeypatch) -> Iterator[list[Cluster]]:
    """Clusters that a test has started, ended with it; all with one token."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", uuid.uuid4().hex)
    started: list[Cluster] = []
    yield started
    for one in started:
        if one._process.poll() is None:
            one.kill()


def command(facility, corpus: Path, work: Path, *more: str) -> list[str]:
    told = [f"--from-tiled={facility.uri}", f"--ledger={facility.ledger}"]
    return ["retrain", *told, f"--work={work}", f"--corpus={corpus}", *more]


def in_process(*arguments: str):
    return CliRunner().invoke(app, list(arguments), catch_exceptions=True)


def test_ray_is_killed_midway_and_the_round_goes_on(tmp_path, facility, corpus, random_checkpoint, cluster):
    work, gates = tmp_path / "work", tmp_path / "gates.toml"
    gates.write_text(OPEN)
    cluster.append(Cluster(tmp_path / "ray.log"))
    options = [f"--champion={random_checkpoint}", f"--gates={gates}", "--patterns=4000", "--batch=16"]
    options += ["--workers=2", "--checkpoint-seconds=1", "--calibration-share=0.45", "--device=cpu"]
    program = [sys.executable, "-m", "trainer.cli.main", *command(facility, corpus, work, *options)]
    first = subprocess.Popen(
        [*program, f"--ray={cluster[0].address}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    snapshot = work / "round-001" / "run" / "ray" / "checkpoint_manager_snapshot.json"
    until = time.monotonic() + 1200
    while not (snapshot.is_file() and "checkpoint_2" in snapshot.read_text()):
        assert first.poll() is None, first.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.1)
    cluster[0].kill()
    said = first.communicate(timeout=300)[0]
    assert first.returncode == 2, said
    assert "same command" in said
    assert not (work / "round-001" / "run" / "checkpoint.json").exists()
    recent = Recent.load(work / "round-001" / "recent")
    before = (work / "round-001" / "recent.json").read_bytes()
    assert not is_promoted(work / "promoted")

    cluster.append(Cluster(tmp_path / "ray.log"))
    done = subprocess.run(
        [*program, f"--ray={cluster[1].address}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"resumed at step [1-9]\d*", done.stdout), done.stdout
    assert (work / "round-001" / "recent.json").read_bytes() == before  # collected once
    card = read_card(work / "round-001" / "challenger.json")
    told = card.promotion
    assert told["passed"]
    assert told["champion"]["hash"] == read_card(random_checkpoint).hash
    assert card.hash != told["champion"]["hash"]
    assert told["data"]["left_out"]["no fit"] + told["data"]["left_out"].get("not identified", 0) >= 1
    train, judge = told["data"]["trained_on"], told["data"]["calibrated_and_judged_on"]
    assert not set(train["compounds"]) & set(judge["compounds"])
    assert {*train["runs"], *judge["runs"]} == {run.run for run in recent.runs}
    assert len(recent) <= facility.confirmed + 2
    assert card.curriculum["begins_from"]["weights_sha256"] == told["champion"]["weights_sha256"]
    # in use now, and the one before is a step away
    promoted = Promoted(work / "promoted")
    assert promoted.pointer().current.hash == card.hash
    follower = FollowingIdentifier(promoted.folder)
    assert follower.classifier.checkpoint_hash == card.hash
    went_back = in_process("promote", f"--to={promoted.folder}", "--back")
    assert went_back.exit_code == 0, went_back.output
    assert follower.refresh()
    assert follower.classifier.checkpoint_hash == told["champion"]["hash"]
    # nothing new was verified: no round
    again = in_process(*command(facility, corpus, work, *options))
    assert again.exit_code == 0, again.output
    assert "nothing new" in again.output
    assert not (work / "round-002").exists()


def spoilt(source: str, target: Path) -> Path:
    """A checkpoint made worse on purpose: noise on its weights."""
    import torch

    network, card = load_checkpoint(source)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.add_(0.5 * parameter.std() * torch.randn_like(parameter))
    save_checkpoint(target, network, replace(card, name="spoilt", composition=None))
    return target


def test_the_better_one_is_promoted_and_the_worse_one_refused(tmp_path, facility, corpus, random_checkpoint):
    """Both are judged by the gates as they are by default, but for the number of compounds."""
    work, gates = tmp_path / "work", tmp_path / "gates.toml"
    gates.write_text("least_compounds = 8\n")
    options = [f"--gates={gates}", "--calibration-share=0.6"]
    # another grid than the small network's would be another matter: the shipped one against itself, spoilt
    bad = spoilt("default", tmp_path / "bad.json")
    refused = in_process(*command(facility, corpus, work, *options, f"--challenger={bad}"))
    assert refused.exit_code == 3, refused.output
    assert "refused" in refused.output
    told = read_card(work / "round-001" / "challenger.json").promotion
    assert not told["passed"]
    assert "recent_bits" in [gate["name"] for gate in told["gates"] if gate["passed"] is False]
    assert not is_promoted(work / "promoted")
    # the other way round: what the spoilt one is replaced by
    good = in_process(*command(facility, corpus, work, *options, f"--champion={bad}", "--challenger=default"))
    assert good.exit_code == 0, good.output
    pointer = Promoted(work / "promoted").pointer()
    assert pointer.current.hash == read_card("default").hash
    assert [entry.hash for entry in pointer.before] == [read_card(bad).hash]
    assert json.loads((work / "round-002" / "outcome.json").read_text())["promoted"]


def test_wrong_use_is_one_sentence_and_leaves_nothing(tmp_path, facility, corpus, random_checkpoint):
    work = tmp_path / "work"

    def said(*more: str, to: str = facility.uri) -> str:
        result = in_process(
            "retrain", f"--from-tiled={to}", f"--work={work}", f"--corpus={corpus}", "--device=cpu", *more
        )
        assert isinstance(result.exception, BadInput), result.output
        assert "\n" not in str(result.exception)
        assert not work.exists()
        return str(result.exception)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = free.getsockname()[1]
    assert "Tiled does not answer" in said(to=f"http://127.0.0.1:{nobody}")
    assert "no URI of a Tiled" in said(to="localhost:8000")
    assert "no checkpoint 'nothing'" in said("--champion=nothing")
    assert "holds no verified identification (there are no entries)" in said("--entries=elsewhere")
    assert "no ledger" in said(f"--ledger={tmp_path / 'ledger.jsonl'}")
    few = said(f"--champion={random_checkpoint}", "--calibration-share=0.05")
    assert "too few verified compounds" in few
    assert "Gates are" in said(f"--gates={_gates(tmp_path)}")
    work.mkdir()  # a folder that somebody made for the rounds stays
    options = [f"--from-tiled={facility.uri}", f"--work={work}", f"--corpus={corpus}", "--entries=elsewhere"]
    assert isinstance(in_process("retrain", *options).exception, BadInput)
    assert work.is_dir()


def _gates(folder: Path) -> Path:
    path = folder / "wrong.toml"
    path.write_text("bits = 1\n")
    return path


def test_ray_away_is_one_sentence_and_the_round_waits(tmp_path, facility, corpus, random_checkpoint):
    gates = tmp_path / "gates.toml"
    gates.write_text(OPEN)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = free.getsockname()[1]
    options = [f"--champion={random_checkpoint}", f"--gates={gates}", "--calibration-share=0.45"]
    result = in_process(*command(facility, corpus, tmp_path / "work", *options, f"--ray=127.0.0.1:{nobody}"))
    assert "nobody answers" in str(result.exception)
    assert (tmp_path / "work" / "round-001" / "recent.json").is_file()
    other = in_process(
        *command(facility, corpus, tmp_path / "work", *options, "--seed=9", f"--ray=127.0.0.1:{nobody}")
    )
    assert "begun with another seed" in str(other.exception)
