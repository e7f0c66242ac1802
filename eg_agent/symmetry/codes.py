"""Both 37-bit codes of an extinction group: the published layout, and one of physical tests.

The published layout (7 crystal systems, 5 lattices, 25 operators by their place in the symbol) spells
the extinction symbol of one setting of the group. The condition layout asks of the standard setting
of the lowest space group whether a rule holds for all reflections of a zone or axis, so that a
verifier can score the same bits; only the bits that tell 3_1 from 6_2 and 2_1 from 4_2 are by
convention and cannot be seen in a powder pattern.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from eg_agent.symmetry.conditions import Conditions
from eg_agent.symmetry.derive import crystal_system, settings_of_space_group, standard_setting
from eg_agent.symmetry.operators import GRID, Operators
from eg_agent.symmetry.symbols import highest_rotation_about_c, is_one_face_centred
from eg_agent.symmetry.tables import tables

_SYSTEMS = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic")
_POSITIONS = (
    ("21", "31", "41", "42", "61", "62", "63", "a", "b", "c", "d", "n"),
    ("21", "a", "b", "c", "d", "n"),
    ("21", "a", "b", "c", "d", "n", "ab"),
)

#: Names of the 37 bits of the published layout: system, lattice, operators at positions 1, 2, 3.
PUBLISHED_BITS: tuple[str, ...] = (
    *(f"Sys_{name.capitalize()}" for name in _SYSTEMS),
    *(f"Lattice_{letter}" for letter in "PIFCR"),
    *(f"Pos{i}_{name}" for i, names in enumerate(_POSITIONS, start=1) for name in names),
)

#: Names of the 37 bits of the condition layout; "c_|_a" is the rule of a c glide perpendicular to a.
CONDITION_BITS: tuple[str, ...] = (
    *_SYSTEMS,
    *"PCIFR",
    *("2_1||a", "2_1||b", "2_1||c", "3_1||c", "4_2||c", "4_1||c", "6_3||c", "6_2||c", "6_1||c"),
    *("b_|_a", "c_|_a", "n_|_a", "d_|_a"),
    *("a_|_b", "c_|_b", "n_|_b", "d_|_b"),
    *("a_|_c", "b_|_c", "n_|_c", "d_|_c"),
    *("c_|_110", "c_|_210hex", "d_|_110", "e"),
)


@cache
def published_codes() -> npt.NDArray[np.uint8]:
    """uint8 [99, 37], row = group number - 1, columns `PUBLISHED_BITS`; read-only."""
    return _matrix("published_code")


@cache
def condition_codes() -> npt.NDArray[np.uint8]:
    """uint8 [99, 37], row = group number - 1, columns `CONDITION_BITS`; read-only."""
    return _matrix("condition_code")


def _matrix(key: str) -> npt.NDArray[np.uint8]:
    rows = [[int(bit) for bit in entry[key]] for entry in tables()["groups"]]
    matrix = np.array(rows, dtype=np.uint8)
    matrix.flags.writeable = False
    return matrix


# --- Derivation: what generate.py writes to tables.json ---


def _systems(space_groups: tuple[int, ...]) -> set[str]:
    """Crystal systems that occur in a group, trigonal and hexagonal told apart."""
    systems = {crystal_system(number) for number in space_groups}
    if "trigonal/hexagonal" in systems:
        return {"trigonal" if number <= 167 else "hexagonal" for number in space_groups}
    return systems


def _as_text(bits: set[str], names: tuple[str, ...]) -> str:
    if not bits <= set(names):
        raise AssertionError(f"no such bits: {sorted(bits - set(names))}")
    return "".join("1" if name in bits else "0" for name in names)


def derive_published_code(space_groups: tuple[int, ...]) -> str:
    """37 characters of 0 and 1 in the published layout.

    The layout depends on the setting that represents the group. Ours, which reproduces the published
    codes, is the first by `DerivedSetting.sort_key`: unique axis a before b before c, centring C before
    B before A before I, then "-" before "(ab)" before letters, position by position. The one crystal
    system is that of the lowest space group, so groups of both trigonal and hexagonal ones are trigonal.
    """
    representative = settings_of_space_group(space_groups[0])[0]
    bits = {f"Sys_{system.capitalize()}" for system in _systems(space_groups[:1])}
    bits.add(f"Lattice_{representative.centring}")
    for position, token in enumerate(representative.tokens[1:], start=1):
        for part in token.strip("()").split("/"):
            if part not in "-1":
                bits.add(f"Pos{position}_{part}")
    return _as_text(bits, PUBLISHED_BITS)


def derive_condition_code(space_groups: tuple[int, ...]) -> str:
    """37 characters of 0 and 1: the rules that hold in the standard setting of the lowest space group."""
    setting = standard_setting(space_groups[0])
    operators = setting.operators
    conditions = Conditions(operators.absent(GRID))
    family = crystal_system(space_groups[0])
    centring = "C" if is_one_face_centred(setting.centring) else setting.centring
    bits = _systems(space_groups) | {centring}
    if family == "trigonal/hexagonal":
        bits |= _hexagonal_rules(conditions, operators, setting.centring)
    elif family == "monoclinic":
        bits |= _axis_rules(conditions, "b") | _plane_rules(conditions, "b")
    elif family != "triclinic":
        bits |= _plane_rules(conditions, "a") | _plane_rules(conditions, "b") | _plane_rules(conditions, "c")
        if family == "orthorhombic":
            bits |= _axis_rules(conditions, "abc")
            if conditions.holds("hh-2hl", "l", 2):  # by I centring alone
                bits.add("c_|_210hex")
            axial = ({"b_|_a", "c_|_a"}, {"a_|_b", "c_|_b"}, {"a_|_c", "b_|_c"})
            if centring == "C" and any(pair <= bits for pair in axial):
                bits.add("e")
        else:
            bits |= _fourfold_rules(conditions, operators, cubic=family == "cubic")
    return _as_text(bits, CONDITION_BITS)


def _axis_rules(conditions: Conditions, axes: str) -> set[str]:
    rows = {"a": ("h00", "h"), "b": ("0k0", "k"), "c": ("00l", "l")}
    return {f"2_1||{axis}" for axis in axes if conditions.holds(*rows[axis], 2)}


def _plane_rules(conditions: Conditions, normal: str) -> set[str]:
    zone = {"a": "0kl", "b": "h0l", "c": "hk0"}[normal]
    first, second = (index for index in zone if index != "0")
    found = {
        f"{'abc'['hkl'.index(index)]}_|_{normal}"
        for index in (first, second)
        if conditions.holds(zone, index, 2)
    }
    if conditions.holds(zone, f"{first}+{second}", 2):
        found.add(f"n_|_{normal}")
    if conditions.holds(zone, f"{first}+{second}", 4):
        found.add(f"d_|_{normal}")
    return found


def _hexagonal_rules(conditions: Conditions, operators: Operators, centring: str) -> set[str]:
    found = set()
    if conditions.holds("h-h0l", "l", 2):
        found.add("c_|_a")
    if conditions.holds("hh-2hl", "l", 2):
        found.add("c_|_210hex")
    if centring == "P":  # R centring leaves l = 3n on the axis, which no screw of these is
        three = "6_2||c" if highest_rotation_about_c(operators) == 6 else "3_1||c"
        axis = {2: "6_3||c", 3: three, 6: "6_1||c"}
        found |= {name for m, name in axis.items() if conditions.modulus("00l", "l") == m}
    return found


def _fourfold_rules(conditions: Conditions, operators: Operators, *, cubic: bool) -> set[str]:
    found = set()
    if conditions.holds("hhl", "l", 2):
        found.add("c_|_110")
    if conditions.holds("hhl", "2h+l", 4):
        found.add("d_|_110")
    if conditions.holds("00l", "l", 4):
        found.add("4_1||c")
    if not cubic:
        found |= _axis_rules(conditions, "ab")
        return found | ({"4_2||c"} if conditions.holds("00l", "l", 2) else set())
    # In cubic groups one axis rule can be that of 2_1 or of 4_2. By convention it is 2_1 unless only a
    # fourfold screw causes it (P 42 3 2), and 4_2 unless only a twofold screw does (P 21 3).
    found |= _axis_rules(Conditions(_without_rotations_about_axes(operators, 4).absent(GRID)), "abc")
    without_two = Conditions(_without_rotations_about_axes(operators, 2).absent(GRID))
    return found | ({"4_2||c"} if without_two.holds("00l", "l", 2) else set())


def _without_rotations_about_axes(operators: Operators, order: int) -> Operators:
    """Operators less the proper twofold (trace -1) or fourfold (trace 1) ones about a, b or c."""
    proper = np.linalg.det(operators.rotations) > 0
    about_axis = (np.abs(np.diagonal(operators.rotations, axis1=1, axis2=2)) == 1).any(axis=1)
    trace = np.trace(operators.rotations, axis1=1, axis2=2)
    diagonal = (np.abs(operators.rotations) == np.eye(3)).all(axis=(1, 2))
    kind = diagonal & (trace == -1) if order == 2 else about_axis & ~diagonal & (trace == 1)
    return operators.where(~(proper & kind))
