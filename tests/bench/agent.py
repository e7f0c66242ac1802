"""`python tests/bench/agent.py [--what PART ...] [--json]`: what the agent takes of a scan, its delay.

share     8,192 points an event: seconds of the RunEngine's thread that the agent takes of a document (by the
          clock, and its own processor time), and the time of an event beside the same scan without the agent
step      a step scan of 4,250 points, its rate beside the same scan without the agent
decision  stop document to decision with the cell known, verification included, the real network and fit:
          of runs of one frame, and of runs that are looked at while they go on
runs      many short runs in one session: memory and threads after the first hundred and at the end

Scans with and without are interleaved, so that a busy machine slows both; what counts are the ratios. The
Tiled server, the writer and the worker are processes of their own, as they are for a user.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(_name, "1")
    _root = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(_root), str(_root / "tests" / "beamline")]

import numpy as np

#: Points of a trace; events of a scan of traces; seconds between frames.
POINTS, FRAMES, EXPOSURE = 8192, 100, 0.1
STEPS = 4250


def engine() -> Any:
    """A RunEngine without anything that is not asked for."""
    import logging

    from bluesky import RunEngine

    logging.getLogger("bluesky").setLevel(logging.WARNING)
    return RunEngine({}, call_returns_result=False)


@contextmanager
def agent_on(RE: Any, uri: str | None, folder: Path, **settings: Any) -> Iterator[Any]:
    """An agent that is warm; not subscribed."""
    from eg_agent.agent import Agent

    settings = {"announce": None, "listeners": (), "tiled_wait": 30.0, **settings}
    with Agent(uri, records=folder, **settings) as agent:
        agent.wait(180)
        warm(RE, agent)
        yield agent


def warm(RE: Any, agent: Any) -> None:
    """One run through everything, so that imports and connections are not timed."""
    from beamline import TraceDetector
    from bluesky.plans import count

    token = RE.subscribe(agent)
    RE(count([TraceDetector(name="det", n=501)]))
    agent.wait(180)
    RE.unsubscribe(token)


def traces(RE: Any) -> np.ndarray:
    """[n - 1] seconds between the events of a scan of whole traces, exposure taken off."""
    import bluesky.plan_stubs as bps
    import bluesky.preprocessors as bpp
    from beamline import TraceDetector

    detector = TraceDetector(name="det", n=POINTS)
    times: list[float] = []

    @bpp.run_decorator(md={"sample": "bench"})
    def plan() -> Any:
        for _ in range(FRAMES):
            yield from bps.sleep(EXPOSURE)
            before = time.perf_counter()
            yield from bps.trigger_and_read([detector])
            times.append(time.perf_counter() - before)

    RE(plan())
    return np.array(times[1:])


def steps(RE: Any, exposure: float) -> float:
    """Points a second of a step scan."""
    import bluesky.plan_stubs as bps
    import bluesky.preprocessors as bpp
    from beamline import PointDetector
    from ophyd.sim import SynAxis

    tth, detector = SynAxis(name="tth"), PointDetector(name="det")
    detector.motor = tth

    @bpp.run_decorator(md={"sample": "bench", "wavelength": 1.5406, "motors": ["tth"]})
    def plan() -> Any:
        for angle in np.round(np.linspace(5.0, 90.0, STEPS), 6):
            yield from bps.checkpoint()
            yield from bps.mv(tth, angle)
            if exposure:
                yield from bps.sleep(exposure)
            yield from bps.trigger_and_read([detector, tth])

    started = time.perf_counter()
    RE(plan())
    return STEPS / (time.perf_counter() - started)


def share(uri: str, folder: Path, repeats: int) -> dict[str, float]:
    """What the agent takes of an event with 8,192 points; milliseconds."""
    RE = engine()
    own: list[float] = []
    taken: list[float] = []
    bare: list[np.ndarray] = []
    with_agent: list[np.ndarray] = []
    with agent_on(RE, uri, folder / "share") as agent:
        for _ in range(repeats):
            token = RE.subscribe(timed(agent, taken, own))
            with_agent.append(traces(RE))
            agent.wait(120)
            RE.unsubscribe(token)
            bare.append(traces(RE))
        lost = agent.writer.state.lost
    without, withit = np.concatenate(bare), np.concatenate(with_agent)
    return {
        "points": POINTS,
        "events": len(withit),
        "callback_ms_median": ms(np.median(taken)),
        "callback_ms_p99": ms(np.quantile(taken, 0.99)),
        "event_ms_p99": ms(np.quantile(withit, 0.99)),
        "event_without_ms_p99": ms(np.quantile(without, 0.99)),
        "share_ms_p99": ms(np.quantile(withit, 0.99) - np.quantile(without, 0.99)),
        "event_ms_median": ms(np.median(withit)),
        "event_without_ms_median": ms(np.median(without)),
        "share_ms_median": ms(np.median(withit) - np.median(without)),
        "processor_ms_median": ms(np.median(own)),
        "processor_ms_p99": ms(np.quantile(own, 0.99)),
        "documents_lost": lost,
    }


def timed(agent: Any, taken: list[float], own: list[float]) -> Callable[[str, Any], None]:
    """The agent as a callback that notes the seconds of each event, and its thread's processor time."""

    def call(name: str, doc: Any) -> None:
        before, processor = time.perf_counter(), time.thread_time()
        agent(name, doc)
        if name == "event":
            taken.append(time.perf_counter() - before)
            own.append(time.thread_time() - processor)

    return call


