"""Known structures as peak lists, searched by the similarity of their patterns.

`Library.load` reads a file that `eg-train library` wrote; `library.search(pattern)` gives `Matches`,
`library.log_scores(pattern)` what they say of the 99 groups, `candidate_cells(matches)` cells to start a
fit from, and `novelty` whether a compound is unseen. Importing this loads no numba: it comes with the
first use.
"""

from typing import TYPE_CHECKING, Any

from eg_agent.library.expert import Expert
from eg_agent.library.file import Entries
from eg_agent.library.match import Lookup, Match

if TYPE_CHECKING:
    from eg_agent.library.candidates import CandidateCell, candidate_cells
    from eg_agent.library.library import Library, Matches
    from eg_agent.library.target import FINE
    from eg_agent.library.unseen import Novelty, novelty

__all__ = [
    "FINE",
    "CandidateCell",
    "Entries",
    "Expert",
    "Library",
    "Lookup",
    "Match",
    "Matches",
    "Novelty",
    "candidate_cells",
    "novelty",
]

_HOMES = {
    "library": ("Library", "Matches"),
    "unseen": ("Novelty", "novelty"),
    "candidates": ("CandidateCell", "candidate_cells"),
    "target": ("FINE",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(f"eg_agent.library.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
