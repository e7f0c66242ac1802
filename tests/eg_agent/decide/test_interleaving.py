"""Which of two grids is next: the one with less counting where it matters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eg_agent.decide import Interleaving

WINDOW = st.tuples(st.floats(5.0, 80.0), st.floats(0.1, 10.0)).map(lambda at: (at[0], at[0] + at[1]))


@given(windows=st.lists(WINDOW, min_size=1, max_size=5).map(tuple), seconds=st.floats(0.01, 100.0))
def test_the_same_again_takes_turns(windows: tuple[tuple[float, float], ...], seconds: float) -> None:
    grids = Interleaving()
    taken = []
    for _ in range(4):
        taken.append(grids.turn(windows))
        grids.add(taken[-1], windows, seconds)
    assert taken == [0, 1, 0, 1]


def test_what_was_counted_longer_is_made_up_for() -> None:
    grids = Interleaving()
    grids.add(0, ((10.0, 20.0),), 8.0)
    for _ in range(3):
        assert grids.turn(((12.0, 13.0),)) == 1
        grids.add(1, ((12.0, 13.0),), 2.0)
    # elsewhere of it nothing was, and outside neither was
    assert grids.turn(((15.0, 16.0),)) == 1
    assert grids.turn(((30.0, 40.0),)) == 0
    # 8 of these 10 degrees are still behind on the second grid, two are no more counted on either
    assert grids.turn(((12.0, 22.0),)) == 1
