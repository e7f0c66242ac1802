"""Contact sheets: one panel an answer, more sheets when there are many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from eg_agent.errors import BadInput
from eg_agent.view import contact, contact_sheet


def test_a_panel_for_each_answer(fitted, network_only, ugly, refused, make_refused, tmp_path: Path) -> None:
    answers = [fitted, network_only, ugly, refused, make_refused(np.array([]))]
    figure = contact.draw_sheet(answers)
    assert len(figure.axes) == 5
    said = [[t.get_text() for t in axes.texts] for axes in figure.axes]
    assert said[0] == ["barite.xye", "identified", "P n a −  (17)  92 %"]
    assert "undecided" in said[1]
    assert "I a − d  (93)  >99.9 %" in said[2]
    assert any(text.startswith("12 intensities") for text in said[3])
    assert "nothing to draw" in said[4]
    heading = figure.texts[0].get_text()
    assert heading == "1 identified   1 undecided   1 no confident match   2 refused"
    assert contact_sheet(answers, tmp_path / "sheet.png") == (tmp_path / "sheet.png",)
    assert imread(tmp_path / "sheet.png").shape[1] == round(3 * 3.5 * 110)


@pytest.mark.parametrize("count", [1, 2, 13])
def test_panels_lie_inside_and_apart(refused, count: int) -> None:
    figure = contact.draw_sheet([refused] * count)
    boxes = [axes.get_position() for axes in figure.axes]
    assert len(boxes) == count
    for i, a in enumerate(boxes):
        assert a.x0 > 0
        assert a.x1 < 1
        assert a.y0 > 0
        assert a.y1 < 1
        assert not any(a.overlaps(b) for b in boxes[:i])


def test_many_answers_make_several_sheets(make_refused, tmp_path: Path) -> None:
    answer = make_refused(np.array([]))
    paths = contact_sheet([answer] * (contact.PER_SHEET + 1), tmp_path / "all.png")
    assert [p.name for p in paths] == ["all.png", "all-2.png"]
    assert all(p.is_file() for p in paths)


def test_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing to draw"):
        contact_sheet([], tmp_path / "none.png")
    assert not list(tmp_path.iterdir())
