"""Third step of the sampler: structure factors of all unique reflections of many crystals at once.

exp(2 pi i h.x) factorises over the axes of the cell. For each crystal the products over (h, k) and the
powers along l are two matrices, and their product sums over the atoms for all hkl of a box: a matrix
product, which no sum over single reflections comes near to. Of the box only reflections of the
unique part within the sphere are read.

Axes: B crystal, A atom, H K L indices, E element slot, N reflections of all crystals in one list.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from eg_agent.patterns.radiation import CU_KALPHA1
from simulators.corpus import D_MIN
from simulators.wyckoff.elements import ElementTensors
from simulators.wyckoff.tables import BOXES, MOST_INDEX, multiplicities

#: Below this part of the strongest |F|^2 a reflection is absent: rounding leaves 1e-11 or less.
ABSENT = 1e-9
#: Form factors are read from tables with this many steps of s^2, linearly: off by 1e-5 at the most.
FORM_NODES = 4096
#: Numbers in the largest matrix of one pass: fits the cache of a core; devices take more at once.
_CPU_BUDGET, _DEVICE_BUDGET = 600_000, 100_000_000


@dataclass(frozen=True)
class Contents:
    """Atoms of the primitive cells of B crystals.

    atoms [B, A, 3]: fractional coordinates in the conventional cell. slot [B, A]: element slot, -1 where
    there is no atom. element [B, E]: rows of the element tables. b_iso [B, E] in angstrom^2.
    space_group [B]: number minus 1. metric [B, 6]: reciprocal, a*a*, b*b*, c*c*, b*c*, a*c*, a*b*.
    extent [B, 3]: largest |h|, |k|, |l| within the sphere.
    """

    atoms: Tensor
    slot: Tensor
    element: Tensor
    b_iso: Tensor
    space_group: Tensor
    metric: Tensor
    extent: Tensor


class StructureFactors:
    """Computes peaks; holds the tables that this needs on a device."""

    def __init__(self, elements: ElementTensors, device: torch.device, d_min: float = D_MIN) -> None:
        found = multiplicities()
        self._box = torch.as_tensor(found.box, device=device)
        self._row = torch.as_tensor(found.row, device=device)
        self._tables = [torch.as_tensor(t, device=device) for t in found.table]
        self._elements = elements
        self.limit = 1.0 / d_min**2
        self._form = form_table(elements, self.limit)
        self._budget = _CPU_BUDGET if device.type == "cpu" else _DEVICE_BUDGET

    def peaks(self, contents: Contents, atoms: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """hkl [B, most, 3] and |F|^2 m [B, most] of the strongest peaks, 0 where there are no more.

        atoms [B]: how many of the columns of `contents` count.
        """
        count = len(contents.space_group)
        device = contents.metric.device
        hkl = torch.zeros(count, most, 3, device=device)
        strength = torch.zeros(count, most, device=device)
        kind = self._box[contents.space_group]
        extent = contents.extent.clamp(max=MOST_INDEX)
        size = (extent + 1).prod(1)
        order = torch.argsort(kind * 10_000_000 + size, stable=True)
        plan = torch.cat([kind[:, None], extent, atoms[:, None]], 1)[order].tolist()
        for start, stop in _chunks(plan, self._budget):
            rows = order[start:stop]
            width = max(p[4] for p in plan[start:stop])
            limits = [max(p[i] for p in plan[start:stop]) for i in (1, 2, 3)]
            part = Contents(
                contents.atoms[rows, :width],
                contents.slot[rows, :width],
                *(
                    getattr(contents, n)[rows]
                    for n in ("element", "b_iso", "space_group", "metric", "extent")
                ),
            )
            hkl[rows], strength[rows] = self._chunk(part, plan[start][0], limits, most)
        return hkl, strength

    def _chunk(self, part: Contents, kind: int, limits: list[int], most: int) -> tuple[Tensor, Tensor]:
        crystal, place, index, multiplicity, squared = self._reflections(part, kind, limits)
        sums = self._sums(part, index, crystal, place)
        f2 = self._intensity(part, sums, crystal, squared)
        return _strongest(crystal, place, index, f2, multiplicity, squared, len(part.metric), most)

    def _reflections(
        self, part: Contents, kind: int, limits: list[int]
    ) -> tuple[Tensor, tuple[Tensor, Tensor], list[Tensor], Tensor, Tensor]:
        """Unique reflections within the sphere: crystal [N], place in the box ([N], [N]), the indices of the
        box, multiplicity [N], 1/d^2 [N]."""
        device = part.metric.device
        table = self._tables[kind]
        index, windows = [], []
        for limit, negative in zip(limits, BOXES[kind]):
            low = -limit if negative else 0
            index.append(torch.arange(low, limit + 1, device=device, dtype=torch.float32))
            middle = MOST_INDEX if negative else 0
            windows.append(slice(middle + low, middle + limit + 1))
        h, k, l_ = index
        unique = table[:, windows[0], windows[1], windows[2]][self._row[part.space_group]]
        a, b, c, d, e, f = part.metric.T[:, :, None, None]
        h, k = h[:, None], k[None, :]
        plane = h * (a * h + 2 * f * k) + b * k * k  # [B, H, K]
        slope = 2 * (e * h + d * k)
        squared = (slope[..., None] * l_ + plane[..., None]).add_((c * l_ * l_)[:, :, None])
        inside = (squared <= self.limit).logical_and_(unique > 0).flatten(1, 2)
        crystal, pair, along = inside.nonzero(as_tuple=True)
        flat = crystal * inside[0].numel() + pair * len(l_) + along
        return crystal, (pair, along), index, unique.flatten()[flat].float(), squared.flatten()[flat]

    def _sums(
        self, part: Contents, index: list[Tensor], crystal: Tensor, place: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Geometric sums [E, 2, N] over the atoms of each element, real and imaginary."""
        x = part.atoms - part.atoms.floor()
        waves = []
        for axis, steps in enumerate(index):
            turns = x[..., axis, None] * steps
            phase = (turns - turns.round()).mul_(2 * math.pi)
            waves.append((phase.cos(), phase.sin()))
        (ch, sh), (ck, sk), (cl, sl) = waves
        ch, sh, ck, sk = ch[..., None], sh[..., None], ck[:, :, None], sk[:, :, None]
        left = torch.stack([(ch * ck).sub_(sh * sk), (ch * sk).add_(sh * ck)], 1)  # [B, 2, A, H, K]
        slots = int(part.slot.amax()) + 1
        member = (part.slot[..., None] == torch.arange(slots, device=x.device)).float()[:, :, None, :, None]
        right = torch.stack([torch.stack([cl, sl], 2), torch.stack([-sl, cl], 2)], 1)  # [B, 2, A, 2, L]
        right = (right[:, :, :, :, None] * member[:, None]).transpose(3, 4)  # [B, 2, A, E, 2, L]
        b, _, a = left.shape[:3]
        product = torch.bmm(left.reshape(b, 2 * a, -1).transpose(1, 2), right.reshape(b, 2 * a, -1))
        first = (crystal * product.shape[1] + place[0]) * product.shape[2] + place[1]
        step = torch.arange(2 * slots, device=x.device)[:, None] * len(index[2])
        return product.view(-1).take(first + step).view(slots, 2, -1)

    def _intensity(self, part: Contents, sums: Tensor, crystal: Tensor, squared: Tensor) -> Tensor:
        """|F|^2 [N], averaged over Friedel pairs: real and imaginary parts of f scatter separately."""
        slots = len(sums)
        element = part.element.T[:slots, crystal]  # [E, N]
        node = squared * (FORM_NODES / self.limit)
        low = node.floor()
        place = element * (FORM_NODES + 1) + low.long().clamp(max=FORM_NODES - 1)
        value = self._form.take(place)
        factor = (self._form.take(place + 1) - value).mul_(node - low).add_(value)
        damping = torch.exp(part.b_iso.T[:slots, crystal] * (-0.25 * squared))
        imaginary = self._elements.imaginary[part.element].T[:slots, crystal].mul_(damping)
        real = (sums * factor.mul_(damping)[:, None]).sum(0)
        other = (sums * imaginary[:, None]).sum(0)
        return (real * real).sum(0) + (other * other).sum(0)


