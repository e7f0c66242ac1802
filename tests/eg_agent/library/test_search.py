"""A structure that a library holds is found again: strained, noisy, with any wavelength and range."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.errors import BadInput, BadPattern
from eg_agent.library import FINE, Library
from eg_agent.library.target import above_floor, line_width
from eg_agent.patterns import Pattern, Radiation


def _places(library: Library, patterns: list[Pattern], rows: list[int]) -> np.ndarray:
    """[n] place (0: first) of each pattern's own structure, 99 where it is not in the first 50."""
    found = []
    for pattern, row in zip(patterns, rows, strict=True):
        place = np.flatnonzero(library.search(pattern).rows == row)
        found.append(int(place[0]) if len(place) else 99)
    return np.array(found)


def _isotropic(crystals, rng) -> list[float]:
    return list(1.0 + rng.uniform(-0.03, 0.03, size=len(crystals)))


def test_strained_and_noisy_structures_are_found(library, crystals, measured) -> None:
    rng = np.random.default_rng(1)
    patterns = [
        measured(c, scale=s, counts=10 ** rng.uniform(2.7, 4.5), intensity_error=0.3, seed=i)
        for i, (c, s) in enumerate(zip(crystals, _isotropic(crystals, rng), strict=True))
    ]
    place = _places(library, patterns, list(range(len(crystals))))
    assert (place < 5).mean() >= 0.95, place
    assert (place == 0).mean() >= 0.85, place


def test_each_axis_may_be_strained_by_itself(library, crystals, measured) -> None:
    rng = np.random.default_rng(2)
    chosen = [i for i, c in enumerate(crystals) if 16 <= c.space_group <= 74]
    patterns = [measured(crystals[i], strain=tuple(rng.uniform(-0.012, 0.012, 3)), seed=i) for i in chosen]
    place = _places(library, patterns, chosen)
    assert (place < 5).mean() >= 0.9, place


def test_the_scale_and_the_cell_are_those_of_the_sample(library, crystals, measured) -> None:
    quartz = next(i for i, c in enumerate(crystals) if "quartz" in c.name.lower())
    true = crystals[quartz].cell
    match = library.search(measured(crystals[quartz], strain=(0.015, 0.015, -0.005))).top(1)[0]
    assert match.row == quartz
    np.testing.assert_allclose(match.cell[0], true[0] * 1.015, rtol=1e-3)
    np.testing.assert_allclose(match.cell[2], true[2] * 0.995, rtol=1e-3)
    assert match.cell[1] == pytest.approx(match.cell[0], rel=1e-6)
    assert match.cell[5] == pytest.approx(120.0, abs=1e-4)
    np.testing.assert_allclose(match.scale, (1.015**2 * 0.995) ** (1 / 3), rtol=1e-3)
    assert match.similarity > 0.9


@pytest.mark.parametrize("wavelength", [0.41, 0.82, 1.7890, 2.2897])
def test_any_wavelength(library, crystals, measured, wavelength: float) -> None:
    top = 2.0 * np.degrees(np.arcsin(min(np.sin(np.radians(42.0)) * wavelength / 1.5406, 0.97)))
    chosen = list(range(0, len(crystals), 6))
    patterns = [
        measured(
            crystals[i], wavelength=wavelength, two_theta=(3.0 * wavelength, top),
            sigma=0.05 * wavelength, seed=i,
        )
        for i in chosen
    ]  # fmt: skip
    place = _places(library, patterns, chosen)
    assert (place < 5).mean() >= 0.8, place


def test_half_of_the_range_is_enough(library, crystals, measured) -> None:
    chosen = list(range(0, len(crystals), 4))
    patterns = [measured(crystals[i], two_theta=(20.0, 60.0), seed=i) for i in chosen]
    assert (_places(library, patterns, chosen) < 5).mean() >= 0.85


