"""The model card: what a checkpoint's card says, for people, and the measured figures that stand in it.

`summary` turns results of the benchmark into what the card keeps (`Card.benchmark`); `page` makes the page
of docs/reference from the card alone, so that a test can tell whether the page is that of the shipped card.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import resources
from string import Template
from typing import Any

from eg_agent.errors import BadInput
from eg_agent.model.checkpoint import Card
from eg_agent.model.composition import CompositionCard
from eg_agent.model.network import Network
from trainer.parent import COSTS

#: Figures of a row: metric, factor, decimals. Shares are kept in per cent.
METRICS = {"top1": (100.0, 1), "top5": (100.0, 1), "bits_over_prior": (1.0, 2)}
#: What rows of a source are called.
SOURCES = {"AGI-init/XRDs": "RRUFF minerals", "bjzgcai/RL_XRD_refinement": "CNRS laboratory patterns"}
#: Rows that see no pattern, or the wrong one.
NULLS = {"prior_only": "prior only", "constant": "constant class", "permutation": "permuted patterns"}
#: Fewest patterns of a stratum that has a row.
FEWEST = 10

Result = Mapping[str, Any]


def summary(card: Card, network: Result, robustness: Result | None = None) -> dict[str, Any]:
    """What a card keeps of `eg-train benchmark --what network` and `--what robustness`, as JSON types.

    BadInput for results of other weights than the card's, or of another kind.
    """
    for result, what in ((network, "network"), (robustness, "robustness")):
        if result is not None:
            _check(card, result, what)
    rows = {"all rows": _row(network)}
    for stratum, named in (("by_source", SOURCES), ("by_novelty", None), ("by_system", None)):
        for name, found in network.get(stratum, {}).items():
            if found["n"] >= FEWEST:
                said = f"{name} compounds" if stratum == "by_novelty" else (named or {}).get(name, name)
                rows[str(said)] = _row(found)
    found: dict[str, Any] = {
        "data": f"{network['n']} measured patterns of {network['compounds']} compounds "
        f"({network['settings']['data']})",
        "calibration": network["settings"]["calibration"],
        "prior": network["settings"]["prior"],
        "prior_only": network["settings"]["prior_only"],
        "date": datetime.now(UTC).date().isoformat(),
        "weights_sha256": card.weights_sha256,
        "rows": rows,
        "nulls": {shown: _figures(network[name]) for name, shown in NULLS.items()},
    }
    if "reliability" in network:
        r = network["reliability"]
        found["ece"] = [round(r[k], 3) for k in ("ece", "expected_low", "expected_high")]
    if "sets" in network:
        found["sets"] = {
            "coverage": _interval(network["sets"]["set_coverage"], 100.0, 1),
            "size": _interval(network["sets"]["set_size"], 1.0, 1),
        }
    if "mixtures" in network.get("foreign", {}):
        mixed = network["foreign"]["mixtures"]
        found["mixtures"] = {
            "n": mixed["n"],
            "refused": mixed["refused"],
            **{f"confident_{p}": round(100.0 * mixed[f"confident_{p}"], 1) for p in ("50", "90")},
        }
    if robustness is not None:
        found["robustness"] = {
            "data": f"{robustness['n']} patterns of {robustness['compounds']} compounds",
            "variants": {
                name: {
                    **_figures(row["model"]),
                    "share_of_bits": None
                    if row["share_of_bits"] is None
                    else round(100.0 * row["share_of_bits"]),
                    "refused": row["refused"],
                }
                for name, row in robustness["variants"].items()
            },
        }
    return found


def _check(card: Card, result: Result, what: str) -> None:
    settings = result.get("settings", {})
    if settings.get("what") != what:
        raise BadInput(f"this is no result of eg-train benchmark --what {what} --json.")
    if settings.get("checkpoint_hash") != card.hash:
        raise BadInput(
            f"the {what} figures are of the weights {settings.get('checkpoint_hash')}, the checkpoint's are "
            f"{card.hash}: run the benchmark on this checkpoint."
        )


def _interval(value: Mapping[str, float | None], factor: float, decimals: int) -> list[float | None]:
    return [
        None if value[k] is None else round(factor * (value[k] or 0.0), decimals)
        for k in ("value", "low", "high")
    ]


def _figures(row: Mapping[str, Any]) -> dict[str, list[float | None]]:
    return {name: _interval(row[name], *METRICS[name]) for name in METRICS}


def _row(found: Result) -> dict[str, Any]:
    only = found["prior_only"]
    return {
        "n": found["n"],
        "compounds": found["compounds"],
        **_figures(found["model"]),
        "prior_top1": round(100.0 * only["top1"]["value"], 1),
        "prior_top5": round(100.0 * only["top5"]["value"], 1),
    }


def page(card: Card) -> str:
    """The model card as markdown. BadInput for a card without the figures that it shows."""
    if "rows" not in card.benchmark:
        raise BadInput(f"the card of {card.name!r} holds no benchmark figures: make them with eg-train card.")
    if card.benchmark.get("weights_sha256") != card.weights_sha256:
        raise BadInput(f"the benchmark figures of {card.name!r} are of other weights: run eg-train card.")
    template = resources.files("trainer").joinpath("model_card.md").read_text("utf-8")
    return Template(template).substitute(
        name=card.name,
        hash=card.hash,
        created=card.created,
        code=card.code,
        description=card.description or card.size,
        network=_network(card),
        cost=_cost(card),
        data=_data(card),
        calibration=_calibration(card),
        measured=_measured(card),
        robustness=_robustness(card),
        mixtures=_mixtures(card),
        chemistry=_chemistry(card),
        limits="\n".join(f"- {limit}" for limit in card.limits),
    )


def _chemistry(card: Card) -> str:
    about = card.composition
    if about is None:
        return "It reads patterns alone: a composition cannot be told."
    said, doubted = about.held_out, about.noticed
    return (
        "A composition, or elements alone, may be told beside the pattern "
        "([how](../how-to/use-the-chemistry.md)). That head was trained on "
        f"{about.trained_on}; its weights were fitted on {about.calibrated_on}. On "
        f"{said['compositions']:,.0f} held-out formulas, never seeing a pattern: "
        f"{said['prior']:.2f} nats with class frequencies alone, {said['elements']:.2f} with elements, "
        f"{said['exact']:.2f} with amounts (Top-1 {100 * said['exact_top1']:.0f} %). Of another structure's "
        f"compositions {100 * doubted[0]:.0f} % are noticed to contradict the pattern "
        f"({100 * doubted[1]:.0f} % of its elements), where two in a hundred right ones are doubted."
        + _entries(about)
    )


def _entries(about: CompositionCard) -> str:
    """What is looked up, in a sentence; empty where nothing is."""
    if about.trust is None:
        return ""
    said = about.held_out
    text = (
        f" Beside it stand {about.known_entries:,} known entries, found by a hash of their elements: "
        "extinction groups of Materials Project structures and of the Crystallography Open Database, by "
        f"composition. What the head says counts as {about.trust.exact:g} of them with amounts and as "
        f"{about.trust.elements:g} with elements."
    )
    if "entries" in said:
        text += (
            f" On {said['entries']:,.0f} held-out entries, each left out where it is judged, nats go from "
            f"{said['entries_exact_alone']:.2f} to {said['entries_exact']:.2f} with amounts and from "
            f"{said['entries_elements_alone']:.2f} to {said['entries_elements']:.2f} with elements."
        )
    return text


def _network(card: Card) -> str:
    a, network = card.architecture, Network(card.architecture)
    kind = "no transformer block" if a.depth == 0 else f"{a.depth} transformer blocks of width {a.width}"
    return (
        f"{network.parameters_count / 1e6:.2f} M parameters ({a.stem} stem, {kind}), "
        f"{network.flops() / 1e6:.0f} MFLOP a pattern. Input: {a.length} points from {a.two_theta_min:g} to "
        f"{a.two_theta_max:g} degrees of 2-theta for Cu K-alpha1; other wavelengths are brought to that "
        "axis, and what was not measured is masked."
    )


def _cost(card: Card) -> str:
    own = {name: float(card.cost.get(name, 0.0)) for name in COSTS}
    parent = card.curriculum.get("begins_from")
    before = {name: float((parent or {}).get(name, 0.0)) for name in COSTS}
    lines = [
        "| | patterns | hours | FLOP |",
        "|---|---|---|---|",
        _cost_row("this run", own),
    ]
    if parent:
        known = parent.get("weights_sha256") or ""
        said = f"`{known[:16]}`" if known else "weights not recorded"
        lines += [
            _cost_row(f"checkpoint that it began from ({said}), with its own", before),
            _cost_row("**together**", {name: own[name] + before[name] for name in COSTS}),
        ]
    return "\n".join([*lines, "", f"On: {card.machine}. Seed {card.seed}."])


def _cost_row(what: str, cost: Mapping[str, float]) -> str:
    return f"| {what} | {cost['patterns']:,.0f} | {cost['hours']:.2f} | {cost['training_flop']:.2g} |"


def _data(card: Card) -> str:
    sampling = card.curriculum.get("sampling", {})
    shares = ", ".join(
        f"{100 * float(sampling[key]):.0f} % {said}"
        for key, said in (
            ("real", "real structures"),
            ("random", "random crystals"),
            ("molecular", "random molecular crystals"),
        )
        if sampling.get(key)
    )
    stages = [phase["stage"] for phase in card.curriculum.get("earlier", [])]
    stages.append(str(card.curriculum.get("stage", "not recorded")))
    return (
        f"Simulated patterns only, stage `{'`, then `'.join(stages)}`: {shares or 'shares not recorded'}. "
        f"Corpus: {'; '.join(card.corpora) or 'not recorded'}."
    )


def _calibration(card: Card) -> str:
    said = card.expected
    text = (
        f"Temperature {card.calibration.temperature:.2f}, weight of the split head "
        f"{card.calibration.split_weight:.2f}, fitted on {card.calibrated_on}. "
    )
    if not said:
        return text + "What it promises on measured patterns has not been judged."
    low, high = (100 * end for end in said["coverage_interval"])
    text += (
        f"Judged {said['judged']}, on {said['patterns']} patterns: {100 * card.sets.coverage:.0f} % sets "
        f"hold the true group in {100 * said['coverage']:.1f} % [{low:.1f}, {high:.1f}] with "
        f"{said['set_size']:.1f} groups on average; expected calibration error {said['ece']:.3f}, where a "
        f"calibrated model would show {said['ece_expected'][0]:.3f} to {said['ece_expected'][1]:.3f}. "
    )
    judged = [(said["ece"], said["ece_expected"][1])]
    if "ece" in card.benchmark:
        error, low, high = card.benchmark["ece"]
        judged.append((error, high))
        text += f"In the benchmark below it is {error:.3f} ({low:.3f} to {high:.3f}). "
    return text + (
        "That is as calibrated as these patterns can tell."
        if all(error <= high for error, high in judged)
        else "Above that range it is surer of itself, or less sure, than it should be."
    )


def _measured(card: Card) -> str:
    found = card.benchmark
    lines = [
        f"{found['data']}; {found['calibration']}; prior `{found['prior']}`. Brackets: 95 % intervals, by "
        f"compound. Bits are over: {found['prior_only']}. {found['date']}.",
        "",
        "| rows | n | Top-1 % | Top-5 % | bits over prior | prior only: Top-1, Top-5 |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in found["rows"].items():
        shown = f"**{name}**" if name in ("all rows", "unseen compounds") else name
        only = f"{row['prior_top1']:.1f}, {row['prior_top5']:.1f}"
        lines.append(f"| {shown} | {row['n']} | {_figure_cells(row)} | {only} |")
    lines += [
        f"| {name} | {found['rows']['all rows']['n']} | {_figure_cells(row)} | |"
        for name, row in found["nulls"].items()
    ]
    return "\n".join(lines)


def _figure_cells(row: Mapping[str, Any]) -> str:
    return " | ".join(_cell(row[name], METRICS[name][1], signed=name.startswith("bits")) for name in METRICS)


def _cell(interval: list[float | None], decimals: int, *, signed: bool = False) -> str:
    value, low, high = interval
    if value is None:
        return "-"
    text = f"{value:{'+' if signed else ''}.{decimals}f}"
    return text if low is None or high is None else f"{text} [{low:.{decimals}f}, {high:.{decimals}f}]"


def _robustness(card: Card) -> str:
    found = card.benchmark.get("robustness")
    if found is None:
        return "Not measured for these weights."
    lines = [
        f"{found['data']}, cut, or with their angles moved to where another wavelength would show them.",
        "",
        "| pattern | Top-1 % | Top-5 % | bits over prior | of the whole pattern's bits | refused |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in found["variants"].items():
        share = "-" if row["share_of_bits"] is None else f"{row['share_of_bits']:.0f} %"
        lines.append(f"| {name} | {_figure_cells(row)} | {share} | {row['refused']} |")
    useless = [name for name, row in found["variants"].items() if (row["bits_over_prior"][0] or 0.0) <= 0.0]
    if useless:
        lines += ["", f"Do not use it on these, where the prior alone is better: {', '.join(useless)}."]
    return "\n".join(lines)


def _mixtures(card: Card) -> str:
    found = card.benchmark.get("mixtures")
    if found is None:
        return "Not measured for these weights."
    return (
        f"Of {found['n']} measured mixtures, which have no one right group, {found['refused']} are refused; "
        f"{found['confident_50']:.0f} % get an answer of probability 0.5 or more, "
        f"{found['confident_90']:.0f} % one of 0.9 or more."
    )
