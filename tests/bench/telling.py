"""What benchmarks that are scripts of their own share: what they are asked on the command line, and say."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping
from typing import Any


def shard(text: str) -> tuple[int, int]:
    """I/N: the I-th of N shares of the rows, from 1; a type for argparse."""
    try:
        part, parts = (int(number) for number in text.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: give I/N, as in 1/2") from None
    if not 1 <= part <= parts:
        raise argparse.ArgumentTypeError(f"{text!r}: the first of N shares is 1/N, the last N/N")
    return part, parts


def some(text: str) -> int:
    """A number of rows, at least 1; a type for argparse."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows: give 1 or more")
    return int(text)


def positive(text: str) -> float:
    """A finite number above 0; a type for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number above 0")
    return value


def tell(result: Mapping[str, Any], *, as_json: bool, width: int = 26) -> None:
    """Print a result: one JSON object, or a line for each of its figures."""
    if as_json:
        sys.stdout.write(json.dumps(result, indent=1) + "\n")
        return
    for name, value in result.items():
        sys.stdout.write(f"{name:{width}s} {value}\n")
