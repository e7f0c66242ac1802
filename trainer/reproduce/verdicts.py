"""What a table says, in plain sentences that follow from its intervals alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trainer.reproduce.markdown import NULLS, lonely, shown

Rows = Mapping[str, Mapping[str, Any]]


def verdict(made: Mapping[str, Any]) -> list[str]:
    """Sentences on a table of `trainer.reproduce.tables.make_table`: what holds, and what does not."""
    parts: Mapping[str, Rows] = made["parts"]
    if not parts:
        return ["No run of this table is finished."]
    own = _OWN.get(made["name"])
    said = [] if own is None else own(parts)
    if made["name"] == "quality":
        said = _paradox(made["contrasts"]) + said
    if lonely(made):
        return [*said, "Only its first row is finished, that of the first table: nothing to compare."]
    if made["kind"] == "figures":
        rows = parts.get("measured") or next(iter(parts.values()))
        where = "On measured patterns" if "measured" in parts else "On simulated patterns"
        said += [f"{where} {sentence}" for sentence in _differences(rows)]
        if all(len(row["seeds"]) < 2 for row in rows.values() if "difference" in row):
            said.append("One seed each: what another seed would change is not in these intervals.")
    return said


def sign(interval: Mapping[str, float | None] | None) -> int:
    """1 where an interval lies above 0, -1 below, 0 where it holds 0 or is not defined."""
    if interval is None or interval["low"] is None or interval["high"] is None:
        return 0
    return 1 if interval["low"] > 0 else -1 if interval["high"] < 0 else 0


def apart(one: Mapping[str, float | None], other: Mapping[str, float | None]) -> int:
    """1 where the interval `one` lies above `other`, -1 below, 0 where they overlap or are not defined."""
    ends = (one["low"], one["high"], other["low"], other["high"])
    if any(end is None for end in ends):
        return 0
    low, high, other_low, other_high = (float(end) for end in ends if end is not None)
    return 1 if low > other_high else -1 if high < other_low else 0


def _differences(rows: Rows) -> list[str]:
    """Rows above the prior or not, and those that differ from the first of their budget."""
    trained = {label: row for label, row in rows.items() if label not in NULLS}
    above = [label for label, row in trained.items() if sign(row["bits_over_prior"]) > 0]
    said = [
        f"{_list(above)} {'lie' if len(above) > 1 else 'lies'} above the prior with the whole interval."
        if above
        else "no run lies above the prior with its whole interval."
    ]
    compared = {label: row["difference"] for label, row in trained.items() if "difference" in row}
    for way, words in (
        (-1, "worse than the first row of the same budget"),
        (1, "better than it"),
        (0, "not told apart from it"),
    ):
        found = [f"{n} ({shown(d, 'difference')})" for n, d in compared.items() if sign(d) == way]
        if found:
            said.append(f"{words}: {_list(found)}.")
    return said


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _space_groups(parts: Mapping[str, Rows]) -> list[str]:
    row = parts.get("measured", {}).get("collapsed")
    if row is None or "difference" not in row:
        return []
    alone = any(len(parts["measured"][label]["seeds"]) < 2 for label in ("direct", "collapsed"))
    holds = "One seed speaks for it" if alone else "Holds"
    fails = "One seed speaks against it" if alone else "Does not hold"
    words = {
        -1: f"**{holds}**: collapsed space groups are worse",
        1: f"**{fails}**: collapsed space groups are better",
        0: "**Not decided** at this budget",
    }
    return [f"{words[sign(row['difference'])]}: {shown(row['difference'], 'difference')} bits, paired."]


def _saturation(parts: Mapping[str, Rows]) -> list[str]:
    rows = {n: r for n, r in parts.get("simulated, held out", {}).items() if n.startswith("resnet18")}
    if not rows:
        return []
    best = max(rows.values(), key=lambda row: row["top1"]["value"] or 0.0)
    if (best["top1"]["value"] or 0.0) < 0.8:
        return [
            "**Not reached** at this budget: our best simulated Top-1 of ResNet-18 is "
            f"{shown(best['top1'], 'top1')} %, far from where the paper sees it stop. "
            "Our held-out patterns are also harder than the paper's: "
            "real structures with all nuisances."
        ]
    return [f"ResNet-18 reaches {shown(best['top1'], 'top1')} % simulated Top-1."]


def _tokens(parts: Mapping[str, Rows]) -> list[str]:
    rows = parts.get("simulated, held out", {})
    fine, coarse = rows.get("tokens-512, all of the budget"), rows.get("tokens-128, all of the budget")
    if fine is None or coarse is None:
        return []
    words = {
        1: "**Holds**: finer tokens are better on simulated patterns",
        -1: "**Does not hold**: finer tokens are worse on simulated patterns",
        0: "**Not decided** at this budget",
    }[apart(fine["top1"], coarse["top1"])]
    return [f"{words}: Top-1 {shown(fine['top1'], 'top1')} % against {shown(coarse['top1'], 'top1')} %."]


def _calibration(parts: Mapping[str, Rows]) -> list[str]:
    rows = parts.get("measured", {})
    said = []
    for label in ("shipped checkpoint", "reference"):
        fixed = {n: r for n, r in rows.items() if n.startswith(f"{label}, T = ")}
        at_five = fixed.get(f"{label}, T = 5")
        if at_five is None:
            continue
        best = min(fixed, key=lambda n: fixed[n]["nll"]["value"])
        lost = fixed[best]["bits_over_prior"]["value"] - at_five["bits_over_prior"]["value"]
        words, temperature = "Holds" if best.endswith("= 5") else "Does not hold", best.rsplit(", ", 1)[1]
        said.append(
            f"**{words}** for the {label}: of the fixed temperatures {temperature} has the lowest "
            f"NLL ({shown(fixed[best]['nll'], 'nll')}); T = 5 costs {lost:.2f} bits of it and has an ECE of "
            f"{shown(at_five['ece'], 'ece')}. Fitted out of fold: NLL {shown(rows[label]['nll'], 'nll')}, "
            f"ECE {shown(rows[label]['ece'], 'ece')}."
        )
    return said


def _topology(parts: Mapping[str, Rows]) -> list[str]:
    said = []
    for words, rows in parts.items():
        if not words.startswith("measured") or "permuted" not in rows:
            continue
        label, row = next(iter(rows.items()))
        null = rows["permuted"]
        hops, by_chance = row["graph_distance_wrong"], null["graph_distance_wrong"]
        near = {-1: "nearer than", 1: "farther than", 0: "not told apart from"}[apart(hops, by_chance)]
        graph = "the published graph" if "published" in words else "our graph"
        down, null_down = row["descendant"], null["descendant"]
        way = {1: "more often", -1: "less often", 0: "no more often"}[apart(down, null_down)]
        said.append(
            f"On {graph} wrong answers of the {label} lie {near} its own answers given to other patterns: "
            f"{shown(hops, 'graph_distance_wrong')} hops against {shown(by_chance, 'graph_distance_wrong')}. "
            f"They go to subgroups {way} than by chance: {shown(down, 'descendant')} % against "
            f"{shown(null_down, 'descendant')} %."
        )
    return said


def _split(parts: Mapping[str, Rows]) -> list[str]:
    rows = parts.get("measured", {})
    return [
        f"Read alone, the bits of the {label} are a group for {shown(row['valid'], 'valid')} % of the "
        "measured patterns; with every bit drawn from another pattern they still are for "
        f"{shown(row['null'], 'null')} %."
        for label, row in rows.items()
        if "null" in row
    ]


def _paradox(contrasts: Mapping[str, Any]) -> list[str]:
    if not contrasts:
        return []
    found, bits = contrasts["top1"], contrasts["bits_over_prior"]
    words = {
        1: "**Holds**: the worst fits are easier",
        -1: "**Does not hold**: the worst fits are harder",
        0: "**Not decided**: the interval holds 0",
    }[sign(found)]
    also = {
        1: "In bits over prior, where the mix of groups is taken off, they are easier, too",
        -1: "In bits over prior they are harder",
        0: "In bits over prior, where the mix of groups is taken off, the interval holds 0",
    }[sign(bits)]
    worst, best = (f"{100 * share:.0f} %" for share in contrasts["source_shares"])
    return [
        f"{words} ({contrasts['label']}; {contrasts['about']}): Top-1 {shown(found, 'top1')} points. "
        f"{also}: {shown(bits, 'bits_over_prior')}.",
        f"But the thirds are of different make: {worst} of the worst and {best} of the best fits come from "
        f"{contrasts['source']}, and Rwp falls with the background. Quality alone is not what was compared.",
    ]


def _quality(parts: Mapping[str, Rows]) -> list[str]:
    def third(name: str) -> Rows | None:
        return next((rows for words, rows in parts.items() if words.startswith(name)), None)

    weak, strong = third("weakest third of the signal"), third("strongest third of the signal")
    if not weak or not strong:
        return []
    label = next(iter(weak))
    return [
        f"By signal: Top-1 {shown(weak[label]['top1'], 'top1')} % in the weakest third, "
        f"{shown(strong[label]['top1'], 'top1')} % in the strongest."
    ]


_OWN: dict[str, Callable[[Mapping[str, Rows]], list[str]]] = {
    "space-groups": _space_groups,
    "saturation": _saturation,
    "tokens": _tokens,
    "calibration": _calibration,
    "topology": _topology,
    "split": _split,
    "quality": _quality,
}
