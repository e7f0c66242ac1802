"""Two grids half a step apart: what is counted again is counted between the points of before.

A repeat at the same angles adds counts; one between them adds as many, and halves the step. So a first look
may be coarse: what matters is counted again anyhow, and lines too narrow for the first grid are seen by the
second.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Window = tuple[float, float]


@dataclass(eq=False)
class Interleaving:
    """What was counted of one sample on each of two grids: (windows in degrees, seconds a point)."""

    counted: tuple[list[tuple[tuple[Window, ...], float]], list[tuple[tuple[Window, ...], float]]] = field(
        default_factory=lambda: ([], [])
    )

    def turn(self, windows: tuple[Window, ...]) -> int:
        """The grid with less counting inside windows: 0 the first one (also of equal ones), 1 the one half a
        step above."""
        first, second = (_spent(before, windows) for before in self.counted)
        return int(second < first)

    def add(self, turn: int, windows: tuple[Window, ...], seconds: float) -> None:
        """Windows were counted on grid `turn`, `seconds` a point."""
        self.counted[turn].append((windows, seconds))


def _spent(before: list[tuple[tuple[Window, ...], float]], windows: tuple[Window, ...]) -> float:
    """Seconds times degrees that were counted inside windows."""
    return sum(
        seconds * max(0.0, min(high, b) - max(low, a))
        for counted, seconds in before
        for a, b in counted
        for low, high in windows
    )
