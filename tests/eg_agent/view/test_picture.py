"""Pictures: whole files, the right things in them, and readable text in ugly cases."""

from __future__ import annotations

import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from eg_agent.errors import BadInput
from eg_agent.view import panels, picture, plot_identification


def _texts(figure: Figure) -> list[Text]:
    """All text that is drawn; of tick labels those within the limits of their axis."""
    found = list(figure.texts)
    for axes in figure.axes:
        found += axes.texts
        legend = axes.get_legend()
        found += legend.get_texts() if legend else []
        if not axes.axison:
            continue
        found += [axes.title, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            found += [
                t.label1
                for t in axis.get_major_ticks()
                if low <= t.get_loc() <= high and t.label1.get_visible()
            ]
    return [text for text in found if text.get_text().strip()]


def _said(figure: Figure) -> str:
    return "\n".join(t.get_text() for t in _texts(figure))


def test_an_identified_pattern_is_told_in_full(fitted) -> None:
    said = _said(picture.draw(*fitted))
    for fact in ("barite.xye", "identified", "each reflection that it forbids", "Pna21, Pnma", "Rwp 8.7 %"):
        assert fact in said
    for fact in (
        "P n − a",
        "absent in it",
        "diff. / σ",
        "23.50 to 24.10°, 140 s",
        "92 %",
        "counts (√ scale)",
    ):
        assert fact in said
    assert r"$0\,3\,0$" in said
    assert "λ 1.5406, 1.5444 Å" in said
    assert "prior (mineral)" in said


def test_ticks_are_the_lines_of_the_leading_candidate(fitted) -> None:
    figure = picture.draw(*fitted)
    rows = [axes for axes in figure.axes if any("absent in it" in t.get_text() for t in axes.texts)]
    assert len(rows) == 1
    # 146 lines of Pnma and 32 that oP has besides, counted with gemmi for this cell up to 90 degrees.
    import gemmi

    cell = gemmi.UnitCell(8.478, 5.397, 6.958, 90, 90, 90)
    d_min = fitted[0].radiation.wavelength / (2 * np.sin(np.radians(45)))
    d_max = fitted[0].radiation.wavelength / (2 * np.sin(np.radians(2.5)))
    pnma = gemmi.make_miller_array(cell, gemmi.SpaceGroup("P n m a"), d_min, d_max)
    pmmm = gemmi.make_miller_array(cell, gemmi.SpaceGroup("P m m m"), d_min, d_max)
    drawn = [len(collection.get_paths()) for collection in rows[0].collections]
    assert drawn == [len(pnma), len(pmmm) - len(pnma)]


def test_without_a_cell_there_is_no_fit_and_one_series_of_bars(network_only) -> None:
    said = _said(picture.draw(*network_only))
    assert "undecided" in said
    assert "No cell was given" in said
    for absent in ("Pawley fit", "diff.", "evidence alone", "absent in it"):
        assert absent not in said
    assert "intensity (√ scale)" in said


def test_a_refused_pattern_is_drawn_with_the_reason(refused, make_refused) -> None:
    said = _said(picture.draw(*refused))
    assert "refused" in said
    assert "12 intensities are not numbers" in said
    assert "12 points are not numbers" in said
    assert r"broken_\$scan\$.dat" in said
    assert "no points to draw" in _said(picture.draw(*make_refused(np.array([]))))
    assert "no finite intensity" in _said(picture.draw(*make_refused(np.full(300, np.nan))))


@pytest.mark.parametrize(
    "intensity", [np.zeros(300), np.full(300, -5.0), np.full(300, 1e12), np.array([3.0])], ids=str
)
def test_degenerate_patterns(make_refused, tmp_path: Path, intensity: np.ndarray) -> None:
    assert plot_identification(*make_refused(intensity), tmp_path / "x.png").stat().st_size > 10_000


@pytest.mark.parametrize("case", ["fitted", "network_only", "ugly", "refused"])
def test_text_does_not_overlap_and_stays_inside(case: str, request: pytest.FixtureRequest) -> None:
    figure = picture.draw(*request.getfixturevalue(case))
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()
    renderer = canvas.get_renderer()
    width, height = canvas.get_width_height()
    boxes = []
    for text in _texts(figure):
        box = text.get_window_extent(renderer)
        boxes.append((text.get_text(), box))
        assert box.x0 >= 0, text.get_text()
        assert box.x1 <= width, text.get_text()
        assert box.y0 >= 0, text.get_text()
        assert box.y1 <= height, text.get_text()
    for (first, a), (second, b) in itertools.combinations(boxes, 2):
        overlap = (min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0))
        assert min(overlap) <= 1.0, (first, second)


def test_the_file_is_whole_and_nothing_else_is_left(fitted, tmp_path: Path) -> None:
    target = tmp_path / "answer.png"
    assert plot_identification(*fitted, target) == target
    assert imread(target).shape[2] == 4
    assert [p.name for p in tmp_path.iterdir()] == ["answer.png"]
    for suffix in (".pdf", ".svg"):
        plot_identification(*fitted, target.with_suffix(suffix))


def test_impossible_files(fitted, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"end the name in \.png"):
        plot_identification(*fitted, tmp_path / "answer.bmp2")
    with pytest.raises(BadInput, match="is not a folder"):
        plot_identification(*fitted, tmp_path / "none" / "answer.png")
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(BadInput, match="cannot write"):
        plot_identification(*fitted, tmp_path / "taken.png")
    assert [p.name for p in tmp_path.iterdir()] == ["taken.png"]


def test_evidence_of_other_settings_and_axes_does_not_stop_the_picture(fitted) -> None:
    pattern, identification = fitted
    evidence = identification.evidence
    for change in (
        {"lattice": "mP"},
        {"lattice": "tP"},
        {"cell": None},
        {"candidates": ()},
        {"fit": None},
        {"lattice": "mI", "cell": (8.478, 5.397, 6.958, 90.0, 101.0, 90.0)},
    ):
        picture.draw(pattern, replace(identification, evidence=replace(evidence, **change)))


def test_groups_shown_hold_each_sources_favourite(fitted) -> None:
    _, identification = fitted
    odd = np.full(99, -9.0)
    odd[97] = 0.0
    shown = panels.groups_to_show(replace(identification, evidence_only=odd - np.logaddexp.reduce(odd)))
    assert shown[0] == 17
    assert 98 in shown
    assert len(shown) == len(set(shown)) == 6


def test_probabilities_that_are_missing_count_as_zero(fitted) -> None:
    pattern, identification = fitted
    holes = np.where(np.arange(99) < 40, identification.log_probability, np.nan)
    picture.draw(pattern, replace(identification, log_probability=holes))


@pytest.mark.slow
def test_pictures_in_threads_and_without_pyplot(fitted, network_only, tmp_path: Path) -> None:
    jobs = [(answer, tmp_path / f"{i}.png") for i, answer in enumerate([fitted, network_only] * 2)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda job: plot_identification(*job[0], job[1]), jobs))
    np.testing.assert_array_equal(imread(tmp_path / "0.png"), imread(tmp_path / "2.png"))
    program = (
        "import sys, eg_agent.view as v; assert 'matplotlib' not in sys.modules; v.plot_identification; "
        "v.contact_sheet; assert 'matplotlib.pyplot' not in sys.modules; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
