"""The demo's run: RunEngine, embedded Tiled and agent around one changer after the other."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from eg_agent.cli.demo_report import Result, print_replay, print_results, say, title
from eg_agent.cli.demo_samples import Changer
from eg_agent.errors import BadInput

if TYPE_CHECKING:
    from eg_agent.agent import Agent, Answer
    from eg_agent.patterns import Pattern
    from eg_agent.records.runs import Runs


@dataclass(frozen=True)
class Job:
    """Where the demo writes, and what it identifies with."""

    output: Path
    prior: str
    checkpoint: str
    pictures: bool


@dataclass
class _Told:
    """Answers of the agent, by sample, in order."""

    by_sample: dict[str, list[Answer]] = field(default_factory=dict)


def run(changers: Sequence[Changer], job: Job) -> None:
    """Run the demo; raises EgAgentError when something it needs is missing."""
    from eg_agent.model import Classifier

    # A checkpoint or prior that does not exist has to be said now, not by a worker later.
    Classifier.load(job.checkpoint, prior=job.prior)
    folder = _new_folder(job.output)
    console = Console()
    logging.getLogger("bluesky").setLevel(logging.WARNING)

    from bluesky import RunEngine

    from eg_agent.records import EmbeddedTiled

    results: list[Result] = []
    with EmbeddedTiled(on_progress=lambda text: console.print(f"[dim]{text}[/]")) as tiled:
        RE = RunEngine({})
        for number, changer in enumerate(changers):
            records = folder if len(changers) == 1 else folder / f"draw-{number}"
            results += _one(RE, tiled.uri, changer, job, records, console)
    print_results(console, results)
    print_replay(console, sorted(folder.rglob("ledger.jsonl")))
    if job.pictures:
        console.print(f"pictures: {folder}/*.png")


def _one(RE: Any, uri: str, changer: Changer, job: Job, folder: Path, console: Console) -> list[Result]:
    """Measure and identify the samples of one changer."""
    from eg_agent.agent import Agent
    from eg_agent.records import Policy
    from plans import identify

    title(console, changer.about)
    told = _Told()
    progress = Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("samples"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with (
        progress,
        Agent(
            uri,
            mode="act",
            policy=Policy(limits=changer.limits),
            identifier_settings={"checkpoint": job.checkpoint, "prior": job.prior},
            cells=changer.cells,
            records=folder,
            time_limit=60.0,
            listeners=(),
            announce=None,
        ) as agent,
    ):
        task = progress.add_task("measuring", total=len(changer.names))

        def listen(answer: Answer) -> None:
            answers = told.by_sample.setdefault(answer.sample, [])
            answers.append(answer)
            say(progress.console, answer, len(answers), changer.truth.get(answer.sample))
            progress.update(task, completed=len(told.by_sample) - 1, description=f"measuring {answer.sample}")
            if answer.decision.action not in ("count longer", "extend range"):
                progress.update(task, completed=len(told.by_sample))

        agent.listen(listen)
        token = RE.subscribe(agent)
        RE(
            identify(
                changer.device,
                agent,
                changer.names,
                limits=changer.limits,
                step=changer.step,
                seconds_per_point=changer.seconds_per_point,
                answer_timeout=120.0,
                md={"purpose": "eg-agent demo"},
            )
        )
        agent.wait(120.0)
        RE.unsubscribe(token)
        results = _results(uri, agent, told, changer)
    if job.pictures:
        _draw(results, changer, job, folder, console)
    return results


def _results(uri: str, agent: Agent, told: _Told, changer: Changer) -> list[Result]:
    if agent.writer is not None:
        for answers in told.by_sample.values():
            agent.writer.wait_written(answers[-1].runs[-1], 60.0)
    from eg_agent.records.runs import Runs

    tiled = Runs(uri)
    results = []
    for name in changer.names:
        answers = told.by_sample.get(name)
        if answers:
            pattern = _measured(tiled, answers[-1].runs)
            results.append(Result(name, tuple(answers), pattern, changer.truth.get(name)))
    return results


def _measured(tiled: Runs, runs: Sequence[str]) -> Pattern:
    """All runs of a sample, read back from Tiled and put together as the agent does."""
    from functools import reduce

    from eg_agent.patterns import evened
    from eg_agent.records import merge

    heads = [head for uid in runs if (head := tiled.head(uid)) is not None]
    return evened(reduce(merge, [tiled.pattern(head) for head in heads]))


def _draw(results: Sequence[Result], changer: Changer, job: Job, folder: Path, console: Console) -> None:
    """A picture a sample. The ledger keeps no fitted curve, so the last pattern is identified again."""
    from eg_agent.identify import Identifier
    from eg_agent.view import plot_identification

    identifier = Identifier(job.checkpoint, job.prior)
    for number, result in enumerate(results, 1):
        found = identifier.identify(result.pattern, cell=changer.cells.get(result.name))
        path = folder / f"{number}-{result.name.replace(' ', '-')}.png"
        plot_identification(result.pattern, found, path)
        console.print(f"[dim]{path}[/]")


def _new_folder(output: Path) -> Path:
    """`output`, or `output-2`, `-3`, ... when it holds something: no older record is overwritten."""
    for number in range(1, 1000):
        folder = output if number == 1 else output.with_name(f"{output.name}-{number}")
        if folder.is_file():
            raise BadInput(f"{folder} is a file: give a folder for --output.")
        if not folder.exists() or not any(folder.iterdir()):
            folder.mkdir(parents=True, exist_ok=True)
            return folder
    raise BadInput(f"{output} and 999 more are in use: give another folder for --output.")
