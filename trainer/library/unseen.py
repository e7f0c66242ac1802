"""Which compounds of a benchmark are unseen: the list that is published with a checkpoint's card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from eg_agent.errors import BadPattern
from eg_agent.library import Library, Novelty, novelty
from eg_agent.library.unseen import ANGLE_TOLERANCE, CELL_TOLERANCE, SIMILAR
from eg_agent.patterns import check
from trainer.benchmark.cells import centring_of
from trainer.benchmark.data import CELL_COLUMNS, Case, Folder

#: What the file says of itself.
KIND = "eg-agent unseen compounds"


def novelty_of_cases(
    library: Library,
    folder: Folder,
    cases: Sequence[Case],
    progress: Callable[[int, int], None] | None = None,
) -> list[Novelty | None]:
    """Novelty of each case against a library; None for a pattern that cannot be compared.

    Formula, name and cell are taken from the index where it has them. A reference cell will do: it needs
    no `known_cell`, which says that a cell was checked against the pattern.
    """
    rows = {row["id"]: row for row in folder.rows}
    found: list[Novelty | None] = []
    for case in cases:
        row = rows[case.id]
        texts = [(row.get(name) or "").strip() for name in CELL_COLUMNS]
        try:
            found.append(
                novelty(
                    library,
                    check(folder.pattern(case)),
                    formula=row.get("formula") or None,
                    name=row.get("name") or None,
                    cell=[float(text) for text in texts] if all(texts) else None,
                    centring=centring_of(case.space_group),
                )
            )
        except BadPattern:
            found.append(None)
        if progress is not None:
            progress(len(found), len(cases))
    return found


def document(
    library: Library, cases: Sequence[Case], found: Sequence[Novelty | None], *, against: str
) -> dict[str, Any]:
    """The list as JSON types: ids of unseen rows, how many are seen by which criterion, and every row.

    A compound is unseen only if all of its patterns are: the same compound cannot be both. against: what
    the library holds, in words.
    """
    seen = {c.compound for c, n in zip(cases, found, strict=True) if n is not None and not n.unseen}
    unseen = [
        c.id
        for c, n in zip(cases, found, strict=True)
        if n is not None and n.unseen and c.compound not in seen
    ]
    by = Counter(criterion for n in found if n is not None for criterion in n.seen_by)
    return {
        "kind": KIND,
        "against": against,
        "library_hash": library.hash,
        "structures": len(library),
        "criteria": {
            "formula": "the same reduced formula",
            "name": "the same name (minerals)",
            "cell": f"a Niggli cell within {CELL_TOLERANCE:.0%} in lengths and {ANGLE_TOLERANCE:g} degrees",
            "pattern": f"cosine of at least {SIMILAR:g} after scaling the cell",
        },
        "rows": len(cases),
        "compounds": len({c.compound for c in cases}),
        "unseen_rows": len(unseen),
        "unseen_compounds": len({c.compound for c in cases if c.id in set(unseen)}),
        "seen_by": dict(sorted(by.items())),
        "not_compared": [c.id for c, n in zip(cases, found, strict=True) if n is None],
        "unseen": unseen,
        "novelty": {c.id: asdict(n) for c, n in zip(cases, found, strict=True) if n is not None},
    }