def step(uri: str, folder: Path, repeats: int) -> dict[str, float]:
    """What a step scan loses of its rate: at full speed, and with 20 ms a point."""
    RE = engine()
    found: dict[str, float] = {"points": STEPS}
    with agent_on(RE, uri, folder / "step") as agent:
        for name, exposure in (("full_speed", 0.0), ("20_ms_a_point", 0.02)):
            ratios = []
            for _ in range(repeats if not exposure else 1):
                token = RE.subscribe(agent)
                rate = steps(RE, exposure)
                agent.wait(240)
                RE.unsubscribe(token)
                ratios.append(rate / steps(RE, exposure))
            found[f"rate_ratio_{name}"] = float(np.median(ratios))
            found[f"points_a_second_{name}"] = rate
        found["documents_lost"] = agent.writer.state.lost
    return found


def decision(uri: str, folder: Path, repeats: int) -> dict[str, float]:
    """Stop document to decision with the cell known: the real network and fit on simulated samples."""
    import psutil
    from bluesky.plans import count
    from ophyd import Component as Cpt
    from ophyd import Device, Kind, Signal

    from eg_agent.patterns import Radiation
    from simulators.measurement import simulate
    from simulators.textbook import textbook

    class Detector(Device):
        tth = Cpt(Signal, value=np.zeros(2), kind=Kind.normal)
        intensity = Cpt(Signal, value=np.zeros(2), kind=Kind.hinted)
        wavelength = Cpt(Signal, value=1.540593, kind=Kind.config)
        wavelength2 = Cpt(Signal, value=1.544427, kind=Kind.config)
        exposure_time = Cpt(Signal, value=1.0, kind=Kind.config)

    RE, detector, answers = engine(), Detector(name="det"), []
    crystals = [c for c in textbook() if c.cell is not None]
    axis = np.arange(5.0, 90.0, 0.02)
    detector.tth.put(axis)
    found: dict[str, float] = {}
    with agent_on(RE, uri, folder / "decision", listeners=(answers.append,)) as agent:
        RE.subscribe(agent)
        # The looks of a run of 40 frames in 4 s: its last one may be under way when the run ends.
        for name, number, plan in (
            ("", 10 * repeats, lambda: count([detector])),
            ("looked_at_", 4 * repeats, lambda: count([detector], num=40, delay=0.1)),
        ):
            answers.clear()
            worker = next(p for p in psutil.Process().children() if "agent.worker" in " ".join(p.cmdline()))
            before = sum(worker.cpu_times()[:2])
            for i, crystal in enumerate(crystals[:number]):
                seed = np.random.default_rng(i)
                made = simulate(crystal, Radiation.anode("Cu"), axis, seed, peak_rate=3000.0)
                detector.intensity.put(made.intensity)
                RE(plan(), sample=f"sample {i}", cell=[float(v) for v in crystal.cell])
                agent.wait(120)
            spent = sum(worker.cpu_times()[:2]) - before
            arrived = [agent.writer.wait_written(a.runs[-1], 60.0) for a in answers]
            found.update({f"{name}{key}": value for key, value in delays(answers).items()})
            found[f"{name}processor_seconds_a_run"] = spent / len(answers)
            found[f"{name}in_tiled"] = float(np.mean(arrived))
    return found


