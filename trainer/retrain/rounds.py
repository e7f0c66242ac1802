"""`retrain`: one round after the other, from what was verified to a promoted checkpoint, or to none.

    WORK/round-001/asked.json            what was asked for; the same options go on with an unfinished round
    WORK/round-001/champion.*            the checkpoint in use when the round began
    WORK/round-001/recent.json, .npz     verified runs and their patterns
    WORK/round-001/bundle.npz, run/      what was trained on; the training run (`trainer.fit`)
    WORK/round-001/challenger.*          trained, calibrated, with the gates in its card
    WORK/round-001/outcome.json          written last: promoted or refused, and by which gates
    WORK/promoted/                       unless elsewhere: what agents follow (`eg_agent.model.promoted`)

A round may be killed at any moment; each file appears whole or not at all, and is not made twice.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from eg_agent.errors import BadInput, EgAgentError
from eg_agent.model.checkpoint import (
    composition_file,
    find_checkpoint,
    load_checkpoint,
    read_card,
    write_atomically,
    write_together,
)
from eg_agent.model.promoted import Promoted, is_promoted
from eg_agent.records.runs import Runs, TiledAway
from eg_agent.records.tiled_client import redacted
from eg_agent.records.verified import entries_in, verified
from trainer.retrain.compounds import Benchmark
from trainer.retrain.gates import Gates
from trainer.retrain.recent import Recent, collect

ASKED, OUTCOME = "asked.json", "outcome.json"


@dataclass(frozen=True)
class Request:
    """What is retrained on what, where, and by which gates.

    tiled: URI of the runs and of the identifications, in the container `entries`; ledgers: files of agents
    beside them. corpus: of `eg-train prepare`. champion: name, card or promoted folder; "": what `promoted`
    says, "default" where it says nothing yet. challenger: a card to be judged in place of a trained one.
    data: folder of the frozen benchmark. ray, workers, threads, storage: as for `eg-train fit`.
    patterns, batch, lr: of the fine-tuning. keep: share of the champion in the average of both networks'
    weights. share: of the compounds that calibrate and judge.
    least_evidence: of the fit alone, for a run to count as verified. checkpoint_seconds: between two states.
    """

    tiled: str
    work: Path
    corpus: Path
    ray: str = "local"
    workers: tuple[int, int] = (1, 1)
    threads: int = 1
    storage: str | None = None
    device: str = "auto"
    champion: str = ""
    challenger: Path | None = None
    promoted: Path | None = None
    gates: Gates = field(default_factory=Gates)
    data: Path | None = None
    entries: str = "identifications"
    ledgers: tuple[Path, ...] = ()
    radiation: float | None = None
    patterns: int = 60_000
    batch: int = 64
    lr: float = 3e-4
    keep: float = 0.5
    share: float = 0.4
    least_evidence: float = 0.9
    prior: str = "mineral"
    seed: int = 0
    checkpoint_seconds: float = 60.0
    again: bool = False

    def __post_init__(self) -> None:
        if not (self.patterns > 0 and self.batch > 0 and self.lr > 0 and self.checkpoint_seconds > 0):
            raise BadInput("--patterns, --batch, --lr and --checkpoint-seconds must be greater than 0.")
        if not (0.0 < self.share < 1.0 and 0.0 < self.least_evidence < 1.0):
            raise BadInput("--calibration-share and --least-evidence must lie between 0 and 1.")
        if not 0.0 <= self.keep < 1.0:
            raise BadInput("--keep is a share of the champion's weights: give 0 to less than 1.")

    @property
    def promoted_folder(self) -> Path:
        """Where the pointer is."""
        return self.promoted or self.work / "promoted"

    @property
    def asked(self) -> dict[str, Any]:
        """What a round is, apart from where it is computed."""
        return {
            "tiled": redacted(self.tiled).partition("?")[0],
            "entries": self.entries,
            "ledgers": [str(path) for path in self.ledgers],
            "corpus": self.corpus.name,
            "champion": self.champion,
            "challenger": None if self.challenger is None else str(self.challenger),
            "data": None if self.data is None else self.data.name,
            "gates": asdict(self.gates),
            **{
                name: getattr(self, name)
                for name in (
                    "patterns",
                    "batch",
                    "lr",
                    "keep",
                    "share",
                    "least_evidence",
                    "prior",
                    "seed",
                    "radiation",
                )
            },
        }


@dataclass(frozen=True)
class Outcome:
    """How a round ended. folder: of the round. promoted: whether the challenger is in use now.

    failed: names of gates that it did not pass. said: one line. stopped: asked to stop before its end.
    """

    folder: Path
    promoted: bool
    failed: tuple[str, ...]
    said: str
    stopped: bool = False


def retrain(request: Request, console: Console | None = None) -> Outcome:
    """Begin a round, or go on with an unfinished one; see the module.

    Raises BadInput, with what to do, when Tiled, Ray, the corpus, the champion or the folder cannot be used,
    or when there are too few verified compounds.
    """
    with _left_as_it_was(request.work):
        return _round(request, console or Console(highlight=False))


def _round(request: Request, console: Console) -> Outcome:
    source = _champion(request)
    if request.challenger is not None:
        find_checkpoint(request.challenger)
    folder = _folder(request)
    before = _last_complete(request.work)
    recent = _recent(request, folder, source, console)
    if before is not None and not request.again and not (folder / ASKED).exists():
        same = _runs(Recent.load(before / "recent")) == _runs(recent)
        if same and not _differences(json.loads((before / ASKED).read_text("utf-8")), request.asked):
            shutil.rmtree(folder)
            return Outcome(before, False, (), f"nothing new since {before.name}: no round was begun.")
    _check_enough(request, recent)
    if not (folder / ASKED).exists():
        write_atomically(folder / ASKED, (json.dumps(request.asked, indent=1) + "\n").encode())
    train, judge = recent.split(request.share)
    console.print(
        f"{folder.name}: {len(train)} verified runs of {len(set(train.compounds))} compounds to train on, "
        f"{len(judge)} of {len(set(judge.compounds))} to calibrate and judge"
        + "".join(f", {count} left out ({why})" for why, count in recent.refused.items()),
        soft_wrap=True,
    )
    card = folder / "challenger.json"
    if not card.is_file():
        trained = request.challenger or _trained(request, folder, train, judge, console)
        if trained is None:
            return Outcome(folder, False, (), "stopped; the same command goes on from here.", stopped=True)
        from trainer.retrain.challenge import make_challenger

        make_challenger(request, folder, find_checkpoint(trained), recent, console)
    return _settle(request, folder, card)


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Options that differ; a Tiled may be served under several names, and its runs know who they are."""
    return [key for key, value in now.items() if key != "tiled" and before.get(key) != value]


