"""Compositions whose compounds are known: which extinction groups were found with them, and how often.

A network of compositions generalises, and forgets: of a formula that it was trained on it does not know the
groups by heart. Whoever knows the formula looks them up. Here both come together: entries of a composition
are counts of a Dirichlet distribution whose base is what the network says, so that a composition without
entries is the network's alone, and one with many is theirs.

Axes, as suffixes of names:
    S sets of elements, by the hash of each    N entries, set by set    F shares of all entries, one after
    the other, in the order of the atomic numbers    G 99 groups
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ConfigDict
from torch import Tensor

from eg_agent.chemistry import Composition
from eg_agent.errors import BadInput
from eg_agent.model.network import N_GROUPS
from eg_agent.model.prior import FloatArray, normalised
from eg_agent.values import VALUE_CONFIG

#: Shares are kept as whole numbers of this part of the atoms.
_SHARE_UNIT = 1.0 / 20_000

#: Least probability of a group by the network alone.
LEAST = 1e-12

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Trust:
    """How much the entries of a composition count, against what the network says of it.

    exact, elements: entries that the network's answer counts as, where amounts or only elements are told.
    width: of amounts; an entry whose shares of the atoms differ by this, summed over the elements, counts
        1/e.
    network: power of what the network says: below 1 it is too sure of compositions that it never saw.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    exact: float = 1.0
    elements: float = 6.0
    width: float = 0.02
    network: float = 1.0

    def __post_init__(self) -> None:
        if not min(self.exact, self.elements, self.width, self.network) > 0:
            raise BadInput(f"{self}: all four must be above 0.")


