"""How fast an archive is identified, against the number of workers; killed and gone on with.

    python tests/bench/archive.py --runs 10000 --workers 1 2 --kill 0.4 --folder /tmp/archive

Makes a Tiled with so many runs of simulated samples (kept in --folder, and taken from there next time),
serves it, identifies all of them with each number of workers in a folder of its own, and prints JSON. With
--kill the last one is killed (SIGKILL, the command and its Ray) after that share of the runs and started
again; whether each run then has exactly one row is counted from the files.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "beamline"))
from stored import multiply, write

from eg_agent.patterns import Radiation
from eg_agent.records import EmbeddedTiled


def made(folder: Path, runs: int, samples: int = 20) -> list[str]:
    """The folder of a Tiled with so many runs; their uids."""
    listing = folder / f"{runs}.json"
    if listing.is_file():
        return json.loads(listing.read_text())
    from tiled.client import from_uri

    from simulators import simulate
    from simulators.textbook import textbook

    radiation, rng = Radiation(1.540593, 1.544427), np.random.default_rng(1)
    two_theta = np.round(np.arange(10.0, 80.0, 0.05), 6)
    with EmbeddedTiled(folder / "tiled", start_timeout=900.0) as tiled:
        client = from_uri(tiled.uri)
        for crystal in textbook()[:samples]:
            pattern = simulate(crystal, radiation, two_theta, rng, peak_rate=2000.0)
            write(client, pattern, sample=crystal.name)
    uids = multiply(folder / "tiled", runs)
    listing.write_text(json.dumps(uids))
    return uids


def command(uri: str, out: Path, workers: int) -> list[str]:
    """`eg-agent archive` as a person calls it."""
    program = [sys.executable, "-m", "eg_agent.cli.main", "archive"]
    return [*program, f"--tiled={uri}", f"--out={out}", f"--workers={workers}", "--ray=local"]


def rows_of(out: Path) -> list[str]:
    """Uids of the rows on the disk, whole lines only."""
    path = out / "identifications.jsonl"
    if not path.exists():
        return []
    return [json.loads(line)["run"] for line in path.read_bytes().split(b"\n")[:-1]]


def killed(uri: str, out: Path, workers: int, after: int) -> int:
    """Start the command, kill it and its Ray once so many rows are there; returns how many there were."""
    process = subprocess.Popen(command(uri, out, workers), start_new_session=True, stdout=subprocess.DEVNULL)
    while len(rows_of(out)) < after:
        if process.poll() is not None:
            raise SystemExit("the archive ended before it was killed: lower --kill")
        time.sleep(0.2)
    group = process.pid
    os.killpg(group, signal.SIGKILL)
    process.wait()
    return len(rows_of(out))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--kill", type=float, default=None)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    uids = made(given.folder, given.runs)
    result: dict = {"runs": len(uids), "made_seconds": round(time.monotonic() - began, 1), "sessions": []}
    with EmbeddedTiled(given.folder / "tiled", start_timeout=900.0) as tiled:
        for workers in given.workers:
            out = given.folder / f"out-{workers}-{int(time.time())}"
            session: dict = {}
            if given.kill is not None and workers == given.workers[-1]:
                session["rows_when_killed"] = killed(tiled.uri, out, workers, int(given.kill * len(uids)))
            done = subprocess.run(
                command(tiled.uri, out, workers), capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise SystemExit(done.stderr)
            told = json.loads(done.stdout)
            rows = Counter(rows_of(out))
            session |= {
                key: told[key] for key in ("workers", "rate", "seconds", "start_seconds", "identified_now")
            }
            session |= {key: told[key] for key in ("reading_seconds", "identifying_seconds", "verdicts")}
            session |= {
                "missing": len(set(uids) - set(rows)),
                "twice": sum(count > 1 for count in rows.values()),
                "strange": len(set(rows) - set(uids)),
                "load": os.getloadavg(),
            }
            result["sessions"].append(session)
            sys.stderr.write(json.dumps(session) + "\n")
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