def _runs(recent: Recent) -> set[str]:
    return {run.run for run in recent.runs}


def rounds(work: Path) -> list[Path]:
    """Folders of the rounds, oldest first."""
    return sorted(path for path in work.glob("round-[0-9]*") if path.is_dir())


def _last_complete(work: Path) -> Path | None:
    done = [path for path in rounds(work) if (path / OUTCOME).is_file()]
    return done[-1] if done else None


def _folder(request: Request) -> Path:
    """The folder of the round that is to go on, or of a new one."""
    there = rounds(request.work)
    if there and not (there[-1] / OUTCOME).is_file():
        asked = there[-1] / ASKED
        if not asked.is_file():  # killed while it collected: nothing was said yet
            shutil.rmtree(there[-1])
        elif other := _differences(json.loads(asked.read_text("utf-8")), request.asked):
            raise BadInput(
                f"{there[-1]} is not finished and was begun with another {' and '.join(other)}: use the same "
                "options, remove that folder, or give another --work."
            )
        else:
            return there[-1]
    number = 1 + max((int(path.name.partition("-")[2]) for path in rounds(request.work)), default=0)
    folder = request.work / f"round-{number:03d}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise BadInput(
            f"--work {request.work} cannot be written ({error.strerror}): choose another folder."
        ) from error
    return folder


@contextmanager
def _left_as_it_was(work: Path) -> Iterator[None]:
    """A folder of the rounds that was not there, and is empty when a round is refused, goes again."""
    there = work.exists()
    try:
        yield
    except EgAgentError:
        if not there and work.is_dir() and not any(work.iterdir()):
            work.rmdir()
        raise


