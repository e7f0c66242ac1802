"""Kernels are compiled before the clock of a time limit runs, in the form in which the search calls them."""

from __future__ import annotations

import numpy as np
import pytest

from eg_agent.verify import index_ready
from eg_agent.verify.index_refine import refine
from eg_agent.verify.index_screen import screen
from eg_agent.verify.index_search import Observed, search_lattice
from eg_agent.verify.index_triclinic import screen_axes


def test_what_is_made_ready_is_what_the_search_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_ready, "is_compiled", lambda kernel: False)
    index_ready.ready.cache_clear()
    index_ready.ready()
    q = np.array([1.0, 2.0, 4.0, 4.9, 5.0, 6.2, 8.0, 9.1, 9.8, 10.3, 11.7, 12.4]) / 30.0
    error = np.full(q.size, 2e-4)
    lines = Observed(q, 0.01 * q, error, error, np.full(q.size, 0.1), 0.03)
    for lattice in ("tI", "oP", "mC", "aP"):
        search_lattice(lines, lattice, 0.01, deadline=0.0)
    # numba would have made a second version for other types, within the time limit of a first search
    assert [len(kernel.signatures) for kernel in (refine, screen, screen_axes)] == [1, 1, 1]
