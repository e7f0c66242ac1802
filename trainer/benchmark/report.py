"""The benchmark for people: tables that fit 100 columns, model and null rows together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trainer.benchmark.strata import NOT_TRICLINIC

#: Rows in the order in which they are read, with what people call them.
ROWS = {
    "model": "model",
    "evidence_only": "evidence only",
    "network": "network alone",
    "bic": "plain BIC",
    "prior_only": "prior only",
    "constant": "constant",
    "permutation": "permutation",
}

#: Metric -> (heading, factor, decimals). Shares are shown in per cent.
ANSWERS = {
    "top1": ("Top-1 %", 100, 1),
    "top3": ("Top-3 %", 100, 1),
    "top5": ("Top-5 %", 100, 1),
    "nll": ("NLL nats", 1, 2),
    "bits_over_prior": ("bits over\nprior", 1, 2),
    "ece": ("ECE", 1, 3),
}
GAINS = {
    "top1": ("Top-1 %", 100, 1),
    "top5": ("Top-5 %", 100, 1),
    "nll": ("NLL nats", 1, 2),
    "bits": ("bits", 1, 2),
}
OVER_BIC = {
    "top1": ("Top-1 %", 100, 1),
    "top3": ("Top-3 %", 100, 1),
    "top5": ("Top-5 %", 100, 1),
    "bits": ("bits", 1, 2),
}
WRONG = {
    "brier": ("Brier", 1, 2),
    "graph_distance_wrong": ("hops", 1, 2),
    "within_2_hops": ("within 2 %", 100, 1),
    "descendant": ("descendant %", 100, 1),
    "ancestor": ("ancestor %", 100, 1),
    "branch": ("branch %", 100, 1),
}
CELLS = {name: ANSWERS[name] for name in ("top1", "top3", "top5")}

TITLES = {
    "network": "Network alone",
    "verify": "Verifier, cell known",
    "index": "Indexing, cell unknown",
    "pipeline": "Pipeline: pattern alone, no cell",
    "robustness": "Network on parts of the range and other wavelengths",
    "composition": "Pattern and chemistry",
}


def interval_cell(interval: Mapping[str, float | None], factor: float, decimals: int) -> Text:
    """A value with its 95 % interval below it; a dash where the metric is not defined."""
    value, low, high = interval["value"], interval["low"], interval["high"]
    if value is None:
        return Text("-", style="dim")
    text = Text(f"{factor * value:.{decimals}f}")
    if low is not None and high is not None:
        ends = (_end(factor * end, decimals) for end in (low, high))
        text.append("\n" + "..".join(ends), style="dim")
    return text


def _end(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    return "100" if text == "100.0" else text


def _table(result: Mapping[str, Any], title: str, metrics: Mapping[str, tuple[str, float, int]]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for heading, _, _ in metrics.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for name, shown in ROWS.items():
        row = result.get(name)
        if row:
            cells = [interval_cell(row[m], factor, decimals) for m, (_, factor, decimals) in metrics.items()]
            table.add_row(shown, *cells, style="bold" if name == "model" else "")
    return table


def _strata(result: Mapping[str, Any], name: str) -> Table:
    table = Table(
        title=f"By {name.removeprefix('by_').replace('_', ' ')}", title_justify="left", box=box.SIMPLE_HEAD
    )
    table.add_column("", overflow="fold")
    table.add_column("n", justify="right")
    table.add_column("compounds", justify="right")
    metrics = {
        m: ANSWERS[m]
        for m in ("top1", "top5", "bits_over_prior")
        if m in next(iter(result.values()))["model"]
    }
    for heading, _, _ in metrics.values():
        table.add_column(heading, justify="right", no_wrap=True)
    has_prior = "prior_only" in next(iter(result.values()))
    if has_prior:
        table.add_column("prior only:\nTop-1 %", justify="right")
    for value, rows in result.items():
        cells = [
            interval_cell(rows["model"][m], factor, decimals) for m, (_, factor, decimals) in metrics.items()
        ]
        if has_prior:
            cells.append(interval_cell(rows["prior_only"]["top1"], 100, 1))
        table.add_row(value, str(rows["n"]), str(rows["compounds"]), *cells)
    return table


def gains_in_words(gain: Mapping[str, Any], shown: Mapping[str, tuple[str, float, int]]) -> str:
    """Paired differences with their 95 % intervals, in one line."""
    return "; ".join(
        f"{heading.splitlines()[0]} {factor * gain[name]['value']:+.{decimals}f} "
        f"[{factor * gain[name]['low']:+.{decimals}f}, {factor * gain[name]['high']:+.{decimals}f}]"
        for name, (heading, factor, decimals) in shown.items()
    )


def _print_gain_over_bic(result: Mapping[str, Any], console: Console) -> None:
    """What network and evidence add to plain BIC, pattern by pattern; again without triclinic cells."""
    rest = result.get("by_metric", {}).get(NOT_TRICLINIC)
    if rest is not None:
        console.print(_table(rest, f"Answers, {rest['n']} patterns whose cell is not triclinic", ANSWERS))
    for place, rows in (("", result), (", not triclinic", rest)):
        for name, gain in () if rows is None else rows["gain_over_bic"].items():
            what = "network and evidence" if name == "model" else "evidence alone"
            console.print(
                f"Above plain BIC on the same fit{place}, {what}: {gains_in_words(gain, OVER_BIC)}."
            )


def _print_calibration(result: Mapping[str, Any], console: Console) -> None:
    if "reliability" in result:
        r = result["reliability"]
        console.print(
            f"Calibration: ECE {r['ece']:.3f}; a calibrated model would show "
            f"{r['expected_low']:.3f} to {r['expected_high']:.3f} "
            f"({r['independent_low']:.3f} to {r['independent_high']:.3f} if patterns of one compound were "
            "independent)."
        )
    if "gain" in result:
        console.print(f"Above the network alone: {gains_in_words(result['gain'], GAINS)}.")
    if "gain_over_bic" in result:
        _print_gain_over_bic(result, console)
    if "sets" in result:
        inside, size = result["sets"]["set_coverage"], result["sets"]["set_size"]
        console.print(
            f"Prediction sets: {100 * inside['value']:.1f} % hold the true group "
            f"[{100 * inside['low']:.1f}, {100 * inside['high']:.1f}]; {size['value']:.1f} groups on average."
        )
    if "foreign" in result:
        table = Table(
            title="Patterns that have no one right group", title_justify="left", box=box.SIMPLE_HEAD
        )
        for heading in ("", "n", "refused", "out of distr. %", "p >= 0.5 %", "false", "p >= 0.9 %", "false"):
            table.add_column(heading, justify="left" if not heading else "right")
        for kind, row in result["foreign"].items():
            strange = row["out_of_distribution"]
            cells = [
                kind,
                str(row["n"]),
                str(row["refused"]),
                "-" if strange is None else f"{100 * strange:.0f}",
            ]
            for level in ("50", "90"):
                judged = row[f"confident_{level}_judged"]
                false = f"{row[f'confident_{level}_false']} of {judged}" if judged else "-"
                cells += [f"{100 * row[f'confident_{level}']:.0f}", false]
            table.add_row(*cells)
        console.print(table)
        for kind, row in result["foreign"].items():
            if row.get("judged"):
                console.print(_confident_false(kind, row))


def _confident_false(kind: str, row: Mapping[str, Any]) -> str:
    """The rates of confident false answers on patterns whose phases are known, with their intervals."""
    rates = [
        f"{100 * row[f'false_{level}']:.1f} % "
        f"[{100 * row[f'false_{level}_interval'][0]:.1f}, {100 * row[f'false_{level}_interval'][1]:.1f}] "
        f"at p >= 0.{level[0]}"
        for level in ("50", "90")
    ]
    return (
        f"Confident false answers, {kind}: {' and '.join(rates)}, of {row['judged']} patterns with known "
        f"phases (95 % intervals, Clopper and Pearson, as of {row['judged_samples']} different samples)."
    )


def print_report(result: Mapping[str, Any], what: str, console: Console) -> None:
    """Print a benchmark result (see `classification.result_of`, `indexing.result_of`)."""
    n, compounds = result["n"], result["compounds"]
    console.print(
        f"[bold]{TITLES[what]}[/bold]: {n} patterns of {compounds} compounds; "
        "below each value its 95 % interval by compound."
    )
    if what == "composition":
        from trainer.benchmark.composition_report import print_composition

        print_composition(result, console)
        return
    if what == "robustness":
        from trainer.benchmark.robustness_report import print_variants

        print_variants(result, console)
        return
    if what == "index":
        console.print(_table(result, "The right lattice among the first cells", CELLS))
    else:
        console.print(_table(result, "Answers", ANSWERS))
        console.print(_table(result, "Brier score, and wrong answers on the subgroup graph", WRONG))
        if "published_graph" in result:
            graph = {name: WRONG[name] for name in WRONG if name != "brier"}
            console.print(_table(result["published_graph"], "Wrong answers on the published graph", graph))
    _print_calibration(result, console)
    for name in result:
        if name.startswith("by_") or name == "unseen":
            console.print(_strata(result[name], name))
    settings = result["settings"]
    seconds = settings["seconds"]
    console.print(
        f"Seconds a pattern: median {result['seconds_median']:.3g}, "
        f"95 % {seconds['p95']:.3g}, longest {seconds['max']:.3g}."
    )
    if settings.get("prior_only"):
        console.print(f"Prior only: {settings['prior_only']}.")
    if settings.get("calibration"):
        console.print(f"Calibration: {settings['calibration']}.")
    refused = settings.get("refused") or {}
    if refused:
        console.print(f"{len(refused)} refused, counted with the prior as their answer:")
        for name, reason in list(refused.items())[:10]:
            console.print(f"  {name}: {reason}", style="dim", highlight=False, markup=False)
        if len(refused) > 10:
            console.print(f"  and {len(refused) - 10} more (see --json)", style="dim")
