"""What `tests/bench/adaptive.py` does beside measuring: its folder of rows, and what is told of a sample."""

from __future__ import annotations

from pathlib import Path

import pytest

from eg_agent.errors import BadInput
from simulators.crystal_source import found_group
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


def test_random_crystals_have_the_groups_of_the_real_ones_and_nothing_else_of_them(structures: Path) -> None:
    real, more = draw(structures, 3, 2, 7, kind="databases")
    made, further = draw(structures, 3, 2, 7, kind="random")
    assert [one.crystal.space_group for one in made + further] == [
        one.crystal.space_group for one in real + more
    ]
    for one, other in zip(made, real, strict=True):
        assert found_group(one.crystal) == one.crystal.group
        assert one.crystal.formula != other.crystal.formula
        assert 2.0 <= one.sample().rate.peak_rate <= 2000.0
    assert draw(structures, 3, 2, 7, kind="random")[0][2].crystal.cell == made[2].crystal.cell
