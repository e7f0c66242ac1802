"""The gates that a challenger has to pass, and what came of them: written into its card."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from eg_agent.errors import BadInput
from eg_agent.values import VALUE_CONFIG


@dataclass(frozen=True)
class Gates:
    """Thresholds. Differences are challenger less champion, intervals 95 % by compound, bits a pattern.

    least_compounds: that judge, of verified runs. recent_bits: what the lower end of the gain on them has to
    be above, both networks calibrated the same way, out of fold. deployed_bits: the same against the champion
    with the calibration that it is in use with. recent_top1: points that Top-1 on them may lose at the most
    (its value, in per cent). recent_coverage: points that prediction sets may hold less than they promise.
    benchmark_bits, benchmark_top1: what the lower end of the difference on the frozen benchmark has to be
    above: bits, and points of Top-1. Without a benchmark these two are not judged, and the card says so.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    least_compounds: int = 10
    recent_bits: float = 0.0
    deployed_bits: float = 0.0
    recent_top1: float = 2.0
    recent_coverage: float = 10.0
    benchmark_bits: float = -0.1
    benchmark_top1: float = -3.0


@dataclass(frozen=True)
class Gate:
    """One gate: the rule in words, its figure [value, low, high], the threshold, and whether it passed.

    passed: None where it could not be judged.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    name: str
    rule: str
    figure: tuple[float, ...]
    threshold: float
    passed: bool | None


_GATES: TypeAdapter[Gates] = TypeAdapter(Gates)


def read_gates(path: Path | None) -> Gates:
    """Gates of a TOML file, defaults for what it leaves out; BadInput for names or values that are none."""
    if path is None:
        return Gates()
    try:
        told = tomllib.loads(path.read_text("utf-8"))
        return _GATES.validate_python(told)
    except FileNotFoundError:
        raise BadInput(f"there is no file of gates {path}: leave --gates out for the defaults.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInput(f"{path} cannot be read as TOML ({error}): correct it.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        known = ", ".join(field.name for field in fields(Gates))
        raise BadInput(f"{path}: {where}: {first['msg']}. Gates are {known}.") from error


def judged(gates: Gates, figures: dict[str, Any]) -> list[Gate]:
    """Every gate with its figure. figures: of `trainer.retrain.judge.compare`."""
    recent, benchmark = figures["recent"], figures.get("benchmark")
    out: list[Gate] = []

    def gate(name: str, rule: str, figure: dict[str, float] | float | None, at: str, least: float) -> None:
        if figure is None:
            out.append(Gate(name, rule, (), least, None))
            return
        told = figure if isinstance(figure, dict) else {"value": figure}
        values = tuple(round(told[key], 4) for key in ("value", "low", "high") if key in told)
        measured = told[at]
        strict = at == "low"
        out.append(Gate(name, rule, values, least, measured > least if strict else measured >= least))

    gate(
        "least_compounds",
        "compounds of verified runs that judge, at least",
        float(recent["compounds"]),
        "value",
        float(gates.least_compounds),
    )
    gate(
        "recent_bits",
        "bits on recent runs over the champion, both calibrated alike: lower end above",
        recent["gain"]["bits"],
        "low",
        gates.recent_bits,
    )
    gate(
        "deployed_bits",
        "bits on recent runs over the champion as it is in use: lower end above",
        recent["gain_over_deployed"]["bits"],
        "low",
        gates.deployed_bits,
    )
    gate(
        "recent_top1",
        "Top-1 on recent runs less the champion's, points: at least",
        _points(recent["gain"]["top1"]),
        "value",
        -gates.recent_top1,
    )
    gate(
        "recent_coverage",
        "share of prediction sets on recent runs that hold the group, per cent: at least",
        _points(recent["sets"]["set_coverage"]),
        "value",
        100.0 * figures["coverage"] - gates.recent_coverage,
    )
    gate(
        "benchmark_bits",
        "bits on the frozen benchmark less the champion's: lower end above",
        None if benchmark is None else benchmark["gain"]["bits"],
        "low",
        gates.benchmark_bits,
    )
    gate(
        "benchmark_top1",
        "Top-1 on the frozen benchmark less the champion's, points: lower end above",
        None if benchmark is None else _points(benchmark["gain"]["top1"]),
        "low",
        gates.benchmark_top1,
    )
    return out


def passed(gates: list[Gate]) -> bool:
    """Whether no gate failed (one that could not be judged does not)."""
    return all(gate.passed is not False for gate in gates)


def in_words(gate: Gate) -> str:
    """A gate on one line."""
    said = "not judged" if gate.passed is None else "passed" if gate.passed else "FAILED"
    if not gate.figure:
        return f"{said:10s} {gate.rule} {gate.threshold:g}"
    value, *ends = gate.figure
    interval = f" [{ends[0]:.3g}, {ends[1]:.3g}]" if len(ends) == 2 else ""
    return f"{said:10s} {gate.rule} {gate.threshold:g}: {value:.3g}{interval}"


def as_json(gates: list[Gate]) -> list[dict[str, Any]]:
    """As JSON types, for the card."""
    return [{**asdict(gate), "figure": list(gate.figure)} for gate in gates]


def _points(figure: dict[str, float]) -> dict[str, float]:
    return {key: 100.0 * value for key, value in figure.items()}
