"""The absence network in torch, for training; `eg_agent.verify.absence_network` is the same in numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from eg_agent.verify.absence_network import PARTS
from eg_agent.verify.lattice_shape import N_SHAPE, shape_features
from eg_agent.verify.line_features import FEATURES
from eg_agent.verify.line_kinds import CLASSES, N_CLASSES, N_KINDS
from trainer.absences.intensities import LineSample
from trainer.lattices.training import off

#: Numbers that stand for a class of kinds, for a lattice and for a group.
EMBEDDED, LATTICE, GROUP = 8, 16, 8
#: Relative error of lengths that lattices are given in training.
CELL_ERROR = 0.03
#: Hidden width between a lattice's features and those.
SHAPE_HIDDEN = 48
#: One more than the highest group number.
NUMBERS = 100
NEVER = -1e9


@dataclass(frozen=True, slots=True)
class Size:
    """Widths: of a line's two vectors, of psi's hidden layers, of rho's hidden layer and result."""

    line: int = 24
    hidden: int = 48
    kind: int = 64
    inside: int = 32


@dataclass(frozen=True, eq=False)
class Lines:
    """Samples as tensors, padded: values [b, k, 15], kinds [b, k], there [b, k], family [b], shape
    [b, N_SHAPE], forbidden [b, c, k], groups [b, c] (0: no candidate), group [b]."""

    values: Tensor
    kinds: Tensor
    there: Tensor
    family: Tensor
    shape: Tensor
    forbidden: Tensor
    groups: Tensor
    group: Tensor


def padded(samples: Sequence[LineSample], rng: np.random.Generator | None = None) -> Lines:
    """Samples side by side; rng: for lattices a little off (`CELL_ERROR`), so that none is known by heart."""
    count = len(samples)
    k, c = max(len(s.kinds) for s in samples), max(len(s.groups) for s in samples)
    values = np.zeros((count, k, len(FEATURES)), dtype=np.float32)
    kinds, groups = np.zeros((count, k), dtype=np.int64), np.zeros((count, c), dtype=np.int64)
    there, forbidden = np.zeros((count, k), dtype=np.float32), np.zeros((count, c, k), dtype=np.float32)
    for i, s in enumerate(samples):
        lines, candidates = len(s.kinds), len(s.groups)
        values[i, :lines], kinds[i, :lines], there[i, :lines] = s.values, s.kinds, 1.0
        groups[i, :candidates], forbidden[i, :candidates, :lines] = s.groups, s.forbidden
    family, group = np.array([s.family for s in samples]), np.array([s.group for s in samples])
    numbers = np.array([s.shape for s in samples], dtype=np.float64)
    if rng is not None:
        numbers = off(family, numbers, CELL_ERROR, rng)
    shape = shape_features(family, numbers).astype(np.float32)
    arrays = (values, kinds, there, family, shape, forbidden, groups, group)
    return Lines(*(torch.from_numpy(a) for a in arrays))