def delays(answers: list[Any]) -> dict[str, float]:
    """Seconds from stop documents to decisions, and how much of that was not identifying."""
    took = np.array([answer.seconds for answer in answers])
    given = [answer.identification for answer in answers]
    worked = np.array([0.0 if found is None else found.seconds for found in given])
    fitted = [found is not None and found.evidence.status == "fitted" for found in given]
    # An answer that a look had found already took less than identifying did.
    elsewhere = np.where(took > worked, took - worked, took)
    return {
        "n": len(took),
        "seconds_median": float(np.median(took)),
        "seconds_p95": float(np.quantile(took, 0.95)),
        "identifying_median": float(np.median(worked)),
        "elsewhere_median": float(np.median(elsewhere)),
        "elsewhere_p95": float(np.quantile(elsewhere, 0.95)),
        "verified": float(np.mean(fitted)),
    }


def runs(uri: str | None, folder: Path, repeats: int) -> dict[str, float]:
    """Memory and threads over many short runs; the fast identifier, everything else as it is."""
    import beamline
    from bluesky.plans import count

    number = max(200, 334 * repeats - 2)
    RE, detector = engine(), beamline.TraceDetector(name="det", n=501)
    memory, threads, answers = [], [], []
    settings = {"identifier": beamline.FAST, "listeners": (lambda a: answers.append(len(a.runs)),)}
    with agent_on(RE, uri, folder / "runs", **settings) as agent:
        answers.clear()
        RE.subscribe(agent)
        for i in range(number):
            (uid,) = RE(count([detector]), sample=f"sample {i}", eg_shift="shift", eg_decision_id=f"d{i}")
            if i % 20 == 19 or i + 1 == number:
                agent.wait(300)
                if agent.writer is not None:  # what waits for Tiled is no growth
                    agent.writer.wait_written(uid, 300)
            if i + 1 in (100, number):
                memory.append(resident())
                threads.append(threading.active_count())
        lost = agent.writer.state.lost if agent.writer is not None else 0
    return {
        "runs": number,
        "answered": len(answers),
        "memory_growth": sum(memory[-1].values()) / sum(memory[0].values()) - 1.0,
        **{f"{name}_MB_after_100": value for name, value in memory[0].items()},
        **{f"{name}_MB_at_the_end": value for name, value in memory[-1].items()},
        "threads_after_100": threads[0],
        "threads_at_the_end": threads[-1],
        "documents_lost": lost,
    }


def resident() -> dict[str, float]:
    """Resident memory of this process and of the agent's worker and writer, MB."""
    import psutil

    gc.collect()
    here = psutil.Process()
    found = {"session": here.memory_info().rss / 1e6}
    for child in here.children():
        command = " ".join(child.cmdline())
        for name, module in (("worker", "agent.worker"), ("writer", "records.writing")):
            if module in command:
                found[name] = child.memory_info().rss / 1e6
    return found


def ms(seconds: Any) -> float:
    """Milliseconds, to a microsecond."""
    return round(1e3 * float(seconds), 3)


PARTS: dict[str, Callable[[Any, Path, int], dict[str, float]]] = {
    "share": share,
    "step": step,
    "decision": decision,
    "runs": runs,
}


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--what", nargs="+", choices=sorted(PARTS), default=sorted(PARTS))
    parser.add_argument("--repeats", type=int, default=3, help="scans with and without, each")
    parser.add_argument("--tiled", help="a server that is there already, with its key")
    parser.add_argument("--no-tiled", action="store_true", help="with `runs`: the journal alone")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    from eg_agent.records import EmbeddedTiled

    found = {}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        uri = arguments.tiled
        if uri is None and not arguments.no_tiled:
            uri = stack.enter_context(EmbeddedTiled()).uri
        for part in arguments.what:
            loads = [os.getloadavg()[0]]
            found[part] = PARTS[part](uri, Path(folder), arguments.repeats)
            loads.append(os.getloadavg()[0])
            found[part].update(load_before=loads[0], load_after=loads[1])
            if not arguments.json:
                for name, value in found[part].items():
                    sys.stdout.write(f"{part:9} {name:28} {value:10.4g}\n")
                sys.stdout.flush()
    if arguments.json:
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
