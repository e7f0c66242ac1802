"""`Library`: peak lists of known structures, searched by similarity of the pattern."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.library import file as storage
from eg_agent.library import kernels
from eg_agent.library.cells import cell_of_metric, reciprocal_metric, strained_metrics, volume_of
from eg_agent.library.expert import Expert
from eg_agent.library.match import Lookup, Match
from eg_agent.library.target import (
    BLUR,
    COARSE_START,
    COARSE_STEP,
    FINE,
    SHIFTS,
    Target,
    coarse_polarisation,
    coarse_reach,
    prepare,
    prepare_projected,
)
from eg_agent.patterns import Pattern, Projected, Radiation
from eg_agent.patterns.radiation import CU_KALPHA1

#: Intensities are stored as levels: F^2 m / max = 10^((level - 255) / LEVELS_PER_DECADE), 4 % a level.
LEVELS_PER_DECADE = 56.0
#: Sticks of an entry in the coarse comparison.
STICKS = 24
#: Entries that are compared in full: the best of all, and the best few of each group.
COMPARED = 200
COMPARED_PER_GROUP = 1
#: Entries whose cell is refined: the best of all, and the best of each group.
REFINED = 30
#: Largest strain beyond the scale, and largest zero shift (degrees), of a refinement.
LIMITS = (0.02, 0.12)
#: ln-scales looked at around the coarse one.
_AROUND = np.asarray(np.arange(-3, 4) * 0.002, dtype=np.float64)
_AROUND_FINELY = np.asarray(np.arange(-7, 8) * 0.001, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Matches:
    """What a search found.

    rows: int64 [n], similarity, scale, zero_shift: float64 [n], best first: all that was compared in
    full. metric: [n, 6] reciprocal metric of the strained cells, 1/angstrom^2.
    by_group: float64 [99] highest similarity of each group, 0 where the library has none of it.
    width: degrees, FWHM of the pattern's lines, with which the comparison was made.
    """

    library: Library
    rows: npt.NDArray[np.int64]
    similarity: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    zero_shift: npt.NDArray[np.float64]
    metric: npt.NDArray[np.float64]
    by_group: npt.NDArray[np.float64]
    width: float

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def best(self) -> float:
        """Highest similarity of all, 0 to 1."""
        return float(self.similarity[0])

    @property
    def novelty(self) -> float:
        """1 - the highest similarity."""
        return 1.0 - self.best

    def log_scores(self) -> npt.NDArray[np.float64]:
        """float64 [99] nats, normalised: what the lookup alone says of the groups, with a uniform prior."""
        return self.library.expert.log_scores(self.by_group, self.library.group_sizes)

    def known_probability(self) -> float:
        """Probability that the library holds the structure (see `Expert.known_probability`)."""
        return float(self.library.expert.known_probability(self.best))

    def lookup(self, count: int = 5) -> Lookup:
        """All of it that an `Identification` keeps, with the `count` most similar structures."""
        return Lookup(
            log_probability=self.log_scores(),
            matches=self.top(count),
            novelty=self.novelty,
            known_probability=self.known_probability(),
            library=self.library.name,
            hash=self.library.hash,
            entries=len(self.library),
        )

    def __getitem__(self, index: int) -> Match:
        row, entries = int(self.rows[index]), self.library.entries
        return Match(
            id=self.library.ids[row],
            formula=self.library.formulas[row],
            group=int(entries.group[row]),
            space_group=int(entries.space_group[row]),
            similarity=float(self.similarity[index]),
            scale=float(self.scale[index]),
            cell=cell_of_metric(self.metric[index]),
            zero_shift=float(self.zero_shift[index]),
            row=row,
        )

    def top(self, count: int = 10) -> tuple[Match, ...]:
        """The `count` most similar structures, best first."""
        return tuple(self[i] for i in range(min(count, len(self))))


class Library:
    """Known structures as peak lists; search is a pure function of the library and the pattern.

    Use `Library.load`. Intensities are of x-rays. expert: constants of `log_scores`.
    """

    def __init__(self, entries: storage.Entries, name: str = "", expert: Expert | None = None) -> None:
        self.entries = entries
        self.name = name
        self.expert = expert or Expert()

    @classmethod
    def load(cls, path: str | Path) -> Library:
        """Read a library file; raises BadInput, with what to do, for anything else."""
        return cls(storage.read(path), Path(path).name)

    def save(self, path: str | Path) -> None:
        """Write the library file; it appears whole or not at all."""
        storage.write(path, self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def hash(self) -> str:
        """First 16 hex digits of a SHA-256 over all arrays: the same entries, the same hash."""
        digest = hashlib.sha256()
        for field in fields(self.entries):
            digest.update(np.ascontiguousarray(getattr(self.entries, field.name)).tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def ids(self) -> list[str]:
        """Id of each entry."""
        return self.entries.id_text.tobytes().decode("utf-8", "replace").split("\n")[:-1]

    @cached_property
    def formulas(self) -> list[str]:
        """Reduced formula of each entry, elements in alphabetical order."""
        return self.entries.formula_text.tobytes().decode("utf-8", "replace").split("\n")[:-1]

    @cached_property
    def row_of_formula(self) -> dict[str, int]:
        """First entry of each reduced formula."""
        return {formula: row for row, formula in reversed(list(enumerate(self.formulas)))}

    @cached_property
    def row_of_name(self) -> dict[str, int]:
        """First entry of each id, in lower case."""
        return {name.lower(): row for row, name in reversed(list(enumerate(self.ids)))}

    @cached_property
    def group_sizes(self) -> npt.NDArray[np.int64]:
        """int64 [99] entries of each group."""
        return np.bincount(self.entries.group, minlength=100)[1:]

    @cached_property
    def metric(self) -> npt.NDArray[np.float64]:
        """[N, 6] reciprocal metric of each cell, 1/angstrom^2."""
        return reciprocal_metric(self.entries.cell)

    @cached_property
    def strength(self) -> npt.NDArray[np.float64]:
        """[M] F^2 times multiplicity of each peak, against the strongest of its entry."""
        level = np.arange(256) - 255.0
        table = np.asarray(10.0 ** (level / LEVELS_PER_DECADE), dtype=np.float64)
        return table[self.entries.level]

    @cached_property
    def _sticks(self) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
        bins = np.zeros((len(self), STICKS), dtype=np.uint16)
        weight = np.zeros((len(self), STICKS), dtype=np.uint8)
        kernels.sticks(
            self.entries.offset, self.entries.hkl, self.strength, self.metric, coarse_polarisation(),
            coarse_reach(), COARSE_START, COARSE_STEP, STICKS, bins, weight,
        )  # fmt: skip
        return bins, weight

    def search(self, pattern: Pattern, top: int = 50) -> Matches:
        """The structures that a pattern resembles most, best first.

        Raises BadPattern where less than 4 degrees of it lie on the canonical axis, BadInput for neutrons
        (the library's intensities are of x-rays).
        """
        self._refuse_neutrons(pattern.radiation)
        return self.search_target(prepare(pattern), top)

    @staticmethod
    def _refuse_neutrons(radiation: Radiation) -> None:
        if radiation.kind != "x-ray":
            raise BadInput("the library holds x-ray intensities: it cannot be searched with neutrons.")

    def search_projected(
        self, projected: Projected, radiation: Radiation | None = None, top: int = 50
    ) -> Matches:
        """As `search`, for a pattern that lies on `eg_agent.library.FINE` already."""
        return self.search_target(prepare_projected(projected, radiation or Radiation(CU_KALPHA1)), top)

    def log_scores(self, pattern: Pattern) -> npt.NDArray[np.float64]:
        """float64 [99] nats, normalised: what the lookup alone says of the groups, with a uniform prior.

        Add them to a log-prior, or to a network's log-posterior. Raises as `search` does.
        """
        return self.search(pattern, top=1).log_scores()

    def similarity(self, pattern: Pattern) -> tuple[float, int]:
        """Cosine of intensities with the most similar entry after scaling its cell, and that entry's row.

        The plain measure, 0 to 1: one scale of the cell within 5 %, no other strain, no square roots; what
        `novelty` goes by. Raises as `search` does.
        """
        self._refuse_neutrons(pattern.radiation)
        target = prepare(pattern)
        best, shift = self._coarse(target)
        rows = self._chosen(best, 3 * COMPARED)
        sigma = float(np.hypot(target.width / 2.3548, BLUR))
        found, _ = self._scan(target, rows, SHIFTS[shift[rows]], sigma, around=_AROUND_FINELY, linear=True)
        top = int(np.argmax(found))
        return float(min(found[top], 1.0)), int(rows[top])

    def search_target(self, target: Target, top: int = 50) -> Matches:
        """As `search`, for a prepared pattern."""
        best, shift = self._coarse(target)
        chosen = self._chosen(best)
        growth = SHIFTS[shift[chosen]]
        sigma = float(np.hypot(target.width / 2.3548, BLUR))
        similarity, where = self._scan(target, chosen, growth, sigma)
        by_group = np.zeros(99)
        np.maximum.at(by_group, self.entries.group[chosen] - 1, similarity)
        again = self._worth_refining(chosen, similarity, by_group)
        refined, strain, zero = self._refine(target, chosen[again], where[again], sigma)
        metric = self.metric[chosen] * np.exp(-2.0 * where)[:, None]
        zero_shift = np.zeros(len(chosen))
        similarity[again], zero_shift[again] = refined, zero
        metric[again] = strained_metrics(self.metric[chosen[again]], self._kinds[chosen[again]], strain)
        by_group[:] = 0.0
        np.maximum.at(by_group, self.entries.group[chosen] - 1, similarity)
        order = np.lexsort((chosen, -similarity))[:top]
        scale = (volume_of(metric) / volume_of(self.metric[chosen])) ** (1.0 / 3.0)
        return Matches(
            self, chosen[order], similarity[order], scale[order], zero_shift[order], metric[order],
            by_group, target.width,
        )  # fmt: skip

    def _coarse(self, target: Target) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        """[N] coarse cosine and index into SHIFTS of every entry."""
        bins, weight = self._sticks
        best, shift = np.empty(len(self), np.float32), np.empty(len(self), np.uint8)
        kernels.coarse(bins, weight, target.height, target.covered_bins, best, shift)
        return best, shift

    def _chosen(self, best: npt.NDArray[np.float32], most: int = COMPARED) -> npt.NDArray[np.int64]:
        """Rows to compare in full, coarse best first: the best of all and the best of each group."""
        count = min(most, len(best))
        order = np.argpartition(-best, count - 1)[:count]
        first = [order]
        for rows in self._rows_of_group:
            if len(rows):
                few = min(COMPARED_PER_GROUP, len(rows))
                first.append(rows[np.argpartition(-best[rows], few - 1)[:few]])
        rows = np.unique(np.concatenate(first))
        return rows[np.lexsort((rows, -best[rows]))].astype(np.int64)

    @cached_property
    def _rows_of_group(self) -> list[npt.NDArray[np.int64]]:
        order = np.argsort(self.entries.group, kind="stable")
        return np.split(order, np.cumsum(self.group_sizes)[:-1])

    @cached_property
    def _kinds(self) -> npt.NDArray[np.int64]:
        return self.entries.kinds.astype(np.int64)

    def _scan(
        self,
        target: Target,
        rows: npt.NDArray[np.int64],
        growth: npt.NDArray[np.float64],
        sigma: float,
        *,
        around: npt.NDArray[np.float64] = _AROUND,
        linear: bool = False,
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """[n] highest similarity of rows over scales around `growth` (ln), and that scale."""
        best, where = np.empty(len(rows)), np.empty(len(rows))
        kernels.scan(
            rows, growth, around, self.entries.offset, self.entries.hkl, self.strength, self.metric,
            _GRID, target.polarisation, sigma, target.fine, target.covered, linear, best, where,
        )  # fmt: skip
        return best, where

    def _worth_refining(
        self,
        rows: npt.NDArray[np.int64],
        similarity: npt.NDArray[np.float64],
        by_group: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.int64]:
        """Which rows to refine: the best of all, and the best of each group not far behind."""
        order = np.lexsort((rows, -similarity))
        group = self.entries.group[rows] - 1
        leads = similarity >= by_group[group]
        near = leads & (similarity > similarity.max() - 0.2)
        wanted = np.union1d(order[:REFINED], np.flatnonzero(near))
        return wanted.astype(np.int64)

    def _refine(
        self,
        target: Target,
        rows: npt.NDArray[np.int64],
        growth: npt.NDArray[np.float64],
        sigma: float,
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """[n] similarity, [n, 6] strain and [n] zero shift (degrees) after refining cell and zero."""
        best, strain, zero = np.empty(len(rows)), np.zeros((len(rows), 6)), np.empty(len(rows))
        kernels.refine(
            rows, growth, self._kinds, self.entries.offset, self.entries.hkl, self.strength, self.metric,
            _GRID, target.polarisation, sigma, target.fine, target.covered, LIMITS, best, strain, zero,
        )  # fmt: skip
        return best, strain, zero


_GRID = (FINE.two_theta_min, FINE.step, CU_KALPHA1)
