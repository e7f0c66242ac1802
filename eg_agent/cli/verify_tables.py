"""A verification for a terminal: quality, candidates, and in words what decides between them."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eg_agent.cli.verification import Verification
from eg_agent.export.pdcif import with_error
from eg_agent.verify.evidence import DecidingReflection
from eg_agent.verify.predicted import Contrast
from eg_agent.view.fit import odds_in_words

_LISTED_GROUPS = 6  #: space groups printed in one cell of the table
_SEEN = 4.0  #: standard errors at which a line counts as seen, as in `IdentifySettings.seen_at`


def print_refused(path: Path, reason: str) -> None:
    """A pattern that could not be used, and why."""
    console = Console()
    console.print(f"[bold]{escape(str(path))}[/]", soft_wrap=True)
    console.print("[red]refused[/]")
    console.print(escape(reason))


def print_verification(path: Path, found: Verification, *, everything: bool) -> None:
    """The whole answer."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(110, console.width))
    evidence = found.evidence
    console.print(f"[bold]{escape(str(path))}[/]", soft_wrap=True)
    colour = "bold green" if evidence.status == "fitted" else "bold yellow"
    console.print(f"[{colour}]{evidence.status}[/]: {escape(evidence.reason)}")
    if found.weighed is None:
        if evidence.rwp is not None:
            console.print(f"Rwp {evidence.rwp:.1f} %, goodness of fit {evidence.goodness_of_fit:.2f}")
        console.print("Nothing is said of absences: they would be read from a fit that does not hold.")
        return
    _print_fit(console, found)
    console.print(_candidates(found, everything=everything))
    console.print(
        "[dim]evidence: nats over the lattice without absences; probability: of the group, with a uniform "
        "prior over the 99 groups, and with the network's posterior as prior[/]"
    )
    _print_reasons(console, found)


def _print_fit(console: Console, found: Verification) -> None:
    evidence, parameters = found.evidence, found.parameters

    def spelled(name: str) -> str:
        return with_error(*parameters[name], digits=4)

    lengths = "  ".join(f"{name} {spelled(name)}" for name in ("a", "b", "c"))
    angles = "  ".join(f"{name} {spelled(name)}" for name in ("alpha", "beta", "gamma"))
    console.print(f"[bold]Cell[/] ({evidence.lattice}): {lengths} angstrom;  {angles} deg")
    console.print(
        f"[bold]Shifts[/]: zero {spelled('zero')}, displacement {spelled('displacement')} deg times "
        f"cos(theta) (they resemble each other: the sum is known better)"
    )
    assert evidence.rwp is not None
    assert evidence.goodness_of_fit is not None
    console.print(
        f"[bold]Quality[/]: Rwp {evidence.rwp:.1f} %, goodness of fit {evidence.goodness_of_fit:.2f}"
        f" (no absences assumed)"
    )


def _candidates(found: Verification, *, everything: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("symbol", no_wrap=True)
    for name in ("group", "absent lines", "Rwp %", "evidence", "probability", "with network"):
        table.add_column(name, justify="right")
    table.add_column("space groups (in these axes)")
    lines = len(found.weighed.likelihood.lines) if found.weighed else 0
    for i, row in enumerate(found.listed(everything=everything)):
        spelled = [f"{g.symbol} ({g.number})" for g in row.space_groups]
        more = len(spelled) - _LISTED_GROUPS
        listed = ", ".join(spelled[:_LISTED_GROUPS]) + (f" and {more} more" if more > 0 else "")
        table.add_row(
            escape(row.symbol),
            str(row.group),
            f"{row.n_forbidden} of {lines}",
            "" if row.rwp is None else f"{row.rwp:.2f}",
            f"{row.log_evidence:+.1f}",
            _percent(row.probability),
            _percent(row.fused),
            escape(listed),
            style="bold" if i == 0 else "",
        )
    return table


def _percent(probability: float) -> str:
    if probability < 0.0005:
        return "<0.1 %"
    if probability > 0.9995:
        return ">99.9 %"
    return f"{100 * probability:.1f} %"


def _print_reasons(console: Console, found: Verification) -> None:
    """Why the first is first: its own deciding lines, then where its rivals disagree with it."""
    first = found.groups[0]
    deciding = next(c.deciding for c in found.evidence.candidates if c.group == first.group)
    console.print(f"\n[bold]Lines that {escape(first.symbol)} forbids[/], the most telling ones:")
    for reflection in deciding[:5]:
        console.print(f"  {escape(deciding_in_words(reflection, first.symbol))}", soft_wrap=True)
    if not deciding:
        console.print("  none in the measured range: nothing could speak against it, or for it.")
    for i, (rival, places) in enumerate(found.contrasts(3)):
        difference = first.log_evidence - rival.log_evidence
        console.print(
            f"[bold]{escape(first.symbol)} or {escape(rival.symbol)}?[/] "
            f"All lines together: {odds_in_words(difference)} for {escape(first.symbol)}."
        )
        for place in places[: 3 if i == 0 else 2]:
            text = contrast_in_words(place, first.symbol, rival.symbol)
            console.print(f"  {escape(text)}", soft_wrap=True)
        if not places:
            console.print("  they forbid the same lines: no absence tells them apart.")
    console.print(
        "[dim]The odds of single lines do not multiply: a structure may hide a whole class of lines, "
        "which bounds what they say together. Intensities are areas, counts times degrees.[/]"
    )


def deciding_in_words(reflection: DecidingReflection, symbol: str) -> str:
    """What one forbidden line says of a candidate."""
    favour = "for" if reflection.log_odds >= 0 else "against"
    seen = _seen(reflection.intensity, reflection.sigma)
    return (
        f"{_hkl(reflection.hkl)} at {reflection.two_theta:.2f} deg: {seen}"
        f" -> {odds_in_words(reflection.log_odds)} {favour} {symbol}"
    )


def contrast_in_words(place: Contrast, first: str, second: str) -> str:
    """What one line says between two candidates."""
    absent = first if place.absent_in == "first" else second
    favoured = first if place.log_odds >= 0 else second
    seen = _seen(place.intensity, place.sigma, place.typical)
    return (
        f"{_hkl(place.hkl)} at {place.two_theta:.2f} deg, absent in {absent}: {seen}"
        f" -> {odds_in_words(place.log_odds)} for {favoured}"
    )


def _seen(intensity: float, sigma: float, typical: float | None = None) -> str:
    """Whether a line is there, in words with its number; typical: what an allowed line would be."""
    ratio = intensity / sigma if sigma > 0 else math.inf
    what = "nothing is there" if ratio < 2.0 else "seen" if ratio >= _SEEN else "perhaps something"
    usual = "" if typical is None else f"; {_number(typical)} is typical of an allowed line"
    return f"{what} ({_number(intensity)} +- {_number(sigma)}{usual})"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2g}"


def _hkl(hkl: tuple[int, int, int]) -> str:
    return "({} {} {})".format(*hkl)
