"""Extinction symbols, read from the reflection conditions of a setting.

The symbol is the centring letter and, for each symmetry direction, the glide or screw that the
conditions show, "-" where they show none; a screw axis that a glide plane or the centring already
implies is not written (Looijenga-Vos & Buerger, International Tables for Crystallography A, section
1.6.4). Where several glides have the same conditions in a centred lattice, the letter is a convention
of that table; each such choice is a line here, in each setting of the axes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from eg_agent.symmetry.conditions import Conditions
from eg_agent.symmetry.operators import DEN, GRID, Operators

_AXES = "abc"
_INDEX = "hkl"
_ZONE = ("0kl", "h0l", "hk0")
_ROW = ("h00", "0k0", "00l")
_CENTRING_VECTORS = {
    "P": frozenset(),
    "A": frozenset({(0, 12, 12)}),
    "B": frozenset({(12, 0, 12)}),
    "C": frozenset({(12, 12, 0)}),
    "I": frozenset({(12, 12, 12)}),
    "F": frozenset({(0, 12, 12), (12, 0, 12), (12, 12, 0)}),
    "R": frozenset({(16, 8, 8), (8, 16, 16)}),
}

# Glide of a centred monoclinic lattice by the centring, seen from unique axis b: C 1 c 1, A 1 n 1, I 1 a 1
# (cell choices 1, 2, 3 of International Tables). Its conditions are those of two glides at once.
_MONOCLINIC_GLIDE = {"C": "c", "A": "n", "I": "a"}


def centring_letter(operators: Operators) -> str:
    """P, A, B, C, I, F or R (hexagonal axes, obverse), from the centring vectors."""
    vectors = frozenset(map(tuple, operators.centring_vectors.tolist())) - {(0, 0, 0)}
    for letter, expected in _CENTRING_VECTORS.items():
        if vectors == expected:
            return letter
    raise ValueError(f"no centring letter for the vectors {sorted(vectors)} / {DEN}")


def unique_axis(operators: Operators) -> int:
    """Index (0, 1, 2) of the axis that the order-2 operations of a monoclinic group keep or reverse."""
    for rotation in operators.point_group:
        diagonal = np.diag(rotation)
        proper = diagonal * np.linalg.det(rotation)
        if np.count_nonzero(proper > 0) == 1:
            return int(np.argmax(proper))
    raise ValueError("no twofold axis or mirror plane along an axis")


def highest_rotation_about_c(operators: Operators) -> int:
    """Order (1, 2, 3, 4 or 6) of the highest proper rotation about c, screws included."""
    highest = 1
    for rotation in operators.point_group:
        if np.linalg.det(rotation) > 0 and np.array_equal(rotation[:, 2], (0, 0, 1)):
            trace = int(np.trace(rotation))
            highest = max(highest, {3: 1, -1: 2, 0: 3, 1: 4, 2: 6}[trace])
    return highest


def extinction_symbol(operators: Operators, crystal_system: str) -> tuple[str, ...]:
    """Tokens of the symbol, centring first, e.g. ("P", "42", "21", "-") or ("P", "1", "21/c", "1").

    Directions are those of the Hermann-Mauguin symbol: a, b, c (monoclinic, orthorhombic); c, a,
    [110] (tetragonal); c, a, [210] (hexagonal axes); a, [111], [110] (cubic).
    """
    conditions = Conditions(operators.absent(GRID))
    centring = centring_letter(operators)
    if crystal_system == "triclinic":
        return (centring, "-")
    if crystal_system == "monoclinic":
        return (centring, *_monoclinic(conditions, centring, unique_axis(operators)))
    if crystal_system == "orthorhombic":
        return (centring, *_orthorhombic(conditions, centring))
    fold = highest_rotation_about_c(operators)
    if crystal_system == "tetragonal":
        return (centring, *_tetragonal(conditions, centring))
    if crystal_system == "trigonal/hexagonal":
        return (centring, *_hexagonal(conditions, centring, fold))
    return (centring, *_cubic(conditions, centring, fold))


def spell(tokens: tuple[str, ...]) -> str:
    """Tokens as one string, spaced as in International Tables: "P n a -", "C - - (ab)", "A(bc)- -"."""
    text = " ".join(tokens).replace(") ", ")")
    return tokens[0] + text[2:] if tokens[1].startswith("(") else text


def _in_plane(axis: int) -> tuple[int, int]:
    first, second = sorted({0, 1, 2} - {axis})
    return first, second


class _Zone:
    """Which congruences hold in the zone perpendicular to an axis."""

    def __init__(self, conditions: Conditions, axis: int) -> None:
        first, second = _in_plane(axis)
        zone, both = _ZONE[axis], f"{_INDEX[first]}+{_INDEX[second]}"
        self.axes = _AXES[first], _AXES[second]
        self.single = tuple(conditions.holds(zone, _INDEX[i], 2) for i in (first, second))
        self.n = conditions.holds(zone, both, 2)
        self.d = conditions.holds(zone, both, 4)

    @property
    def doubled(self) -> bool:
        """Both axial glides at once."""
        return all(self.single)

    def implies_axis(self, axis: str) -> bool:
        """Whether the zone's conditions leave only even orders on one of its axes."""
        return axis in self.axes and (self.n or self.single[self.axes.index(axis)])

    def primitive_glide(self) -> str:
        if any(self.single):
            return self.axes[self.single.index(True)]
        return "n" if self.n else "-"


