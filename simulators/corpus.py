"""`Corpus`: the peaks of many structures in flat arrays, small enough to travel with a training run.

A corpus is made once (`eg-train prepare`) and read by `PatternStream`. It is an npz file without
pickle, read back on any machine with numpy alone.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.patterns.radiation import CU_KALPHA1
from simulators.crystal import Crystal, Operations
from simulators.scattering import lorentz_polarisation, peak_list

#: Where a structure comes from (`Corpus.source`).
SOURCES = ("computed", "mineral", "random", "molecular")
COMPUTED, MINERAL, RANDOM, MOLECULAR = range(4)

#: At the end of the name of a perturbed copy, before its number if it has one.
COPY_MARK = " ~"
_COPY = re.compile(re.escape(COPY_MARK) + r"\d*$")

#: Smallest spacing kept: 90 degrees with Cu K-alpha1 is 1.0893 angstrom, less 6 % for strain.
D_MIN = 1.03
#: Strongest peaks kept of a structure, and how far below the strongest one they reach.
MAX_PEAKS = 240
DYNAMIC_RANGE = 1e-4
#: Intensities are stored as levels: F^2 m / max = 10^((level - 255) / LEVELS_PER_DECADE), 4 % a level.
LEVELS_PER_DECADE = 56.0
#: Wavelength of f' and f'' and of the ranking by Lorentz-polarisation factor (Cu K-alpha1).
WAVELENGTH = CU_KALPHA1
#: Share of reduced formulas held out of training, in percent.
HELD_OUT_PERCENT = 3

#: Ways in which a cell may be strained without leaving its system, one row a lattice type: which of
#: three stretches applies to a*, b*, c*, and which of three shears (-1: none) to the products b*c*,
#: a*c*, a*b* of the reciprocal metric.
STRAIN_TYPES: tuple[tuple[str, tuple[int, int, int], tuple[int, int, int]], ...] = (
    ("cubic", (0, 0, 0), (-1, -1, -1)),
    ("tetragonal", (0, 0, 2), (-1, -1, -1)),
    ("hexagonal axes", (0, 0, 2), (-1, -1, -1)),
    ("orthorhombic", (0, 1, 2), (-1, -1, -1)),
    ("monoclinic, unique axis b", (0, 1, 2), (-1, 1, -1)),
    ("monoclinic, unique axis c", (0, 1, 2), (-1, -1, 2)),
    ("monoclinic, unique axis a", (0, 1, 2), (0, -1, -1)),
    ("triclinic", (0, 1, 2), (0, 1, 2)),
    ("rhombohedral axes", (0, 0, 0), (0, 0, 0)),
)


def strain_type(operations: Operations) -> int:
    """Index into STRAIN_TYPES of the least constrained type that the rotations allow.

    Raises BadInput for settings outside the table (a tetragonal cell with unique axis a, say).
    """
    rotations = operations.laue_rotations
    invariant = _invariant_metrics(rotations)
    for index in (7, 4, 5, 6, 3, 1, 2, 8, 0):
        _, stretch, shear = STRAIN_TYPES[index]
        free = len(set(stretch)) + len({s for s in shear if s >= 0})
        if free == len(invariant) and all(_keeps(index, g) for g in invariant):
            return index
    raise BadInput("this setting is outside the nine usual choices of axes: transform the structure first.")


def _invariant_metrics(rotations: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """A basis [m, 3, 3] of symmetric matrices unchanged by all rotations of reciprocal space."""
    basis = []
    for i in range(3):
        for j in range(i, 3):
            one = np.zeros((3, 3))
            one[i, j] = one[j, i] = 1.0
            mean = np.einsum("nij,jk,nlk->il", rotations, one, rotations) / len(rotations)
            basis.append(mean)
    flat = np.array(basis).reshape(6, 9)
    _, values, vectors = np.linalg.svd(flat)
    return vectors[: int((values > 1e-9).sum())].reshape(-1, 3, 3)


def _keeps(index: int, g: npt.NDArray[np.float64]) -> bool:
    """Does the invariant metric g fit the pattern of free parameters of a strain type?"""
    _, stretch, shear = STRAIN_TYPES[index]
    off = (g[1, 2], g[0, 2], g[0, 1])
    diagonal_ok = all(
        abs(g[i, i] - g[j, j]) < 1e-9 for i in range(3) for j in range(3) if stretch[i] == stretch[j]
    )
    hexagonal = STRAIN_TYPES[index][0] == "hexagonal axes"
    for k in range(3):
        if shear[k] < 0 and abs(off[k]) > 1e-9 and not (hexagonal and k == 2):
            return False
    if hexagonal and abs(2 * off[2] - g[0, 0]) > 1e-9:
        return False
    return diagonal_ok and (index != 8 or (abs(off[0] - off[1]) < 1e-9 and abs(off[1] - off[2]) < 1e-9))


def held_out(formula: str) -> bool:
    """Is a reduced formula held out of training? A function of the text alone (CRC-32)."""
    return zlib.crc32(formula.encode()) % 100 < HELD_OUT_PERCENT


@dataclass(frozen=True, eq=False)
class Corpus:
    """Peak lists of N structures with M peaks in all.

    cell: float32 [N, 6] angstrom and degrees. strain_type: uint8 [N] into STRAIN_TYPES.
    group: uint8 [N] extinction group 1-99. space_group: uint8 [N].
    source: uint8 [N] into SOURCES. split: uint8 [N], 0 for training and 1 for held out (by reduced
    formula, see `held_out`; random crystals are held out by the same rule).
    offset: int64 [N + 1]; structure i owns peaks offset[i]:offset[i + 1], strongest first.
    hkl: int8 [M, 3]. level: uint8 [M], F^2 times multiplicity on a logarithmic scale
    (LEVELS_PER_DECADE), with the displacement factor of the structure's own B (0.5 angstrom^2 where
    it gives none), without Lorentz and polarisation factors.
    name_text, formula_text: UTF-8 lines, one a structure (ids of rows; reduced formulas).
    """

    cell: npt.NDArray[np.float32]
    strain_type: npt.NDArray[np.uint8]
    group: npt.NDArray[np.uint8]
    space_group: npt.NDArray[np.uint8]
    source: npt.NDArray[np.uint8]
    split: npt.NDArray[np.uint8]
    offset: npt.NDArray[np.int64]
    hkl: npt.NDArray[np.int8]
    level: npt.NDArray[np.uint8]
    name_text: npt.NDArray[np.uint8]
    formula_text: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.group)

    @property
    def names(self) -> list[str]:
        """Name of each structure."""
        return self.name_text.tobytes().decode().split("\n")[: len(self)]

    @property
    def copied(self) -> npt.NDArray[np.bool_]:
        """[N] whether a structure is a perturbed copy of another one (`simulators.perturbation`)."""
        return np.array([bool(_COPY.search(name)) for name in self.names], dtype=np.bool_)

    @property
    def formulas(self) -> list[str]:
        """Reduced formula of each structure, elements in alphabetical order."""
        return self.formula_text.tobytes().decode().split("\n")[: len(self)]

    def save(self, path: str | Path) -> None:
        """Write a compressed npz; the file appears whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as handle:
            np.savez_compressed(handle, **{f.name: getattr(self, f.name) for f in fields(self)})
        partial.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> Corpus:
        """Read what `save` wrote. Raises BadInput when the file is absent or something else."""
        try:
            with np.load(Path(path), allow_pickle=False) as data:
                return cls(**{f.name: data[f.name] for f in fields(cls)})
        except FileNotFoundError:
            raise BadInput(f"there is no corpus {path}: make one with eg-train prepare.") from None
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
            raise BadInput(
                f"{path} is not a corpus, or is damaged: make one with eg-train prepare."
            ) from None


