"""Write tables.json from symmetry operators: `python -m eg_agent.symmetry.generate`.

A test derives the tables again and compares, so the file cannot drift from the code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eg_agent.symmetry.codes import derive_condition_code, derive_published_code
from eg_agent.symmetry.derive import (
    crystal_system,
    display_symbols,
    extinction_groups,
    settings_of_space_group,
)
from eg_agent.symmetry.subgroups import maximal_t_subgroups


def derive_tables() -> dict[str, Any]:
    """All tables as plain JSON types, in some ten seconds."""
    classes = extinction_groups()
    number_of = {sg: n for n, members in enumerate(classes, start=1) for sg in members}
    subgroups = [list(maximal_t_subgroups(number)) for number in range(1, 231)]
    groups = []
    for number, members in enumerate(classes, start=1):
        symbol, equivalent = display_symbols(members[0])
        children = {number_of[sub] for parent in members for sub in subgroups[parent - 1]} - {number}
        groups.append(
            {
                "number": number,
                "crystal_system": crystal_system(members[0]),
                "lattice": settings_of_space_group(members[0])[0].centring,
                "symbol": symbol,
                "equivalent_symbols": list(equivalent),
                "space_groups": list(members),
                "published_code": derive_published_code(members),
                "condition_code": derive_condition_code(members),
                "children": sorted(children),
            }
        )
    return {"groups": groups, "maximal_t_subgroups": subgroups}


def as_text(derived: dict[str, Any]) -> str:
    """JSON with one group a line, so that a change shows as a readable difference."""
    groups = ",\n".join(json.dumps(group) for group in derived["groups"])
    subgroups = ",\n".join(json.dumps(row) for row in derived["maximal_t_subgroups"])
    return f'{{"groups": [\n{groups}\n],\n"maximal_t_subgroups": [\n{subgroups}\n]}}\n'


if __name__ == "__main__":
    Path(__file__).with_name("tables.json").write_text(as_text(derive_tables()), encoding="utf-8")