def _champion(request: Request) -> Path:
    """Card of the checkpoint to be beaten."""
    if request.champion:
        return find_checkpoint(request.champion)
    if is_promoted(request.promoted_folder):
        return find_checkpoint(request.promoted_folder)
    return find_checkpoint("default")


def _recent(request: Request, folder: Path, source: Path, console: Console) -> Recent:
    """The verified runs of this round, and the champion as it is now; from the folder, or collected."""
    path = folder / "recent"
    if path.with_suffix(".json").is_file():
        return Recent.load(path)
    try:
        network, champion = load_checkpoint(source)
        del network
        copy_checkpoint(source, folder / "champion.json")
        runs = Runs(request.tiled, radiation=request.radiation)
        entries = list(entries_in(request.tiled, request.entries))
        found = verified(entries, request.ledgers, least=request.least_evidence)
        if not found.runs:
            said = (
                ", ".join(f"{count} {why}" for why, count in found.passed.items()) or "there are no entries"
            )
            raise BadInput(
                f"{redacted(request.tiled).partition('?')[0]} holds no verified identification ({said}): "
                "let an agent write them, run eg-agent archive --write on runs with known cells, or give "
                "--ledger."
            )
        benchmark = None
        if request.data is not None:
            from trainer.benchmark.data import Folder

            benchmark = Benchmark(Folder(request.data))
        console.print(f"reading {len(found.runs)} verified runs", soft_wrap=True)
        recent = collect(runs, found.runs, champion.architecture.grid, benchmark)
        recent = replace(recent, refused={**found.passed, **recent.refused})
        recent.save(path)
    except TiledAway as error:
        shutil.rmtree(folder)
        raise BadInput(
            f"Tiled does not answer at {redacted(request.tiled).partition('?')[0]} ({error}): "
            "start it, or check URI and key, and run this again."
        ) from None
    except EgAgentError:
        shutil.rmtree(folder)
        raise
    return recent


def _check_enough(request: Request, recent: Recent) -> None:
    train, judge = recent.split(request.share)
    counts = len(set(train.compounds)), len(set(judge.compounds))
    least = max(5, request.gates.least_compounds)
    if counts[1] < least or counts[0] < 1:
        folder = rounds(request.work)[-1]
        if not (folder / ASKED).exists():
            shutil.rmtree(folder)
        raise BadInput(
            f"too few verified compounds: {counts[0]} to train on and {counts[1]} to judge by, where {least} "
            "must judge: verify more samples, raise --calibration-share, or lower least_compounds in --gates."
        )


def copy_checkpoint(source: Path, target: Path) -> None:
    """Card, weights and composition head under another name, all or none."""
    files = {target: source, target.with_suffix(".safetensors"): source.with_suffix(".safetensors")}
    if composition_file(source).is_file():
        files[composition_file(target)] = composition_file(source)
    write_together({path: origin.read_bytes() for path, origin in reversed(files.items())})


def _trained(request: Request, folder: Path, train: Recent, judge: Recent, console: Console) -> Path | None:
    """Card of the fine-tuned network; None when it was asked to stop before its end."""
    from trainer.retrain.tuning import fine_tuned

    return fine_tuned(request, folder, train, judge, console)


def _settle(request: Request, folder: Path, card: Path) -> Outcome:
    """Promote a challenger that passed its gates, and write down how the round ended."""
    said = read_card(card).promotion
    failed = tuple(gate["name"] for gate in said["gates"] if gate["passed"] is False)
    promoted = Promoted(request.promoted_folder)
    if not failed:
        if not is_promoted(promoted.folder):
            promoted.promote(folder / "champion.json", "in use when retraining began")
        promoted.promote(card, f"{folder.name}: passed {len(said['gates'])} gates")
        text = f"promoted {read_card(card).hash} in place of {said['champion']['hash']}"
    else:
        text = f"refused {read_card(card).hash}: {', '.join(failed)}; {said['champion']['hash']} stays"
    outcome = {
        "promoted": not failed,
        "failed": list(failed),
        "challenger": read_card(card).hash,
        "champion": said["champion"]["hash"],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_atomically(folder / OUTCOME, (json.dumps(outcome, indent=1) + "\n").encode())
    return Outcome(folder, not failed, failed, text)