def merge(parts: Iterable[Corpus]) -> Corpus:
    """One corpus of several, in their order."""
    parts = list(parts)
    merged = {f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Corpus)}
    counts = np.concatenate([np.diff(p.offset) for p in parts])
    merged["offset"] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Corpus(**merged)


def pack(crystals: Iterable[tuple[Crystal, int]]) -> Corpus:
    """Pack crystals with their source (COMPUTED, MINERAL, RANDOM, MOLECULAR).

    A crystal is left out when it has fewer than 3 peaks, indices beyond 127, or axes outside
    STRAIN_TYPES.
    """
    rows: list[tuple[Crystal, int, int]] = []
    hkls: list[npt.NDArray[np.int8]] = []
    levels: list[npt.NDArray[np.uint8]] = []
    for crystal, source in crystals:
        try:
            kind = strain_type(crystal.operations)
        except BadInput:
            continue
        hkl, level = _strongest(crystal)
        if len(hkl) < 3 or np.abs(hkl).max() > 127:
            continue
        rows.append((crystal, source, kind))
        hkls.append(hkl.astype(np.int8))
        levels.append(level)
    count = [0, *(len(h) for h in hkls)]

    def lines(texts: list[str]) -> npt.NDArray[np.uint8]:
        joined = "".join(t.replace("\n", " ") + "\n" for t in texts)
        return np.frombuffer(joined.encode(), dtype=np.uint8)

    return Corpus(
        cell=np.array([c.cell for c, _, _ in rows], dtype=np.float32).reshape(-1, 6),
        strain_type=np.array([k for _, _, k in rows], dtype=np.uint8),
        group=np.array([c.group for c, _, _ in rows], dtype=np.uint8),
        space_group=np.array([c.space_group for c, _, _ in rows], dtype=np.uint8),
        source=np.array([s for _, s, _ in rows], dtype=np.uint8),
        split=np.array([held_out(c.formula) for c, _, _ in rows], dtype=np.uint8),
        offset=np.cumsum(count).astype(np.int64),
        hkl=np.concatenate([np.empty((0, 3), np.int8), *hkls]),
        level=np.concatenate([np.empty(0, np.uint8), *levels]),
        name_text=lines([c.name for c, _, _ in rows]),
        formula_text=lines([c.formula for c, _, _ in rows]),
    )


def _strongest(crystal: Crystal) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Indices and levels of the peaks that matter, the strongest first as a diffractometer sees them."""
    peaks = peak_list(crystal, D_MIN, wavelength=WAVELENGTH)
    strength = peaks.f2 * peaks.multiplicity
    if not len(peaks) or strength.max() <= 0:
        return np.empty((0, 3), np.int64), np.empty(0, np.uint8)
    theta = np.arcsin(np.minimum(WAVELENGTH / 2 / peaks.d, 0.72))  # beyond 90 degrees: as at 92
    seen = strength * lorentz_polarisation(theta)
    order = np.argsort(-seen, kind="stable")[:MAX_PEAKS]
    order = order[seen[order] > DYNAMIC_RANGE * seen[order[0]]]
    relative = strength[order] / strength[order].max()
    level = np.rint(255 + LEVELS_PER_DECADE * np.log10(np.maximum(relative, 1e-30)))
    return peaks.hkl[order], np.clip(level, 0, 255).astype(np.uint8)