def _lattice(centring: str) -> Conditions:
    """The conditions of a centring alone."""
    vectors = np.array(sorted(_CENTRING_VECTORS[centring]), dtype=np.int64).reshape(-1, 3)
    identity = np.broadcast_to(np.eye(3, dtype=np.int64), (len(vectors), 3, 3))
    return Conditions(Operators(identity, vectors).absent(GRID))


def _monoclinic(conditions: Conditions, centring: str, unique: int) -> tuple[str, ...]:
    zone = _Zone(conditions, unique)
    if centring == "P":
        glide = zone.primitive_glide()
    elif zone.doubled:
        # Turned cyclically so that the unique axis is b, then back.
        turn = (1 - unique) % 3
        as_b = centring if centring == "I" else "ABC"[("ABC".index(centring) + turn) % 3]
        letter = _MONOCLINIC_GLIDE[as_b]
        glide = letter if letter == "n" else _AXES[(_AXES.index(letter) - turn) % 3]
    else:
        glide = "-"
    screw = centring == "P" and conditions.holds(_ROW[unique], _INDEX[unique], 2)
    token = "/".join([t for t in ("21" if screw else "", glide if glide != "-" else "") if t]) or "-"
    return tuple(token if axis == unique else "1" for axis in range(3))


def _orthorhombic(conditions: Conditions, centring: str) -> Iterator[str]:
    zones = [_Zone(conditions, axis) for axis in range(3)]
    bare = [_Zone(_lattice(centring), axis) for axis in range(3)]
    glides: list[str] = []
    more = [zone.doubled and not lattice.doubled for zone, lattice in zip(zones, bare)]
    for axis, (zone, lattice) in enumerate(zip(zones, bare)):
        if zone.d and not lattice.d:
            glides.append("d")
        elif centring in "PF":
            glides.append(zone.primitive_glide() if centring == "P" else "-")
        elif not more[axis]:
            glides.append("-")
        elif centring == "I" and sum(more) > 1:
            # I b c a; and I b a -, I - c b, I c - a, whose letters lie along the two glide planes' normals.
            step = 1 if sum(more) == 3 or more[(axis + 1) % 3] else 2
            glides.append(_AXES[(axis + step) % 3])
        elif any(lattice.single):
            glides.append(zone.axes[lattice.single.index(False)])
        else:
            glides.append(f"({''.join(zone.axes)})")
    for axis in range(3):
        implied = any(zone.implies_axis(_AXES[axis]) for zone in zones)
        screw = conditions.holds(_ROW[axis], _INDEX[axis], 2) and not implied
        yield "21" if screw and glides[axis] == "-" else glides[axis]


def _tetragonal(conditions: Conditions, centring: str) -> tuple[str, ...]:
    basal, axial = _Zone(conditions, 2), _Zone(conditions, 0)
    if centring == "I":
        first = "a" if basal.doubled else "-"
        second = "c" if axial.doubled else "-"
        third = "d" if conditions.holds("hhl", "2h+l", 4) else "-"
        implied = 4 if third == "d" else 2
    else:
        first, second = basal.primitive_glide(), axial.primitive_glide()
        third = "c" if conditions.holds("hhl", "l", 2) else "-"
        implied = 2 if third == "c" or axial.implies_axis("c") else 1
    order = conditions.modulus("00l", "l")
    if order > implied:
        screw = {2: "42", 4: "41"}[order]
        first = screw if first == "-" else f"{screw}/{first}"
    if second == "-" and conditions.holds("0k0", "k", 2):
        second = "-" if basal.implies_axis("b") or axial.implies_axis("b") else "21"
    return first, second, third


def _hexagonal(conditions: Conditions, centring: str, fold: int) -> tuple[str, ...]:
    second = "c" if conditions.holds("h-h0l", "l", 2) else "-"
    third = "c" if centring == "P" and conditions.holds("hh-2hl", "l", 2) else "-"
    first = "-"
    if centring == "P" and second == third == "-":
        # 3_1 and 6_2 leave the same reflections: the rotation about c tells them apart.
        three = "62" if fold == 6 else "31"
        first = {1: "-", 2: "63", 3: three, 6: "61"}[conditions.modulus("00l", "l")]
    return first, second, third


def _cubic(conditions: Conditions, centring: str, fold: int) -> tuple[str, ...]:
    zone = _Zone(conditions, 0)
    third = "-"
    if centring == "I":
        third = "d" if conditions.holds("hhl", "2h+l", 4) else "-"
    elif conditions.holds("hhl", "l", 2):
        third = "c" if centring == "F" else "n"
    if zone.d:
        return "d", "-", third
    if (zone.doubled and centring == "I") or (centring == "P" and any(zone.single)):
        return "a", "-", third
    if zone.n and centring == "P":
        return "n", "-", third
    order = conditions.modulus("00l", "l")
    implied = {"d": 4, "n": 2}.get(third, 1 if centring == "P" else 2)
    # 2_1 and 4_2 leave the same reflections: the rotation about c tells them apart.
    two = "42" if fold == 4 else "21"
    return ({2: two, 4: "41"}[order] if order > implied else "-"), "-", third


def is_one_face_centred(centring: str) -> bool:
    """Whether a centring letter is A, B or C."""
    return centring in "ABC"