@settings(max_examples=15, deadline=None)
@given(factor=st.floats(1e-6, 1e9), index=st.integers(0, 40))
def test_the_intensity_scale_does_not_matter(library, crystals, measured, factor: float, index: int) -> None:
    pattern = measured(crystals[index])
    scaled = replace(pattern, intensity=pattern.intensity * factor, raw_counts=False)
    plain, other = library.search(pattern), library.search(scaled)
    np.testing.assert_array_equal(plain.rows[:10], other.rows[:10])
    np.testing.assert_allclose(plain.similarity, other.similarity, atol=1e-4)


def test_the_same_search_gives_the_same_answer(library, crystals, measured, tmp_path) -> None:
    pattern = measured(crystals[3])
    library.save(tmp_path / "library.npz")
    first, second = library.search(pattern), Library.load(tmp_path / "library.npz").search(pattern)
    np.testing.assert_array_equal(first.rows, second.rows)
    np.testing.assert_array_equal(first.similarity, second.similarity)
    np.testing.assert_array_equal(first.log_scores(), second.log_scores())


def test_a_smooth_background_is_taken_off(library, crystals, measured) -> None:
    chosen = list(range(0, len(crystals), 8))
    patterns = []
    for i in chosen:
        pattern = measured(crystals[i], background=10.0, seed=i)
        x = pattern.two_theta
        hump = 1500.0 * np.exp(-0.5 * ((x - 27.0) / 6.0) ** 2) + 4000.0 * np.exp(-(x - x[0]) / 6.0)
        noisy = np.random.default_rng(i).poisson(pattern.intensity + hump).astype(float)
        patterns.append(replace(pattern, intensity=noisy))
    assert (_places(library, patterns, chosen) < 5).mean() >= 0.85


def test_matches_are_ordered_and_consistent(library, crystals, measured) -> None:
    found = library.search(measured(crystals[0]), top=20)
    assert len(found) == 20
    assert (np.diff(found.similarity) <= 0).all()
    assert found.similarity.max() <= 1.0 + 1e-9
    best = found.top(3)
    assert [m.row for m in best] == found.rows[:3].tolist()
    assert found.by_group[best[0].group - 1] == found.best == best[0].similarity
    absent = library.group_sizes == 0
    assert (found.by_group[absent] == 0).all()


def test_log_scores_are_a_posterior_that_leaves_every_group_possible(library, crystals, measured) -> None:
    for i in (0, 5, 20):
        scores = library.log_scores(measured(crystals[i]))
        assert scores.shape == (99,)
        assert np.exp(scores).sum() == pytest.approx(1.0)
        assert scores.min() >= np.log(library.expert.misled / 99) - 1e-9
        assert int(np.argmax(scores)) + 1 == crystals[i].group


def test_what_cannot_be_searched_says_so(library, crystals, measured) -> None:
    pattern = measured(crystals[0])
    with pytest.raises(BadInput, match="neutrons"):
        library.search(replace(pattern, radiation=Radiation(1.54, kind="neutron")))
    with pytest.raises(BadPattern, match="4 degrees"):
        library.search(measured(crystals[0], two_theta=(30.0, 33.0)))
    with pytest.raises(BadPattern, match="peak"):
        library.search(replace(pattern, intensity=np.full(len(pattern), 7.0)))


def test_the_floor_leaves_peaks_and_takes_the_rest() -> None:
    x = FINE.two_theta
    peaks = sum(np.exp(-0.5 * ((x - at) / 0.1) ** 2) for at in (20.0, 30.5, 41.0, 60.0))
    slope = 3.0 * np.exp(-(x - 5.0) / 10.0) + 0.5
    rest = above_floor(peaks + slope, np.ones(x.size, dtype=bool))
    np.testing.assert_allclose(rest / rest.max(), peaks, atol=0.06)


@pytest.mark.parametrize("width", [0.12, 0.2, 0.4])
def test_the_width_of_lines_is_read_off(width: float) -> None:
    x = FINE.two_theta
    signal = sum(
        h * np.exp(-4 * np.log(2) * ((x - at) / width) ** 2) for at, h in ((20, 1), (33, 0.7), (47, 0.9))
    )
    assert line_width(np.asarray(signal)) == pytest.approx(width, rel=0.15)
