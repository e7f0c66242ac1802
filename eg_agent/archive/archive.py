"""`archive`: hands the runs of a Tiled out to Ray actors, and writes down what they find, each run once.

This process alone writes. It knows from the rows on the disk what is done, so it may be killed at any time
and called again: runs that were being identified are identified again, and have one row.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eg_agent.archive.actor import FAILED, Job, Reader, bare_row
from eg_agent.archive.table import Results
from eg_agent.errors import BadInput
from eg_agent.model.checkpoint import composition_file, find_checkpoint, read_card
from eg_agent.ray_session import connected, require_ray
from eg_agent.records.runs import RunHead, Runs, TiledAway
from eg_agent.records.tiled_client import address_of, redacted

#: Runs that an actor is given at a time: what is done twice, at most, when it dies.
CHUNK = 32
#: Calls that wait at each actor, so that it never waits for this process.
QUEUED = 2
#: Deaths of actors over the same runs after which these are taken one by one, and then given up.
TRIES = 2
#: Seconds for a call beyond those of its runs, and for a run, before its actor counts as hanging.
PATIENCE, PATIENCE_PER_RUN = 120.0, 60.0
#: Seconds for workers to start and load their models, on a machine that is busy with other things.
START_SECONDS = 900.0
#: Seconds that Tiled may be away before the archive stops, and between two tries.
AWAY_SECONDS, RETRY_SECONDS = 60.0, 3.0


@dataclass(frozen=True)
class Request:
    """What is identified, where, and how.

    tiled: URI of the catalog. out: folder of the result. ray: as of `connected`. workers: actors, one core
        each.
    radiation: angstrom, for runs that do not say. index_seconds: to look for a cell where a run gives none.
    write: make entries of Tiled, too. limit: of runs identified in this call; None: all.
    """

    tiled: str
    out: Path
    ray: str = "local"
    workers: int = 1
    checkpoint: str = "default"
    prior: str = "mineral"
    radiation: float | None = None
    index_seconds: float = 0.0
    write: bool = False
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.workers < 1 or (self.limit is not None and self.limit < 1):
            raise BadInput("--workers and --limit must be at least 1.")


#: Called with runs done, runs in all, and runs a second of this call.
Progress = Callable[[int, int, float], None]


def archive(request: Request, progress: Progress = lambda done, total, rate: None) -> dict[str, Any]:
    """Identify what has no row yet; returns what is there now, as JSON types.

    runs: rows in all, `identified_now` of them in this call, in `seconds` (without starting Ray and loading
    models: `start_seconds`), at `rate` a second; left: nodes without a row. verdicts: of all rows.
    reading_seconds, identifying_seconds: medians a run, of an actor. sessions: all calls in this folder.
    Raises BadInput when Tiled, Ray, the checkpoint or the folder cannot be used; rows so far stay.
    """
    require_ray()
    card = find_checkpoint(request.checkpoint)
    found = read_card(card)
    runs = Runs(request.tiled)
    try:
        listed = runs.uids()
        address = address_of(runs.client)
    except TiledAway as error:
        raise BadInput(
            f"Tiled does not answer at {redacted(request.tiled)} ({error}): start it, or check URI and key, "
            "and run this again."
        ) from None
    asked = {
        "checkpoint": found.weights_sha256,
        "calibration": found.calibrated_on,
        "prior": request.prior,
        "radiation": request.radiation,
        "index_seconds": request.index_seconds,
    }
    results = Results(request.out, asked)
    try:
        job = Job(
            address or request.tiled,
            _files(card),
            request.prior,
            request.radiation,
            request.index_seconds,
            request.write,
        )
        todo = [uid for uid in listed if uid not in results.done]
        started = time.monotonic()
        work = _Work(request, results, job, todo[: request.limit], len(listed), progress)
        if todo:
            with connected(request.ray, cpus=request.workers):
                work.run()
        return _told(request, results, work, len(listed), started)
    finally:
        results.close()


def _files(card: Path) -> tuple[tuple[str, bytes], ...]:
    """Names and contents of a checkpoint's files, for machines that have them not."""
    paths = [card, card.with_suffix(".safetensors"), composition_file(card)]
    try:
        return tuple((path.name, path.read_bytes()) for path in paths if path.is_file())
    except OSError as error:
        raise BadInput(f"the checkpoint {card} cannot be read ({error.strerror}).") from error


