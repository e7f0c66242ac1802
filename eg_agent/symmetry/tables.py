"""The generated tables of the 99 groups (tables.json, written by `eg_agent.symmetry.generate`)."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def tables() -> dict[str, Any]:
    """Keys: `groups` (99 objects in order) and `maximal_t_subgroups` ([230] lists of space groups)."""
    return json.loads(files("eg_agent.symmetry").joinpath("tables.json").read_text(encoding="utf-8"))