def form_table(elements: ElementTensors, limit: float) -> Tensor:
    """f0 + f' [elements * (FORM_NODES + 1)] at equal steps of s^2 up to limit / 4."""
    s2 = torch.linspace(0, limit / 4, FORM_NODES + 1, dtype=torch.float64, device=elements.form.device)
    c = elements.form.double()
    values = (c[:, :4, None] * torch.exp(-c[:, 4:8, None] * s2)).sum(1) + c[:, 8:9]
    return values.float().flatten()


def _strongest(
    crystal: Tensor,
    place: tuple[Tensor, Tensor],
    index: list[Tensor],
    f2: Tensor,
    multiplicity: Tensor,
    squared: Tensor,
    count: int,
    most: int,
) -> tuple[Tensor, Tensor]:
    """The strongest peaks as a diffractometer with Cu K-alpha1 sees them, padded with zeros."""
    number = torch.bincount(crystal, minlength=count)
    first = torch.cumsum(number, 0) - number
    width = int(number.amax()) if len(crystal) else 1
    column = torch.arange(len(crystal), device=crystal.device) - first[crystal]
    strength = torch.zeros(count, width, device=f2.device)
    strength[crystal, column] = f2
    strength *= strength > ABSENT * strength.amax(1, keepdim=True)
    sine2 = squared * (CU_KALPHA1**2 / 4)
    seen = torch.zeros_like(strength)
    seen[crystal, column] = multiplicity * (1 + (1 - 2 * sine2) ** 2) / (sine2 * (1 - sine2).sqrt())
    many = torch.zeros_like(strength)
    many[crystal, column] = multiplicity
    best = (seen * strength).topk(min(most, width), 1).indices
    flat = (first[:, None] + best).clamp(max=max(len(crystal) - 1, 0))
    pair = place[0][flat]
    across = len(index[1])
    value = (strength * many).gather(1, best)
    rows = torch.stack([index[0][pair // across], index[1][pair % across], index[2][place[1][flat]]], 2)
    hkl = torch.zeros(count, most, 3, device=f2.device)
    out = torch.zeros(count, most, device=f2.device)
    hkl[:, : best.shape[1]] = rows * (value > 0)[..., None]
    out[:, : best.shape[1]] = value
    return hkl, out


def _chunks(plan: list[list[int]], budget: int) -> list[tuple[int, int]]:
    """Runs of rows of one kind of box whose padded matrices hold at most `budget` numbers."""
    runs, start = [], 0
    most = [0, 0, 0, 0]
    for i, (kind, *sizes) in enumerate(plan):
        grown = [max(m, s) for m, s in zip(most, sizes)]
        spread = 1
        for limit, negative in zip(grown, BOXES[kind]):
            spread *= limit * (2 if negative else 1) + 1
        numbers = (i - start + 1) * (2 * grown[3] * spread // (grown[2] + 1) + 8 * spread)
        if i > start and (kind != plan[start][0] or numbers > budget):
            runs.append((start, i))
            start, grown = i, list(sizes)
        most = grown
    return [*runs, (start, len(plan))] if plan else []
