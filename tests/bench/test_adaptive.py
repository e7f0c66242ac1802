"""What `tests/bench/adaptive.py` does beside measuring: its folder of rows, and what is told of a sample."""

from __future__ import annotations

from pathlib import Path

import pytest

from eg_agent.errors import BadInput
from tests.bench.adaptive import own_folder
from trainer.benchmark.counted_samples import Drawn, draw


def test_rows_of_other_settings_are_not_mixed(tmp_path: Path) -> None:
    about = {"seed": 7, "told": "nothing"}
    own_folder(tmp_path, about)
    own_folder(tmp_path, dict(about))
    with pytest.raises(BadInput, match="other settings"):
        own_folder(tmp_path, about | {"told": "elements"})
    own_folder(tmp_path, about)


def test_the_sample_table_tells_no_more_than_it_is_asked_to(structures: Path) -> None:
    made: list[Drawn] = [
        draw(structures, 1, 0, 7, told=told)[0][0] for told in ("nothing", "elements", "amounts")
    ]
    nothing, elements, amounts = (one.sample() for one in made)
    assert nothing.composition is None
    assert elements.composition is not None
    assert amounts.composition is not None
    assert not elements.composition.exact
    assert amounts.composition.exact
    assert elements.composition == amounts.composition.without_amounts()
    assert nothing.cell == elements.cell == amounts.cell
    assert nothing.rate.peak_rate == amounts.rate.peak_rate
