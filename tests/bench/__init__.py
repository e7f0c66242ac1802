"""Benchmarks of speed: each `bench_<part>.py` here offers `rows()`, and `python -m tests.bench` prints all.

A row is a mapping with the keys below or a `Row`:
- name: what was timed, e.g. "network, one pattern, warm".
- value: the median of several repetitions.
- unit: of the value, e.g. "ms", "patterns/s".
- bound: what it has to stay below (or above, for a rate), or None.
- reference: the same done another way (another library, a plain loop), in the same unit, or None.
Units that end in "/s" are rates: more is better.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; see the package's docstring."""

    name: str
    value: float
    unit: str
    bound: float | None = None
    reference: float | None = None

    @property
    def is_rate(self) -> bool:
        """Whether more is better."""
        return self.unit.endswith("/s")

    @property
    def times_faster(self) -> float | None:
        """How many times faster than the reference, where there is one."""
        if self.reference is None or not self.value:
            return None
        return self.value / self.reference if self.is_rate else self.reference / self.value

    @property
    def share_of_bound(self) -> float | None:
        """Below 1: the bound is kept."""
        if self.bound is None or not self.value:
            return None
        return self.bound / self.value if self.is_rate else self.value / self.bound
