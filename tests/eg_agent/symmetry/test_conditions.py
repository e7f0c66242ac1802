"""Conditions in words: read back, they give the absences again; a few against International Tables."""

from __future__ import annotations

import re

import numpy as np
import pytest

from eg_agent import symmetry
from eg_agent.symmetry import Setting
from eg_agent.symmetry.derive import settings_of_space_group
from eg_agent.symmetry.operators import GRID

ALL_SETTINGS = [s for group in symmetry.groups() for s in symmetry.settings(group.number)]
H, K, L = GRID.T


def _zone(name: str) -> np.ndarray:
    """Indices of a zone by its name, e.g. "hh-2hl": the third hexagonal index is i = -h-k."""
    tokens = re.findall(r"-?2?[hkl]|0", name)
    if len(tokens) == 4:
        assert tokens[2] in ("0", "-2h")
        tokens.pop(2)
    free: dict[str, np.ndarray] = {}
    keep = np.ones(len(GRID), dtype=bool)
    for token, index in zip(tokens, (H, K, L)):
        if token == "0":
            keep &= index == 0
            continue
        sign, letter = (-1 if token.startswith("-") else 1), token[-1]
        keep &= index == sign * free.setdefault(letter, index)
    return keep


def _value(form: str) -> np.ndarray:
    total = np.zeros(len(GRID), dtype=int)
    for sign, factor, letter in re.findall(r"([+-]?)(\d?)([hkl])", form):
        total += (-1 if sign == "-" else 1) * int(factor or 1) * dict(zip("hkl", (H, K, L)))[letter]
    return total


def _forbidden(words: tuple[str, ...], point_group: np.ndarray) -> np.ndarray:
    broken = np.zeros(len(GRID), dtype=bool)
    for sentence in words:
        zone, said = sentence.split(": ")
        for part in said.split("; "):
            forms, modulus = part.removesuffix("n").split("=")
            for form in forms.split(", "):
                broken |= _zone(zone) & (_value(form) % int(modulus) != 0)
    known = {tuple(h) for h in GRID[broken].tolist()}
    spread = np.zeros(len(GRID), dtype=bool)
    for rotation in point_group:
        spread |= np.array([tuple(h) in known for h in (GRID @ rotation).tolist()])
    return spread


@pytest.mark.parametrize("number", range(1, 100))
def test_words_say_all_absences_and_no_more(number: int) -> None:
    first = symmetry.group(number).space_groups[0]
    for setting, derived in zip(symmetry.settings(number), settings_of_space_group(first)):
        said = _forbidden(setting.conditions(), derived.operators.point_group)
        inside = np.abs(GRID).max(axis=1) <= 3  # images of larger indices leave the grid (hexagonal)
        np.testing.assert_array_equal(said[inside], setting.absent(GRID)[inside], err_msg=setting.symbol)


@pytest.mark.parametrize(
    ("space_group", "words"),
    [
        ("P n m a", {"0kl: k+l=2n", "hk0: h=2n"}),
        ("P 1 21/n 1", {"h0l: h+l=2n", "0k0: k=2n"}),
        ("C 1 2/c 1", {"hkl: h+k=2n", "h0l: l=2n"}),
        ("I 41/a m d:2", {"hkl: h+k+l=2n", "hk0: h, k=2n", "hhl: 2h+l=4n"}),
        ("R -3 c:H", {"hkl: -h+k+l=3n", "h-h0l: l=2n"}),
        ("P 63/m m c", {"hh-2hl: l=2n"}),
        ("P 61 2 2", {"00l: l=6n"}),
        ("F d -3 m:2", {"hkl: h+k, h+l, k+l=2n", "0kl: k+l=4n"}),
        ("P m m m", set()),
    ],
)
def test_words_of_well_known_space_groups(space_group: str, words: set[str]) -> None:
    assert set(symmetry.setting_of_space_group(space_group).conditions()) == words


def test_symbols_follow_the_axes() -> None:
    # Settings of Pnma (62) and C2/c (15), International Tables A, table 1.5.4.4.
    def symbol(name: str) -> str:
        setting: Setting = symmetry.setting_of_space_group(name)
        return setting.symbol

    names = {"P n m a": "P n - a", "P m n b": "P - n b", "P b n m": "P b n -"}
    names |= {"P c m n": "P c - n", "P m c n": "P - c n", "P n a m": "P n a -"}
    names |= {"C 1 2/c 1": "C 1 c 1", "A 1 2/n 1": "A 1 n 1", "I 1 2/a 1": "I 1 a 1", "A 1 1 2/a": "A 1 1 a"}
    for hermann_mauguin, extinction in names.items():
        assert symbol(hermann_mauguin) == extinction
