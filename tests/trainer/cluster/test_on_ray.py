"""Real Ray on this machine: losing a worker, stopping and going on, and being joined by a worker."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from eg_agent.errors import BadInput
from trainer.cluster.launcher import Cluster, fit_on_ray
from trainer.cluster.session import OBJECT_STORE, connected
from trainer.config import Budget, TrainConfig
from trainer.fit import Request, fit
from trainer.state import read_index, read_tensors

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

PATTERNS = 1600
#: Patterns after which a held run waits for its test.
HELD_AT = 400


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    with connected("local", cpus=2):
        yield


def go(
    config: TrainConfig,
    corpus: Path,
    out: Path,
    cluster: Cluster,
    screen: StringIO | None = None,
    budget: Budget | None = None,
):
    request, console = Request(corpus, out, device="cpu"), Console(file=screen or StringIO())
    return fit_on_ray(config, budget or Budget(patterns=PATTERNS), request, cluster, console)


def held(gate: Path, checkpoint_seconds: float) -> Budget:
    """A budget of PATTERNS that holds the run: on any machine it stores a state after HELD_AT patterns, then
    waits until the file `gate` is there, and then takes its steps so slowly that a wish to stop is heard.

    What is trained, and at which learning rate, is as without holding. A class of this function's own, so
    that it travels to Ray's workers by value.
    """

    class Held(Budget):
        def progress(self, patterns: int, seconds: float) -> float:
            if patterns == HELD_AT:
                time.sleep(1.2 * checkpoint_seconds)  # at least so long: a state is then due, on any machine
            while patterns > HELD_AT and not gate.exists():
                time.sleep(0.05)
            if HELD_AT < patterns <= HELD_AT + 800 and gate.read_text() == "slowly":
                time.sleep(1.0)
            return super().progress(patterns, seconds)

    return Held(patterns=PATTERNS)


def interrupt(gate: Path) -> None:
    """Ctrl-C; let the held run go on once the launcher has heard it (it then gives the signal back)."""
    before = signal.getsignal(signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    while signal.getsignal(signal.SIGINT) is before:
        time.sleep(0.05)
    open_gate(gate, "slowly")


def open_gate(gate: Path, how: str) -> None:
    part = gate.with_suffix(".part")
    part.write_text(how)
    part.replace(gate)


def when(condition: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
    """Do something once a condition holds, beside the test."""

    def wait() -> None:
        until = time.monotonic() + 600
        while time.monotonic() < until:
            if condition():
                act()
                return
            time.sleep(0.1)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def stored(out: Path) -> bool:
    """Whether Ray's controller has taken note of a state."""
    snapshot = out / "ray" / "checkpoint_manager_snapshot.json"
    return snapshot.is_file() and "checkpoint_2" in snapshot.read_text()


