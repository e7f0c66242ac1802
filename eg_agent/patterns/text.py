"""Columns of numbers: .xy .xye .csv .dat .txt and the like, with or without a header."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadPattern
from eg_agent.patterns.axis import Axis, axis_of_name
from eg_agent.patterns.measured import Measured
from eg_agent.patterns.stated import radiation_in_text

_TIME = re.compile(
    r"(?:count(?:ing)?[\s_-]*time|scan[\s_-]*step[\s_-]*time|step[\s_-]*time|time[\s_/-]*(?:per)?[\s_/-]*step|"
    r"exposure(?:[\s_-]*time)?|seconds[\s_/]*(?:per)?[\s_/]*(?:step|point))"
    r"[^\d\n+-]{0,16}?[:=,;\s\]\)]\s*[\"']?(\d+[.,]?\d*(?:[eE][-+]?\d+)?)\s*(?P<unit>ms|s|sec|min)?",
    re.IGNORECASE,
)
_SAMPLE = re.compile(r"\bsample(?:[\s_-]*(?:name|id))?\s*[:=]\s*[\"']?([^\n\"';,]{1,80})", re.IGNORECASE)
_INTENSITY = re.compile(
    r"^\W*(?:intens|counts?\b|cts\b|cps\b|i\b|i_?obs|y_?obs|yobs|y\b|det|signal|raw)", re.IGNORECASE
)
_SIGMA = re.compile(r"^\W*(?:sig|esd|err|e\b|std|s\.?u\.?\b|unc|dy\b|di\b)", re.IGNORECASE)
_TIME_COLUMN = re.compile(
    r"^\W*(?:count(?:ing)?[\s_-]*time|time|seconds|t\b|monitor[\s_-]*time)", re.IGNORECASE
)
_PER_SECOND = re.compile(r"\bcps\b|counts?\s*(?:/|per)\s*s|cts\s*/\s*s|c/s", re.IGNORECASE)
_COMMENT = "#!%;'\"/*$@"


@dataclass(slots=True)
class _Table:
    rows: npt.NDArray[np.float64]  # [n, columns]
    header: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_text(path: Path) -> Measured:
    """A pattern from columns of numbers: abscissa, intensity and, optionally, its standard error.

    Understands comments, header lines, comma, semicolon, tab or blanks between columns, decimal
    commas, and the layout of a first line with start, step and end before the intensities alone.
    Takes column names, wavelength, counting time and sample name from the header where they stand.
    Raises BadPattern when no table of numbers is found.
    """
    lines = _decode(path.read_bytes()).splitlines()
    table = _start_step_end(lines) or _columns(lines)
    if table is None:
        raise BadPattern(
            f"{path.name} holds no table of numbers with at least two columns: "
            "give 2-theta and intensity, one point a line."
        )
    header = "\n".join(table.header)
    stated, notes = radiation_in_text(header)
    axis = _axis(table)
    roles = _roles(table, path.suffix.lower())
    column = table.rows.T
    rate = bool(_PER_SECOND.search(" ".join(table.names) or header))
    sample = _SAMPLE.search(header)
    return Measured(
        format="text",
        x=column[roles["x"]],
        intensity=column[roles["intensity"]],
        axis=axis,
        sigma=column[roles["sigma"]] if "sigma" in roles else None,
        counting_time=column[roles["time"]] if "time" in roles else _counting_time(header, len(table.rows)),
        counts_stated=bool(re.search(r"\bcounts?\b|\bcts\b", table.names[roles["intensity"]], re.IGNORECASE))
        if table.names and not rate
        else False,
        per_second=rate,
        radiation=stated,
        sample=sample.group(1).strip() if sample else "",
        notes=[*table.notes, *notes],
    )


def _decode(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    if "\x00" in text:
        raise BadPattern("The file is binary and not a table of numbers: export it as text (.xy) or .xrdml.")
    return text


def _columns(lines: list[str]) -> _Table | None:
    split, decimal_comma = _delimiter(lines)
    parsed = [_numbers(line, split, decimal_comma) for line in lines]
    widths = Counter(len(row) for row in parsed if row is not None and len(row) > 1)
    if not widths:
        return None
    columns = widths.most_common(1)[0][0]
    first = next(i for i, row in enumerate(parsed) if row is not None and len(row) == columns)
    rows = [row for row in parsed[first:] if row is not None and len(row) == columns]
    # anything else between the rows is text to search, and a ragged table is noted
    other = [line for line, row in zip(lines, parsed) if row is None or len(row) != columns]
    ragged = sum(1 for row in parsed[first:] if row is not None and len(row) not in (columns, 0))
    table = _Table(np.array(rows, dtype=np.float64), header=[line for line in other if line.strip()])
    if ragged:
        table.notes.append(f"{ragged} lines with another number of columns were left out")
    before = [line for line in lines[:first] if line.strip()]
    table.names = _names(before, columns, split)
    return table


def _delimiter(lines: list[str]) -> tuple[str | None, bool]:
    """The separator (None: blanks or tabs) and whether numbers have a decimal comma."""
    sample = [line.strip() for line in lines if re.match(r"\s*[-+]?[\d.,]", line)][:200]
    text = "\n".join(sample)
    if text.count(";") >= len(sample) and sample:
        return ";", "," in text
    # several tokens apart by blanks, each with a comma between digits: decimal commas
    spaced = sum(1 for line in sample if len(line.split()) > 1 and not re.search(r",\s", line))
    if "," not in text or (sample and spaced > 0.5 * len(sample)):
        return None, "," in text
    return ",", False


def _numbers(line: str, split: str | None, decimal_comma: bool) -> list[float] | None:
    stripped = line.strip()
    if not stripped or stripped[0] in _COMMENT.replace('"', "").replace("'", ""):
        return None
    tokens = stripped.split(split)
    result: list[float] = []
    for token in tokens:
        token = token.strip().strip("\"'")
        if not token and split is not None:
            continue
        if decimal_comma:
            token = token.replace(",", ".")
        try:
            result.append(float(token))
        except ValueError:
            # a comment after the numbers of a line is allowed, text among them is not
            if result and token[:1] in ("#", "!"):
                break
            return None
    return result or None


def _names(before: list[str], columns: int, split: str | None) -> list[str]:
    """The column names: the last header line that has one for each column."""
    for line in reversed(before[-4:]):
        text = line.strip().lstrip(_COMMENT).strip()
        if not text or re.search(r"[:=]\s*[\"']?[-+]?\d", text):
            continue
        separators = [split, ";", ",", "\t"] if split else ["\t", None, ";", ","]
        for separator in separators:
            if separator is None:
                parts = re.split(r"\s{2,}", text)
                if len(parts) != columns:
                    parts = re.sub(r"\s*([(\[])\s*", r"\1", text).split()
            else:
                parts = text.split(separator)
            parts = [part.strip().strip("\"'") for part in parts]
            if len(parts) == columns and any(re.search(r"[A-Za-zθ2Å]", part) for part in parts):
                return parts
    return []


def _axis(table: _Table) -> Axis | None:
    if table.names:
        return axis_of_name(table.names[0])
    # Fit2D and others give the label of the axis on a line of its own
    for line in table.header:
        text = line.strip().lstrip(_COMMENT).strip()
        if len(text) < 48 and (axis := axis_of_name(text)) is not None and axis not in ("other", "theta"):
            return axis
    return None


def _roles(table: _Table, suffix: str) -> dict[str, int]:
    """Which column is what: by name where there are names, else abscissa, intensity, standard error."""
    columns = table.rows.shape[1]
    roles = {"x": 0, "intensity": 1}
    if table.names:
        for role, pattern in (("intensity", _INTENSITY), ("sigma", _SIGMA), ("time", _TIME_COLUMN)):
            free = (i for i in range(1, columns) if role == "intensity" or i != roles["intensity"])
            found = next((i for i in free if pattern.search(table.names[i])), None)
            if found is not None:
                roles[role] = found
    elif columns >= 3:
        third, intensity = table.rows[:, 2], table.rows[:, 1]
        positive = bool(np.all(third[np.isfinite(third)] >= 0.0))
        # an error is mostly smaller than what it belongs to, and grows with it
        smaller = np.mean(third <= np.maximum(np.abs(intensity), 1.0)) > 0.8
        varies = third.size > 1 and float(np.ptp(third)) > 0.0
        if suffix == ".xye" or (
            columns == 3 and positive and smaller and varies and _grows(third, intensity)
        ):
            roles["sigma"] = 2
        else:
            table.notes.append("columns after the second were not used")
    if "sigma" in roles and not np.all(table.rows[:, roles["sigma"]] >= 0.0):
        del roles["sigma"]
        table.notes.append("standard errors that are negative or NaN were not used")
    return roles


def _grows(third: npt.NDArray[np.float64], intensity: npt.NDArray[np.float64]) -> bool:
    order = np.argsort(intensity)
    tenth = max(1, order.size // 10)
    return float(np.mean(third[order[-tenth:]])) > float(np.mean(third[order[:tenth]]))


def _counting_time(header: str, n: int) -> npt.NDArray[np.float64] | None:
    match = _TIME.search(header)
    if not match:
        return None
    seconds = float(match.group(1).replace(",", "."))
    seconds *= {"ms": 1e-3, "min": 60.0}.get((match.group("unit") or "s").lower(), 1.0)
    return np.full(n, seconds) if seconds > 0.0 else None


def _start_step_end(lines: list[str]) -> _Table | None:
    """The layout of DBWS and FullProf: a line with start, step and end, then intensities alone."""
    for at, line in enumerate(lines[:8]):
        head = line.split()[:3]
        try:
            start, step, end = (float(token) for token in head)
        except ValueError:
            continue
        if not (step > 0.0 and end > start and 20 <= (n := round((end - start) / step) + 1) <= 2_000_000):
            continue
        values: list[float] = []
        for following in lines[at + 1 :]:
            try:
                values.extend(float(token) for token in following.replace(",", " ").split())
            except ValueError:
                break
        if len(values) in (n, n - 1, n + 1):
            x = start + step * np.arange(len(values), dtype=np.float64)
            return _Table(
                np.stack([x, np.array(values)], axis=1),
                header=[other for other in lines[: at + 1] if other.strip()],
                notes=["angles from the first line: start, step, end"],
            )
        return None
    return None
