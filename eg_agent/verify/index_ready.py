"""The search's kernels compiled before the clock of a time limit runs.

numba compiles them once for a machine, at their first use: some 20 s in which a limit of ten would pass, and
the first pattern of a new installation would be said to have no cell.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from eg_agent.compiling import is_compiled
from eg_agent.verify.index_refine import refine
from eg_agent.verify.index_screen import screen
from eg_agent.verify.index_search import Observed, search_lattice
from eg_agent.verify.index_triclinic import screen_axes


@cache
def ready() -> None:
    """Compile what is not compiled yet, by a first look at the lines of a cube; else nothing."""
    if all(is_compiled(kernel) for kernel in (refine, screen, screen_axes)):
        return
    q = np.array([1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 16, 17, 18, 19, 20], dtype=np.float64) / 25.0
    error = np.full(q.size, 1e-4)
    cube = Observed(q, 0.01 * q, error, error, np.full(q.size, 0.05), 0.02)
    for lattice in ("cP", "aP"):
        search_lattice(cube, lattice, 0.0, deadline=0.0)
