"""Same lattice or not, against spglib's Niggli reduction and changes of basis."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
import spglib
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.errors import BadInput
from trainer.benchmark.cells import centring_of, metric, niggli, same_lattice

QUARTZ = (4.913, 4.913, 5.405, 90.0, 90.0, 120.0)


def _basis(cell: tuple[float, ...]) -> np.ndarray:
    return np.array(gemmi.UnitCell(*cell).orth.mat.tolist()).T


@pytest.mark.parametrize(
    ("cell", "centring"),
    [
        ((5.64, 5.64, 5.64, 90, 90, 90), "F"),
        ((3.565, 3.565, 3.565, 90, 90, 90), "I"),
        ((6.284, 15.2, 6.523, 90, 127.41, 90), "C"),
        ((4.99, 4.99, 17.06, 90, 90, 120), "R"),
        ((7.1, 7.85, 5.57, 90, 101.1, 106), "P"),
    ],
)
def test_niggli_agrees_with_spglib(cell: tuple[float, ...], centring: str) -> None:
    primitive = {
        "P": np.eye(3),
        "F": np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
        "I": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
        "C": np.array([[0.5, -0.5, 0], [0.5, 0.5, 0], [0, 0, 1]]),
        "R": np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3,
    }[centring]
    reduced = spglib.niggli_reduce(primitive @ _basis(cell))
    lengths = np.linalg.norm(reduced, axis=1)
    found = niggli(tuple(map(float, cell)), centring)
    np.testing.assert_allclose(found[:3], lengths, rtol=1e-4)
    np.testing.assert_allclose(np.linalg.det(metric(found)), np.linalg.det(reduced @ reduced.T), rtol=1e-6)


def test_settings_of_one_lattice_agree() -> None:
    halite = (5.64, 5.64, 5.64, 90.0, 90.0, 90.0)
    primitive = (5.64 / np.sqrt(2),) * 3 + (60.0,) * 3
    assert same_lattice(primitive, "P", halite, "F")
    gypsum = (6.284, 15.2, 6.523, 90.0, 127.41, 90.0)
    # (a + b)/2 is (b' - c')/2 in a' = a + c, c' = -a, and (a' + b' + c')/2 in a' = a + c, c' = -c.
    for change, centring in (
        (([1, 0, 1], [0, 1, 0], [-1, 0, 0]), "A"),
        (([1, 0, 1], [0, 1, 0], [0, 0, -1]), "I"),
    ):
        tensor = np.array(change) @ metric(gypsum) @ np.array(change).T
        lengths = np.sqrt(np.diag(tensor))
        beta = float(np.degrees(np.arccos(tensor[0, 2] / (lengths[0] * lengths[2]))))
        other = (*lengths.tolist(), 90.0, beta, 90.0)
        assert same_lattice(other, centring, gypsum, "C")
        assert not same_lattice(other, "C", gypsum, "C")


def test_supercells_and_subcells_are_not_the_same() -> None:
    a, _, c, *_ = QUARTZ
    assert same_lattice(QUARTZ, "P", QUARTZ, "P")
    assert not same_lattice((a, a, 2 * c, 90, 90, 120), "P", QUARTZ, "P")
    assert not same_lattice((a, a, c / 2, 90, 90, 120), "P", QUARTZ, "P")
    assert not same_lattice((5.64, 5.64, 5.64, 90, 90, 90), "P", (5.64, 5.64, 5.64, 90, 90, 90), "F")


def test_tolerances() -> None:
    a, _, c, *_ = QUARTZ
    assert same_lattice((a * 1.009, a * 1.009, c * 1.009, 90, 90, 120), "P", QUARTZ, "P")
    assert not same_lattice((a * 1.016, a * 1.016, c * 0.99, 90, 90, 120), "P", QUARTZ, "P")  # length
    assert not same_lattice((a * 1.012, a * 1.012, c * 1.012, 90, 90, 120), "P", QUARTZ, "P")  # volume
    monoclinic = (5.0, 6.0, 7.0, 90.0, 100.0, 90.0)
    assert same_lattice((5.0, 6.0, 7.0, 90.0, 100.9, 90.0), "P", monoclinic, "P")
    assert not same_lattice((5.0, 6.0, 7.0, 90.0, 101.2, 90.0), "P", monoclinic, "P")


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.floats(3, 20)] * 3, *[st.floats(75, 110)] * 3),
    st.lists(st.sampled_from([(0, 1, 1), (1, 2, -1), (2, 0, 1), (0, 2, -1)]), max_size=4),
    st.integers(0, 2**31),
)
def test_any_basis_of_a_lattice_is_the_same_even_with_small_errors(
    cell: tuple[float, ...], steps: list[tuple[int, int, int]], seed: int
) -> None:
    change = np.eye(3)
    for to, source, sign in steps:
        change[to] += sign * change[source]
    noisy = np.array(cell) * (1 + 1e-4 * np.random.default_rng(seed).normal(size=6))
    tensor = change @ metric(noisy) @ change.T
    lengths = np.sqrt(np.diag(tensor))
    angles = [
        np.degrees(np.arccos(tensor[i, j] / (lengths[i] * lengths[j]))) for i, j in ((1, 2), (0, 2), (0, 1))
    ]
    assert same_lattice((*lengths, *angles), "P", cell, "P")


def test_centring_and_impossible_cells() -> None:
    assert [centring_of(n) for n in (1, 15, 62, 167, 225, 229)] == list("PCPRFI")
    with pytest.raises(BadInput, match="does not exist"):
        centring_of(231)
    with pytest.raises(BadInput, match="no volume"):
        niggli((5.0, 5.0, 5.0, 20.0, 20.0, 120.0))