def _told(request: Request, results: Results, work: _Work, listed: int, started: float) -> dict[str, Any]:
    seconds = work.seconds
    session = {
        "tiled": redacted(request.tiled).partition("?")[0],  # one catalog may be served under several names
        "workers": request.workers,
        "identified_now": work.now,
        "seconds": round(seconds, 3),
        "start_seconds": round(max(0.0, time.monotonic() - started - seconds), 3),
        "rate": round(work.now / seconds, 3) if seconds > 0 else 0.0,
        "reading_seconds": _median(work.reading),
        "identifying_seconds": _median(work.identifying),
        "actors_lost": work.lost,
    }
    sessions = results.session(session) if work.now else []
    table = results.write_table()
    return {
        "runs": len(results.done),
        "others": work.others,
        "left": listed - len(results.done) - work.others,
        **session,
        "verdicts": results.verdicts(),
        "table": str(table),
        "sessions": sessions,
    }


def _median(values: list[float]) -> float | None:
    return round(sorted(values)[len(values) // 2], 5) if values else None


@dataclass
class _Chunk:
    """Some runs on their way, and how often an actor died over them."""

    uids: list[str]
    deaths: int = 0


@dataclass
class _Work:
    """One call: actors, who has which runs, and what came back."""

    request: Request
    results: Results
    job: Job
    todo: list[str]
    total: int
    progress: Progress
    now: int = 0
    others: int = 0
    lost: int = 0
    seconds: float = 0.0
    reading: list[float] = field(default_factory=list)
    identifying: list[float] = field(default_factory=list)
    _waiting: deque[_Chunk] = field(default_factory=deque)
    _flying: dict[Any, tuple[_Chunk, int, float]] = field(default_factory=dict)
    _actors: list[Any] = field(default_factory=list)
    _away_since: float | None = None
    _retry_at: float = 0.0

    def run(self) -> None:
        """Until everything has its row."""
        import ray

        self._cls = ray.remote(Reader)
        self._job = ray.put(self.job)
        self._actors = [self._actor() for _ in range(self.request.workers)]
        self._wait_ready()
        began = time.monotonic()
        self._waiting.extend(_Chunk(part) for part in _parts(self.todo, self._size()))
        try:
            while self._waiting or self._flying:
                self._hand_out()
                self._take()
                self.seconds = time.monotonic() - began
                done = len(self.results.done)
                self.progress(done, self.total - self.others, self.now / max(self.seconds, 1e-9))
        finally:
            for actor in self._actors:
                ray.kill(actor)

    def _size(self) -> int:
        """Runs a chunk: small enough that all actors have some to the end."""
        return max(1, min(CHUNK, len(self.todo) // (4 * self.request.workers)))

    def _actor(self) -> Any:
        options = {"num_cpus": 1, "runtime_env": {"env_vars": {"OMP_NUM_THREADS": "1"}}}
        return self._cls.options(**options).remote(self._job)

    def _wait_ready(self) -> None:
        import ray
        from ray.exceptions import RayError

        pending = {actor.ready.remote(): actor for actor in self._actors}
        ready, late = ray.wait(list(pending), num_returns=len(pending), timeout=START_SECONDS)
        if not ready:
            has = ray.cluster_resources()
            raise BadInput(
                f"no worker started within {START_SECONDS:.0f} s: it has {has.get('CPU', 0):g} cores; "
                "lower --workers, or wait until others let go of them."
            )
        for reference in ready:
            try:
                why = ray.get(reference)
            except RayError as error:
                raise BadInput(f"a worker could not start: {_cause(error)}.") from error
            if why:
                raise BadInput(
                    f"the workers cannot reach Tiled ({why}): give a URI that all nodes of the cluster reach."
                )
        self._actors = [actor for reference, actor in pending.items() if reference not in late]
        for reference in late:  # more were asked for than the cluster has cores
            ray.kill(pending[reference])

    def _hand_out(self) -> None:
        load = [0] * len(self._actors)
        for _, place, _ in self._flying.values():
            load[place] += 1
        if time.monotonic() < self._retry_at:
            return
        for _ in range(QUEUED):
            for place, actor in enumerate(self._actors):
                if self._waiting and load[place] < QUEUED:
                    chunk = self._waiting.popleft()
                    reference = actor.identify.remote(chunk.uids)
                    self._flying[reference] = (chunk, place, time.monotonic())
                    load[place] += 1

    def _take(self) -> None:
        """Take what is done, within a second."""
        import ray
        from ray.exceptions import RayError

        if not self._flying:
            time.sleep(0.2)
            return
        done, _ = ray.wait(list(self._flying), num_returns=1, timeout=1.0)
        for reference in done:
            chunk, place, _ = self._flying.pop(reference)
            try:
                self._put(chunk, ray.get(reference))
            except RayError as error:  # it died, or raised what it should not have
                self._died(chunk, place, _cause(error))
        limit = PATIENCE + PATIENCE_PER_RUN * self._size()
        for chunk, place, since in list(self._flying.values()):
            if time.monotonic() - since > QUEUED * limit:
                self._died(chunk, place, f"no answer within {QUEUED * limit:.0f} s", flying=True)
                break

    def _put(self, chunk: _Chunk, answer: Mapping[str, Any]) -> None:
        rows = answer["rows"]
        self.now += self.results.add(rows)
        self.others += len(answer["others"])
        self.reading += [row["reading_seconds"] for row in rows if "reading_seconds" in row]
        self.identifying += [row["seconds"] for row in rows if "seconds" in row]
        if answer["refused"]:
            raise BadInput(f"{answer['refused']} {len(self.results.done)} runs have their row.")
        if not answer["away"]:
            self._away_since = None
            return
        had = {row["run"] for row in rows}
        self._waiting.appendleft(_Chunk([uid for uid in chunk.uids if uid not in had], chunk.deaths))
        now = time.monotonic()
        self._away_since = now if self._away_since is None else self._away_since
        self._retry_at = now + RETRY_SECONDS
        if now - self._away_since > AWAY_SECONDS:
            raise BadInput(
                f"Tiled has been away for {AWAY_SECONDS:.0f} s ({answer['away']}): {len(self.results.done)} "
                "runs have their row; run this again when it is back, and it goes on."
            )

    def _died(self, chunk: _Chunk, place: int, why: str, *, flying: bool = False) -> None:
        """An actor is gone: another takes its place, and what it had is done again."""
        import ray

        ray.kill(self._actors[place])
        self._actors[place] = self._actor()
        self.lost += 1
        if self.lost > 8 + len(self.todo) // 100:
            raise BadInput(f"workers die again and again ({why}): what is done stays; run this again.")
        again = [] if flying else [chunk]
        for reference, (other, at, _) in list(self._flying.items()):
            if at == place:
                del self._flying[reference]
                if other is chunk or (flying and other.uids == chunk.uids):
                    again.append(other)
                else:
                    self._waiting.appendleft(other)  # it only waited behind
        for one in again:
            one.deaths += 1
            if one.deaths < TRIES:
                self._waiting.appendleft(one)
            elif len(one.uids) > 1:  # one of them kills: find out which
                self._waiting.extend(_Chunk([uid]) for uid in one.uids)
            else:
                (uid,) = one.uids
                self.now += self.results.add(
                    [bare_row(RunHead(uid), FAILED, f"a worker died over it: {why}")]
                )


def _parts(uids: list[str], size: int) -> list[list[str]]:
    return [uids[at : at + size] for at in range(0, len(uids), size)]


def _cause(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return redacted(lines[-1] if lines else type(error).__name__).rstrip(".")[:300]
