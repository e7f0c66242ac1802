"""The picture of a fit, and what single candidates predict, against gemmi's absences."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
import pytest

from eg_agent.errors import BadInput
from eg_agent.patterns import Pattern, Radiation
from eg_agent.symmetry import settings
from eg_agent.symmetry.operators import GRID, from_gemmi
from eg_agent.symmetry.space_groups import space_groups_of
from eg_agent.verify import verify
from eg_agent.verify.predicted import contrast, predict
from eg_agent.verify.verifier import Weighed, weigh
from eg_agent.view.fit import CloseUp, ShownCandidate, draw_fit, odds_in_words, plot_fit

CELL = (5.2, 6.1, 5.6, 90.0, 101.0, 90.0)


@pytest.fixture(scope="module")
def pattern() -> Pattern:
    """Lines of P 1 21/c 1 at random heights."""
    rng = np.random.default_rng(4)
    unit = gemmi.UnitCell(*CELL)
    d = unit.calculate_d_array(gemmi.make_miller_array(unit, gemmi.SpaceGroup("P 1 21/c 1"), 1.4))
    x = np.arange(12.0, 65.0, 0.03)
    at = 2 * np.degrees(np.arcsin(0.5 * 1.540593 / d))
    y = np.exp(-4 * np.log(2) * ((x[:, None] - at) / 0.12) ** 2) @ rng.exponential(size=d.size)
    counts = rng.poisson(2e4 * (y / y.max() + 0.01)).astype(float)
    return Pattern(x, counts, Radiation(1.540593), raw_counts=True)


@pytest.fixture(scope="module")
def weighed(pattern: Pattern) -> Weighed:
    return weigh(pattern, CELL)


def index_of(weighed: Weighed, symbol: str) -> int:
    return next(i for i, c in enumerate(weighed.candidates) if c.setting.symbol == symbol)


def shown(pattern: Pattern, weighed: Weighed, *symbols: str) -> list[ShownCandidate]:
    found = []
    for symbol in symbols:
        i = index_of(weighed, symbol)
        found.append(
            ShownCandidate(
                predicted=predict(pattern, weighed, weighed.candidates[i]),
                lines=weighed.likelihood.two_theta,
                allowed=weighed.candidates[i].allowed > 0,
                log_evidence=float(weighed.scores.log_evidence[i]),
                probability=0.5,
                fused=None,
                space_groups="P 1",
            )
        )
    return found


def test_forbidding_a_true_line_makes_the_fit_worse(pattern: Pattern, weighed: Weighed) -> None:
    right, none, wrong = (
        predict(pattern, weighed, weighed.candidates[index_of(weighed, s)])
        for s in ("P 1 21/c 1", "P 1 - 1", "C 1 - 1")
    )
    assert right.rwp == pytest.approx(none.rwp, rel=0.05)
    assert wrong.rwp > 2 * right.rwp
    assert not right.intensity[right.candidate.allowed == 0].any()


def test_two_candidates_differ_where_gemmi_says(pattern: Pattern, weighed: Weighed) -> None:
    first, second = index_of(weighed, "P 1 21/c 1"), index_of(weighed, "P 1 - 1")
    found = contrast(pattern, weighed, first, second, 5)
    assert found
    absent = gemmi.SpaceGroup("P 1 21/c 1").operations().is_systematically_absent
    for place in found:
        assert place.absent_in == "first"
        assert absent(list(place.hkl))
        d = gemmi.UnitCell(*CELL).calculate_d(list(place.hkl))
        at = 2 * np.degrees(np.arcsin(0.5 * 1.540593 / d))
        assert place.two_theta == pytest.approx(at, abs=0.05)
    assert sum(place.log_odds for place in found) > 0
    back = contrast(pattern, weighed, second, first, 5)
    assert [p.log_odds for p in back] == pytest.approx([-p.log_odds for p in found])


def test_equal_absences_leave_nothing_to_show(pattern: Pattern, weighed: Weighed) -> None:
    i = index_of(weighed, "P 1 21/c 1")
    assert contrast(pattern, weighed, i, i) == ()


@pytest.mark.parametrize("number", [4, 17, 33, 68, 76, 86])
def test_space_groups_are_in_the_axes_of_the_symbol(number: int) -> None:
    for setting in settings(number):
        found = space_groups_of(setting)
        assert found
        for entry in found:
            group = gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(entry.hall))
            assert group is not None
            assert group.number == entry.number
            absent = from_gemmi(group.operations()).absent(GRID)
            assert np.array_equal(absent, setting.absent(GRID))
            moved = gemmi.get_spacegroup_reference_setting(entry.number).operations()
            moved.change_basis_forward(gemmi.Op(entry.transformation))
            assert {op.wrap() for op in moved} == {op.wrap() for op in group.operations()}


def test_picture_of_a_fit(pattern: Pattern, weighed: Weighed, tmp_path: Path) -> None:
    evidence = verify(pattern, CELL)
    candidates = shown(pattern, weighed, "P 1 21/c 1", "P 1 - 1", "C 1 - 1")
    first = index_of(weighed, "P 1 21/c 1")
    places = contrast(pattern, weighed, first, index_of(weighed, "C 1 - 1"), 3)
    close = [CloseUp(place, 2, 0.12) for place in places]
    path = plot_fit(pattern, evidence, candidates, close, tmp_path / "fit.png", name="a $name$")
    assert path.stat().st_size > 30_000
    figure = draw_fit(pattern, evidence, candidates, close)
    texts = [t.get_text() for axes in figure.axes for t in axes.texts]
    assert any("absent in" in text for text in texts)
    assert any("to 1 for" in text for text in texts)
    assert len(figure.axes) == 3 + len(close)


def test_picture_without_a_fit(pattern: Pattern, tmp_path: Path) -> None:
    evidence = verify(pattern, (8.9, 8.9, 8.9, 90, 90, 90))
    assert evidence.status == "not fitted"
    assert plot_fit(pattern, evidence, [], [], tmp_path / "fit.pdf").stat().st_size > 5_000
    with pytest.raises(BadInput, match="make it first"):
        plot_fit(pattern, evidence, [], [], tmp_path / "no" / "fit.png")


@pytest.mark.parametrize(
    ("nats", "words"),
    [(0.0, "1.0 to 1"), (1.0, "2.7 to 1"), (-2.5, "12 to 1"), (7.0, "1,100 to 1"), (99.0, "over a million")],
)
def test_odds_in_words(nats: float, words: str) -> None:
    assert odds_in_words(nats).startswith(words)
