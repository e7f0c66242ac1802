"""The benchmark's pictures: what is drawn is what was given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from eg_agent.errors import BadInput
from eg_agent.symmetry import group
from eg_agent.view import error_flow, plot_error_flow, plot_reliability, reliability
from eg_agent.view.style import minus


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are written, as they are written."""
    figures: list[Figure] = []
    for module in (error_flow, reliability):
        save = module.save

        def keep(figure: Figure, path: Path, save=save) -> Path:
            figures.append(figure)
            return save(figure, path)

        monkeypatch.setattr(module, "save", keep)
    return figures


def test_the_reliability_diagram(tmp_path: Path, drawn: list[Figure]) -> None:
    confidence, accuracy = [0.2, 0.5, 0.9], [0.25, 0.4, 0.8]
    path = plot_reliability(
        tmp_path / "r.png",
        confidence,
        accuracy,
        [0.1, 0.3, 0.7],
        [0.4, 0.5, 0.9],
        ece=0.0834,
        expected=(0.02, 0.05),
    )
    assert path.read_bytes()[:4] == b"\x89PNG"
    axes = drawn[0].axes[0]
    curve = max(axes.lines, key=lambda line: len(line.get_xdata()))
    np.testing.assert_allclose(curve.get_xydata(), np.column_stack([confidence, accuracy]))
    ends = [segment[:, 1].tolist() for segment in axes.collections[0].get_segments()]
    assert ends == [[0.1, 0.4], [0.3, 0.5], [0.7, 0.9]]
    assert any("0.083" in text.get_text() and "0.020 to 0.050" in text.get_text() for text in axes.texts)
    assert axes.get_xlim() == axes.get_ylim() == (0, 1)


def test_the_error_flow_names_the_commonest_confusions(tmp_path: Path, drawn: list[Figure]) -> None:
    flow = np.zeros((99, 99))
    flow[96, 4] = 9  # down, to lower symmetry
    flow[1, 60] = 5  # up
    flow[40, 41] = 1  # one too many to be shown
    plot_error_flow(tmp_path / "e.png", flow, [0.0, 0.6, 0.4], [0.0, 0.2, 0.8], shown=2)
    graph, bars = drawn[0].axes
    named = {text.get_text() for text in graph.texts}
    for number in (97, 5, 2, 61):
        assert minus(group(number).symbol) in named
    assert minus(group(41).symbol) not in named
    heights = [bar.get_height() for bar in bars.patches]
    assert heights == pytest.approx([0, 60, 40, 0, 20, 80])
    assert bars.get_ylim()[1] > 80


def test_no_error_at_all_can_be_drawn(tmp_path: Path, drawn: list[Figure]) -> None:
    plot_error_flow(tmp_path / "e.png", np.zeros((99, 99)), [0.0], [0.0])
    assert (tmp_path / "e.png").stat().st_size > 1000


def test_every_group_has_a_place_of_its_own() -> None:
    place = error_flow._positions()
    assert len({tuple(row) for row in place.tolist()}) == 99
    for number in range(1, 100):
        assert error_flow.SYSTEMS[::-1][int(place[number - 1, 1])] == group(number).crystal_system


def test_an_impossible_path_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="end the name in"):
        plot_reliability(tmp_path / "r.txt", [], [], [], [], ece=0.0, expected=(0.0, 0.0))