def losses(out: Path) -> list[float]:
    with (out / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(10, PATTERNS // 8 + 1, 10))  # each once, in order
    return [float(row["loss_total"]) for row in rows]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, ray_here, plain, corpus) -> tuple[Path, dict[str, float]]:
    out = tmp_path_factory.mktemp("undisturbed")
    end = go(plain, corpus, out, Cluster(workers=(2, 2)))
    return out, dict(end)


def test_a_killed_worker_costs_nothing_but_time(tmp_path, undisturbed, plain, corpus):
    screen, killed = StringIO(), []

    def kill() -> None:
        pid = re.search(r"rank 1 on \S+ \(pid (\d+)\)", screen.getvalue())
        assert pid is not None
        killed.append(int(pid[1]))
        os.kill(killed[0], signal.SIGKILL)
        open_gate(gate, "freely")

    gate = tmp_path / "gate"
    when(lambda: stored(tmp_path), kill).join(0)
    budget = held(gate, plain.checkpoint_seconds)
    end = go(plain, corpus, tmp_path, Cluster(workers=(2, 2)), screen, budget)
    said = screen.getvalue()
    assert killed, said
    assert "failed" in said
    assert said.count("2 workers: rank 0 on ") == 2
    assert re.search(r"resumed at step [1-9]\d*", said), said
    assert end["step"] == PATTERNS // 8
    whole, expected = undisturbed
    assert end["nll"] == pytest.approx(expected["nll"], rel=0.02)
    assert losses(tmp_path)[-1] == pytest.approx(losses(whole)[-1], rel=0.02)
    assert (tmp_path / "checkpoint.safetensors").is_file()


def test_one_worker_and_none_take_the_steps_of_two(tmp_path, undisturbed, plain, corpus):
    # one worker of Ray, stopped by Ctrl-C once something is stored; then one process without Ray
    gate = tmp_path / "gate"
    when(lambda: stored(tmp_path), lambda: interrupt(gate)).join(0)
    begun = go(plain, corpus, tmp_path, Cluster(workers=(1, 1)), None, held(gate, plain.checkpoint_seconds))
    assert begun["interrupted"] == 1.0
    assert 0 < begun["step"] < PATTERNS // 8
    assert not (tmp_path / "checkpoint.json").exists()
    assert read_index(tmp_path / "state")["step"] == begun["step"]
    fit(plain, Budget(patterns=PATTERNS), Request(corpus, tmp_path, device="cpu"))
    whole, expected = undisturbed
    losses(tmp_path)
    assert read_index(tmp_path / "state")["held_out"]["nll"] == pytest.approx(expected["nll"], rel=1e-3)
    theirs = read_tensors(whole / "state")
    for name, value in read_tensors(tmp_path / "state").items():
        if name.startswith(("network.", "ema.")):
            torch.testing.assert_close(value, theirs[name], rtol=0.02, atol=2e-3)
    # Ray goes on from the state that the process without Ray has left
    screen = StringIO()
    more = replace(Cluster(), workers=(1, 2))
    request = Request(corpus, tmp_path, device="cpu")
    end = fit_on_ray(plain, Budget(patterns=PATTERNS + 80), request, more, Console(file=screen))
    assert f"resumed at step {PATTERNS // 8}" in screen.getvalue()
    assert end["step"] == PATTERNS // 8 + 10


def test_another_configuration_is_refused_without_trying_again(undisturbed, plain, corpus):
    screen = StringIO()
    with pytest.raises(BadInput, match="another configuration") as refused:
        go(replace(plain, seed=9), corpus, undisturbed[0], Cluster(workers=(2, 2)), screen)
    assert "\n" not in str(refused.value)
    assert screen.getvalue().count("2 workers:") == 1


def test_a_worker_that_is_added_is_taken_in(tmp_path, plain, corpus):
    import ray
    from ray.cluster_utils import Cluster as Nodes

    ray.shutdown()  # of the tests before
    head = {"num_cpus": 1, "object_store_memory": OBJECT_STORE, "include_dashboard": False}
    nodes = Nodes(initialize_head=True, head_node_args=head)
    start = [str(Path(sys.executable).with_name("ray")), "start", f"--address={nodes.address}", "--block"]
    start += ["--num-cpus=1", f"--object-store-memory={OBJECT_STORE}"]
    screen, added = StringIO(), []

    def add() -> None:
        added.append(subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def both_train() -> bool:
        return (
            "resumed at step" in screen.getvalue() and "patterns" in screen.getvalue().split("resumed at")[1]
        )

    when(lambda: stored(tmp_path), add).join(0)
    when(both_train, lambda: os.kill(os.getpid(), signal.SIGINT)).join(0)
    request = Request(corpus, tmp_path, device="cpu", minutes=15)
    cluster = Cluster(nodes.address, workers=(1, 2), resize_seconds=4.0)
    try:
        end = fit_on_ray(plain, Budget(patterns=10**12), request, cluster, Console(file=screen))
    finally:
        for node in added:
            node.terminate()
            node.wait(timeout=60)
        ray.shutdown()
        nodes.shutdown()
    said = screen.getvalue()
    assert said.index("1 worker: rank 0") < said.index("2 workers: rank 0"), said
    resumed = re.search(r"resumed at step ([1-9]\d*)", said)
    assert resumed is not None, said
    assert end["step"] > int(resumed[1])
    with (tmp_path / "log.csv").open(newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == list(range(10, 10 * len(steps) + 1, 10))  # none twice and none missing
