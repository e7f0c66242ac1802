"""Rows of numbered samples, one JSON line each: what a stopped study has is not made again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eg_agent.errors import BadInput


def numbered_rows(
    out: Path,
    count: int,
    prepare: Callable[[], Callable[[int], dict[str, Any]]],
    *,
    minutes: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    check: Callable[[dict[str, Any]], None] = lambda entry: None,
) -> list[dict[str, Any]]:
    """Entries of samples 0 to count - 1, each with its "index"; OUT/rows.jsonl keeps them.

    prepare: called once, when there is anything to make; gives what makes an entry of a number. A sample is
    one line, so that an interruption leaves no half of it behind. minutes: after which it stops.
    check: raises BadInput for an entry of OUT that is of no use, before anything is made.
    Raises BadInput for a folder that cannot be used.
    """
    path = out / "rows.jsonl"
    try:
        out.mkdir(parents=True, exist_ok=True)
        known = path.read_text("utf-8").splitlines() if path.is_file() else []
        entries = [json.loads(line) for line in known if line.endswith("}")]
    except (OSError, json.JSONDecodeError) as error:
        raise BadInput(f"{out} cannot be used ({error}): give another --out.") from None
    for entry in entries:
        check(entry)
    done = {entry["index"] for entry in entries}
    missing = [index for index in range(count) if index not in done]
    if not missing:
        return entries
    started = time.monotonic()
    make = prepare()
    with path.open("a", encoding="utf-8") as file:
        for index in missing:
            entries.append({"index": index} | make(index))
            file.write(json.dumps(entries[-1]) + "\n")
            file.flush()
            if progress is not None:
                progress(len(entries), count)
            if minutes is not None and time.monotonic() - started > 60.0 * minutes:
                break
    return entries