@dataclass(frozen=True, eq=False)
class KnownCompositions:
    """Entries by their set of elements.

    hash_S: ascending. entries_S, elements_S: how many entries and elements each set has. share_F: in units of
    1/20,000 of the atoms. group_N: number of the extinction group minus 1. count_N: how many such entries.
    log_prior_G: class frequencies that what the network says is relative to, nats.
    """

    hash_S: Ints
    entries_S: Ints
    elements_S: Ints
    share_F: Ints
    group_N: Ints
    count_N: Ints
    log_prior_G: FloatArray

    def __post_init__(self) -> None:
        fitting = (
            len(self.hash_S) == len(self.entries_S) == len(self.elements_S)
            and len(self.group_N) == len(self.count_N) == self.entries_S.sum()
            and len(self.share_F) == (self.entries_S * self.elements_S).sum()
            and self.log_prior_G.shape == (N_GROUPS,)
            and bool(np.all(self.hash_S[1:] > self.hash_S[:-1]))
            and bool(np.all((self.group_N >= 0) & (self.group_N < N_GROUPS)))
        )
        if not fitting:
            raise BadInput("the known compositions do not fit together: make the composition head again.")

    def __len__(self) -> int:
        return int(self.count_N.sum())

    @classmethod
    def of_entries(
        cls, entries: Iterable[tuple[npt.ArrayLike, npt.ArrayLike, int]], log_prior_G: FloatArray
    ) -> KnownCompositions:
        """From atomic numbers, their shares of the atoms, and the number of the group, 1 to 99, of each."""
        found: defaultdict[int, dict[tuple[tuple[int, ...], int], int]] = defaultdict(dict)
        for numbers, fractions, group in entries:
            name, shares = _named(np.asarray(numbers), np.asarray(fractions))
            of_set, entry = found[name], (tuple(shares.tolist()), int(group) - 1)
            of_set[entry] = of_set.get(entry, 0) + 1
        names = sorted(found)
        rows = [(shares, group, count) for name in names for (shares, group), count in found[name].items()]
        return cls(
            hash_S=np.array(names, dtype=np.int64),
            entries_S=np.array([len(found[name]) for name in names], dtype=np.int64),
            elements_S=np.array([len(next(iter(found[name]))[0]) for name in names], dtype=np.int64),
            share_F=np.array([share for shares, _, _ in rows for share in shares], dtype=np.int64),
            group_N=np.array([group for _, group, _ in rows], dtype=np.int64),
            count_N=np.array([count for _, _, count in rows], dtype=np.int64),
            log_prior_G=np.asarray(log_prior_G, dtype=np.float64),
        )

    def tensors(self) -> dict[str, Tensor]:
        """By name, as small as they are kept."""
        kinds = {"hash_S": np.int64, "entries_S": np.int32, "elements_S": np.uint8, "share_F": np.int16}
        kinds |= {"group_N": np.uint8, "count_N": np.int32, "log_prior_G": np.float64}
        return {name: torch.from_numpy(getattr(self, name).astype(kind)) for name, kind in kinds.items()}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> KnownCompositions:
        """From what `tensors` gave; BadInput where a part is missing or does not fit."""
        try:
            arrays = {name: tensors[name].numpy() for name in cls.__dataclass_fields__}
        except KeyError as error:
            raise BadInput(f"the known compositions lack {error}: make the composition head again.") from None
        prior = arrays.pop("log_prior_G").astype(np.float64)
        return cls(**{name: array.astype(np.int64) for name, array in arrays.items()}, log_prior_G=prior)

    def counts(self, composition: Composition, width: float) -> FloatArray:
        """[99] entries of the composition, of all amounts where it has none; else those whose amounts
        differ count less, see `Trust.width`."""
        found = np.zeros(N_GROUPS)
        name, shares = _named(composition.atomic_numbers, composition.fractions)
        place = int(np.searchsorted(self.hash_S, name))
        if place == len(self.hash_S) or self.hash_S[place] != name:
            return found
        first, first_share = self._begins[0][place], self._begins[1][place]
        rows = slice(first, first + self.entries_S[place])
        weight = self.count_N[rows].astype(np.float64)
        size = len(composition.amounts)
        if composition.exact:
            flat = self.share_F[first_share : first_share + len(weight) * size]
            away = np.abs(flat.reshape(-1, size) - shares).sum(axis=1)
            weight = weight * np.exp(-away * _SHARE_UNIT / width)
        np.add.at(found, self.group_N[rows], weight)
        return found

    def added(self, said_BG: FloatArray, compositions: Sequence[Composition], trust: Trust) -> FloatArray:
        """What network and entries together add to the log prior, nats [n, 99].

        said_BG: nats [n, 99] that the network adds to it, for each of the compositions [n].
        """
        # no group is impossible, whatever the network says
        base_BG = np.exp(normalised(self.log_prior_G + trust.network * said_BG)).clip(min=LEAST)
        counts_BG = np.array([self.counts(one, trust.width) for one in compositions]).reshape(-1, N_GROUPS)
        worth_B = np.array([trust.exact if one.exact else trust.elements for one in compositions])[:, None]
        total_BG = counts_BG + worth_B * base_BG
        return np.log(total_BG / total_BG.sum(axis=1, keepdims=True)) - self.log_prior_G

    @cached_property
    def _begins(self) -> tuple[Ints, Ints]:
        """[S] first entry, and first share, of each set."""
        sizes = self.entries_S, self.entries_S * self.elements_S
        return np.cumsum(sizes[0]) - sizes[0], np.cumsum(sizes[1]) - sizes[1]


def _named(numbers: npt.NDArray[Any], fractions: npt.NDArray[Any]) -> tuple[int, Ints]:
    """64 bits of a set of elements (entries are found by it, and not listed), and the shares as they are
    kept, in the order of the atomic numbers."""
    order = np.argsort(numbers)
    digest = hashlib.blake2b(numbers[order].astype(np.uint8).tobytes(), digest_size=8).digest()
    shares = np.rint(fractions[order] / _SHARE_UNIT).astype(np.int64)
    return int.from_bytes(digest, "little", signed=True), shares
