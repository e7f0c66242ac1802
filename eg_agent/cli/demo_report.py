"""What the demo shows: lines while it measures, and a table at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eg_agent.symmetry import group

if TYPE_CHECKING:
    from eg_agent.agent import Answer
    from eg_agent.identify import GroupProbability, Identification
    from eg_agent.patterns import Pattern


@dataclass(frozen=True)
class Result:
    """A sample with the agent's answers in order, all that was measured of it, and its true group."""

    name: str
    answers: tuple[Answer, ...]
    pattern: Pattern
    truth: int | None

    @property
    def last(self) -> Identification | None:
        """The last identification there was."""
        found = [a.identification for a in self.answers if a.identification is not None]
        return found[-1] if found else None

    def rank(self, which: str) -> int | None:
        """Rank (1 is first) of the true group in the fused posterior, the network's, or the prior."""
        if (
            self.last is None
            or self.last.log_probability is None
            or self.last.network is None
            or self.truth is None
        ):
            return None
        scores = {
            "fused": self.last.log_probability,
            "network": self.last.network.log_probability,
            "prior": self.last.network.log_prior,
        }[which]
        return 1 + int(np.sum(scores > scores[self.truth - 1]))


def title(console: Console, text: str) -> None:
    """A rule with what is going to be measured."""
    console.rule(escape(text), align="left", style="dim")


def say(console: Console, answer: Answer, measurement: int, truth: int | None) -> None:
    """The live lines of one measurement: groups, evidence, decision."""
    console.print(
        f"[bold]{escape(answer.sample)}[/], measurement {measurement}, "
        f"{answer.state.sample_seconds:.0f} s of beam, answered in {answer.seconds:.1f} s"
    )
    lines = Table.grid(padding=(0, 2, 0, 0))
    lines.add_column(width=12)
    lines.add_column(ratio=1)
    found = answer.identification
    if found is None or not found.top:
        lines.add_row("  [red]no answer[/]", escape(answer.problem or (found.reason if found else "")))
    else:
        lines.add_row("  groups", "   ".join(_styled(g, truth) for g in found.top[:4]))
        lines.add_row(
            f"  {found.verdict}" if len(found.verdict) < 11 else found.verdict, escape(found.reason)
        )
        evidence = found.evidence
        if evidence is not None and evidence.status == "fitted":
            decisive = [
                f"({' '.join(str(i) for i in r.hkl)}) at {r.two_theta:.2f} deg {r.log_odds:+.1f}"
                for r in (evidence.candidates[0].deciding[:3] if evidence.candidates else ())
            ]
            lines.add_row(
                "  evidence",
                f"Pawley fit of {evidence.lattice}, Rwp {evidence.rwp:.1f} %; "
                f"decisive (nats): {escape(', '.join(decisive) or 'none')}",
            )
    lines.add_row("  [cyan]decision[/]", escape(answer.decision.reason))
    console.print(lines)


def _styled(candidate: GroupProbability, truth: int | None) -> str:
    text = f"{escape(candidate.symbol)} {candidate.probability:.0%}"
    return f"[green]{text}[/]" if candidate.group == truth else text


def print_results(console: Console, results: Sequence[Result]) -> None:
    """The table at the end, and how often the true group came first, beside the prior alone."""
    known = any(result.truth is not None for result in results)
    table = Table(title="What was measured and found", title_justify="left", box=None, pad_edge=False)
    table.add_column("sample", ratio=1)
    if known:
        table.add_column("truth", no_wrap=True)
        table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("answer", no_wrap=True)
    table.add_column("prob.", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("scans", justify="right", no_wrap=True)
    table.add_column("beam s", justify="right", no_wrap=True)
    for result in results:
        table.add_row(*_row(result, known))
    console.print()
    console.print(table)
    ranked = [r for r in results if r.rank("fused") is not None]
    if ranked:
        n = len(ranked)
        summary = Table(box=None, pad_edge=False)
        for name in (f"of {n} samples", "true group first", "in the first five"):
            summary.add_column(name, justify="left" if name.startswith("of") else "right")
        labels = {"fused": "network and evidence", "network": "network alone", "prior": "prior alone"}
        for which, label in labels.items():
            ranks = np.array([r.rank(which) for r in ranked])
            summary.add_row(label, *(f"{(ranks <= k).sum()}  ({(ranks <= k).mean():.0%})" for k in (1, 5)))
        console.print()
        console.print(summary)


def _row(result: Result, known: bool) -> list[str]:
    found = result.last
    best = found.top[0] if found and found.top else None
    cells = [escape(result.name)]
    if known:
        cells.append(escape(group(result.truth).symbol) if result.truth else "-")
        cells.append(str(result.rank("fused") or "-"))
    right = best is not None and best.group == result.truth
    cells += [
        f"[green]{escape(best.symbol)}[/]" if best and right else escape(best.symbol) if best else "-",
        f"{best.probability:.2f}" if best else "-",
        found.verdict if found else "no answer",
        str(len(result.answers)),
        f"{result.answers[-1].state.sample_seconds:.0f}",
    ]
    return cells


def print_replay(console: Console, ledgers: Sequence[Path]) -> None:
    """Make every decision of the ledgers again, and say whether they are the same."""
    from eg_agent.records import replay

    made = [item for path in ledgers for item in replay(path)]
    same = sum(item.same for item in made)
    style = "green" if same == len(made) else "red"
    console.print()
    console.print(f"[{style}]replayed from the ledger: {same} of {len(made)} decisions the same[/]")
    for path in ledgers[:3]:
        console.print(f"ledger: {path}")
    if len(ledgers) > 3:
        console.print(f"and {len(ledgers) - 3} more")