class AbsenceModule(nn.Module):
    """[b, c] log-likelihoods of candidates, up to a constant of each sample. coarse: the parts that cost most
    are worked out with eight bits of precision, twice as fast where a processor can."""

    table: Tensor

    def __init__(self, size: Size | None = None) -> None:
        super().__init__()
        self.size = size = size or Size()
        self.coarse = False
        self.classes = nn.Embedding(N_CLASSES, EMBEDDED)
        self.register_buffer("table", torch.from_numpy(CLASSES), persistent=False)
        self.groups = nn.Embedding(NUMBERS, GROUP)
        of_sums = 4 * size.line + 4
        self.lattice = _layers(N_SHAPE, SHAPE_HIDDEN, LATTICE)
        self.psi = _layers(len(FEATURES) + EMBEDDED + LATTICE, size.hidden, size.hidden, 2 * size.line)
        self.rho = _layers(of_sums + EMBEDDED + LATTICE, size.kind, size.inside)
        self.out = _layers(size.inside + of_sums + LATTICE + GROUP, 64, 32, 1)

    def forward(self, of: Lines) -> Tensor:
        class_of_kind = self.table[of.family]
        own = self.classes(torch.gather(class_of_kind, 1, of.kinds))
        lattice = self.lattice(of.shape)
        of_lines = lattice[:, None].expand(*own.shape[:2], LATTICE)
        said = self._part(self.psi, torch.cat([of.values, own, of_lines], 2)) * of.there[..., None]
        place = one_hot(of.kinds, N_KINDS).float() * of.there[..., None]
        width = self.size.line
        off = self._by_kind(said[..., :width], place)
        on = self._by_kind(said[..., width:], place)
        shape = (*of.forbidden.shape[:2], N_KINDS, width + 1)
        summed_off = (of.forbidden @ off).reshape(shape)
        every_on = on.sum(1)[:, None]
        summed_on = (every_on - of.forbidden @ on).reshape(shape)
        kind = self.classes(class_of_kind)[:, None].expand(*shape[:3], EMBEDDED)
        around = lattice[:, None, None].expand(*shape[:3], LATTICE)
        each = self._part(self.rho, torch.cat([_summed(summed_off, summed_on), kind, around], -1))
        there = (summed_off[..., -1:] + summed_on[..., -1:]) > 0.5
        total = _summed(summed_off.sum(2), summed_on.sum(2))
        last = [(each * there).sum(2), total, around[:, :, 0], self.groups(of.groups)]
        return self.out(torch.cat(last, -1))[..., 0]

    def _part(self, layers: nn.Sequential, values: Tensor) -> Tensor:
        with torch.autocast(values.device.type, torch.bfloat16, enabled=self.coarse):
            return layers(values).float()

    @staticmethod
    def _by_kind(values: Tensor, place: Tensor) -> Tensor:
        """[b, k, kind * (width + 1)]: a line's vector, and a 1 that counts it, in the place of its kind."""
        counted = torch.cat([values, torch.ones_like(values[..., :1])], 2)
        return (place[..., None] * counted[:, :, None, :]).flatten(2)

    def tensors(self) -> dict[str, np.ndarray]:
        """Weights by the names that `eg_agent.verify.absence_network.network_of` reads."""
        return {name: value.detach().numpy().astype(np.float32) for name, value in self._named().items()}

    def take_up(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Go on with weights that `tensors` gave to a network of this size; others among them are left."""
        with torch.no_grad():
            for name, value in self._named().items():
                value.copy_(torch.from_numpy(np.asarray(tensors[name], dtype=np.float32)))

    def _named(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {"classes": self.classes.weight, "groups": self.groups.weight}
        for part in PARTS:
            linear = [layer for layer in getattr(self, part) if isinstance(layer, nn.Linear)]
            for place, layer in enumerate(linear):
                found |= {f"{part}.{place}.weight": layer.weight, f"{part}.{place}.bias": layer.bias}
        return found


def _layers(*widths: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for number, (a, b) in enumerate(pairwise(widths)):
        parts += [nn.SiLU()] * (number > 0) + [nn.Linear(a, b)]
    return nn.Sequential(*parts)


def _summed(off: Tensor, on: Tensor) -> Tensor:
    """`eg_agent.verify.absence_network.summed` of tensors."""
    counts = off[..., -1:], on[..., -1:]
    parts = []
    for sums, count in zip((off[..., :-1], on[..., :-1]), counts, strict=True):
        parts += [torch.sign(sums) * torch.log1p(sums.abs()), sums / (1.0 + count)]
    many_off, many_on = counts
    parts += [torch.log1p(many_off), torch.log1p(many_on), (many_off > 0.5).float()]
    parts.append(many_off / (many_off + many_on + 1.0))
    return torch.cat(parts, -1)


def group_likelihoods(score: Tensor, groups: Tensor) -> Tensor:
    """[b, 100] log of the mean likelihood of a group's settings, by its number; NEVER where it has none."""
    there = groups > 0
    score = torch.where(there, score, torch.tensor(NEVER))
    most = score.max(1, keepdim=True).values
    parts = torch.where(there, (score - most).clamp(min=-60.0).exp(), torch.zeros(()))
    empty = torch.zeros(len(score), NUMBERS)
    total = empty.scatter_add(1, groups, parts)
    count = empty.scatter_add(1, groups, there.float())
    mean = torch.log(total.clamp(min=1e-30) / count.clamp(min=1.0))
    return torch.where(count > 0, mean, torch.tensor(NEVER))
