"""Second step of the sampler: a cell, and places for all sites that keep the least distances.

Sites are placed one after another, for all crystals of a batch at once: of a few candidates the first
one that is far enough from all atoms, or else the one with the most room. Special sites without room
are left out; a crystal whose symmetry-showing sites lack room is tried again as a whole, and in the end
its cell is widened. Nothing is summed over atoms, so a crystal does not depend on its batch.

Axes: B crystal, S site, T candidate, A atom placed so far, M member of an orbit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simulators.counter_random import CounterRandom
from simulators.crystal import TRANSLATION_DENOMINATOR
from simulators.wyckoff.config import MOST_SITES, WyckoffConfig
from simulators.wyckoff.elements import ElementTensors
from simulators.wyckoff.recipe import Recipe, normal
from simulators.wyckoff.tables import MOST_INDEX, tables

#: Largest cell edge (angstrom): its indices stay within the multiplicity tables down to 1.03 angstrom.
LONGEST_EDGE = 40.0
#: A place is looked for with this much more room than the least distance, squared.
COMFORT = 1.44
#: Cells are widened in steps of one over this.
STRETCH_STEPS = 4096
#: Crystals are placed together by number of sites and by the size of their general orbit.
_MANY_SITES = 12
_ORBIT_CLASSES = (4, 16)
#: Axes that are not at right angles: none; hexagonal; monoclinic, unique axis b; all.
_SKEW: tuple[tuple[int, int] | None, ...] = (None, (0, 1), (0, 2), None)
_ORTHOGONAL, _TRICLINIC = 0, 3
#: Row of _SKEW of each crystal system, triclinic to cubic.
SYSTEM_SKEW = (_TRICLINIC, 2, _ORTHOGONAL, _ORTHOGONAL, 1, _ORTHOGONAL)
#: Purpose of the random numbers of the candidates.
PLACES = 10
_FAR = 1e9


@dataclass(frozen=True)
class Placed:
    """Cells and sites.

    cell [B, 6]: a, b, c in angstrom, cosines of alpha, beta, gamma. metric [B, 6]: aa, bb, cc,
    bc cos(alpha), ac cos(beta), ab cos(gamma) in angstrom^2. free [B, S, 3]: the free parameters u of
    each site. kept [B, S]: which sites count.
    """

    cell: Tensor
    metric: Tensor
    free: Tensor
    kept: Tensor


class Placing:
    """Places recipes; holds the tables that this needs on a device."""

    def __init__(self, config: WyckoffConfig, elements: ElementTensors, device: torch.device) -> None:
        self._config = config
        t = tables()

        def integers(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array.astype(np.int64), device=device)

        def reals(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array, dtype=torch.float32, device=device)

        number = np.arange(1, 231)
        self._system = integers(np.searchsorted((2, 15, 74, 142, 194, 230), number))
        self._centring_count = integers(t.centring_count)
        self._centring = reals(t.centring / TRANSLATION_DENOMINATOR)
        self._lattice = reals(_short_vectors(t.centring, t.centring_count))
        self._shape, self._origin = reals(t.shape), reals(t.origin / TRANSLATION_DENOMINATOR)
        self._orbit_size = integers(t.orbit_size)
        self._operations = integers(t.operation_count)
        group = np.repeat(np.arange(230), np.diff(t.first))
        # Members beyond an orbit's last repeat its second one, which changes no least distance.
        orbit = np.where(t.orbit >= 0, t.orbit, np.where(t.orbit_size > 1, t.orbit[:, 1], 0)[:, None])
        self._rotation = reals(t.rotation[group[:, None], orbit])
        self._translation = reals(t.translation[group[:, None], orbit] / TRANSLATION_DENOMINATOR)
        self._near = elements.squared_distance

    def place(self, random: CounterRandom, recipe: Recipe) -> Placed:
        """Places for all crystals of a family of random numbers; uses its purposes 20 and up."""
        count = len(recipe.sites)
        cell = torch.empty(count, 6, device=recipe.sites.device)
        metric, free = torch.empty_like(cell), torch.zeros(count, MOST_SITES, 3, device=cell.device)
        kept = torch.zeros(count, MOST_SITES, dtype=torch.bool, device=cell.device)
        room = torch.zeros(count, device=cell.device)
        rows = torch.arange(count, device=cell.device)
        for attempt in range(self._config.attempts):
            numbers = random.subset(rows).child(20 + attempt)
            part = _rows(recipe, rows)
            new_cell, new_metric = self._cells(numbers, part)
            new_free, new_kept, new_room = self._sites(numbers, part, new_metric, merged=attempt > 0)
            new_room = torch.minimum(new_room, self._lattice_room(part, new_metric))
            better = new_room > room[rows]
            target = rows[better]
            cell[target], metric[target] = new_cell[better], new_metric[better]
            free[target], kept[target], room[target] = new_free[better], new_kept[better], new_room[better]
            rows = rows[room[rows] < 1.0]
            if not len(rows):
                break
        # In whole steps, so that the last bit of a distance does not show in the cell.
        stretch = (room.clamp(min=1e-3).rsqrt() * STRETCH_STEPS).ceil() / STRETCH_STEPS
        stretch = torch.where(room < 1.0, stretch, 1.0)
        cell = torch.cat([cell[:, :3] * stretch[:, None], cell[:, 3:]], 1)
        return Placed(cell, metric * (stretch * stretch)[:, None], free, kept)

    # ------------------------------------------------------------------- cells

    def _cells(self, random: CounterRandom, recipe: Recipe) -> tuple[Tensor, Tensor]:
        """Cells of the drawn volumes, in the shape that each crystal system allows."""
        system = self._system[recipe.space_group]
        ratio = torch.exp(self._config.ratio_sigma * normal(random, 0, 3).clamp(-2.0, 2.0))
        u, z = random.uniform(1, 3).double(), normal(random, 2).abs().clamp(max=2.5)
        a, b, c = ratio.unbind(1)
        b = torch.where(system >= 3, a, b)
        c = torch.where(system == 5, a, c)
        angles = torch.deg2rad(70 + 43 * u)
        cosines = torch.where((system == 0)[:, None], angles.cos(), 0.0)
        cosines[:, 1] = torch.where(system == 1, -torch.sin(torch.deg2rad(12 * z)), cosines[:, 1])
        cosines[:, 2] = torch.where(system == 4, -0.5, cosines[:, 2])
        volume = recipe.volume * self._centring_count[recipe.space_group]
        edges = torch.stack([a, b, c], 1)
        edges = edges * (volume / _volume(edges, cosines)).pow(1 / 3)[:, None]
        long = (edges.amax(1) > LONGEST_EDGE)[:, None]
        equal = (volume / _volume(torch.ones_like(edges), cosines)).pow(1 / 3)[:, None].expand(-1, 3)
        edges = torch.where(long, equal, edges).clamp(max=float(MOST_INDEX))
        products = torch.stack(
            [edges[:, 1] * edges[:, 2], edges[:, 0] * edges[:, 2], edges[:, 0] * edges[:, 1]], 1
        )
        whole = torch.cat([edges, cosines], 1), torch.cat([edges * edges, products * cosines], 1)
        return whole[0].float(), whole[1].float()

    def _lattice_room(self, recipe: Recipe, metric: Tensor) -> Tensor:
        """[B] shortest lattice vector over the largest least distance of like atoms, squared."""
        vectors = self._lattice[recipe.space_group]
        length = _squared(vectors.unbind(2), metric[:, :, None].unbind(1)).amin(1)
        organic = recipe.organic.long()[:, None]
        near = self._near[organic, recipe.element, recipe.element]
        return length / near.amax(1)

    # ------------------------------------------------------------------- sites

    def _sites(
        self, random: CounterRandom, recipe: Recipe, metric: Tensor, *, merged: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Free parameters, kept sites and room of all rows; merged: in few groups, for few rows."""
        device = metric.device
        operations = self._operations[recipe.space_group]
        system = self._system[recipe.space_group]
        skew = torch.tensor(SYSTEM_SKEW, device=device)[system]
        large = torch.bucketize(operations, torch.tensor(_ORBIT_CLASSES, device=device))
        if merged:
            large = torch.zeros_like(large)
        many = recipe.sites > _MANY_SITES
        large = torch.where(many, 3, large)
        skew = torch.where(many & (skew != _ORTHOGONAL), _TRICLINIC, skew)
        key = large * 4 + skew
        order = torch.argsort(key * 64 + (MOST_SITES - recipe.sites), stable=True)
        free = torch.zeros(len(key), MOST_SITES, 3, device=device)
        kept = torch.zeros(len(key), MOST_SITES, dtype=torch.bool, device=device)
        room = torch.zeros(len(key), device=device)
        start = 0
        for group, size in enumerate(torch.bincount(key, minlength=16).tolist()):
            if size:
                rows = order[start : start + size]
                start += size
                part = self._chunk(random.subset(rows), _rows(recipe, rows), metric[rows], skew=group % 4)
                width = part[0].shape[1]
                free[rows, :width], kept[rows, :width], room[rows] = part
        return free, kept, room

    def _chunk(
        self, random: CounterRandom, recipe: Recipe, metric: Tensor, *, skew: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Crystals in the order of descending number of sites: those that still place are always a prefix."""
        device, tries = metric.device, self._config.candidates
        steps = int(recipe.sites[0])
        column = torch.arange(steps, device=device)
        position = recipe.position[:, :steps]
        orbit = self._orbit_size[position] * (column < recipe.sites[:, None])
        active = (recipe.sites[None, :] > column[:, None]).sum(1).tolist()
        widest, filled = orbit.amax(0).tolist(), torch.cumsum(orbit, 1).amax(0).tolist()
        count, width = len(metric), max(filled)
        u = random.uniform(PLACES, steps * tries * 3).view(count, steps, tries, 3)
        x = torch.matmul(u, self._shape[position].transpose(2, 3)) + self._origin[position][:, :, None]
        element = recipe.element.gather(1, recipe.slot[:, :steps])
        near = 1.0 / self._near[recipe.organic.long()[:, None], element]  # [B, S, elements]
        lattice = _Lattice(metric, self._centring[recipe.space_group], self._centring_count, recipe, skew)
        atoms = torch.zeros(3, count, width + 1, device=device)  # the last column takes what is padding
        kind = torch.zeros(count, width + 1, dtype=torch.int64, device=device)
        used = torch.zeros(count, dtype=torch.int64, device=device)
        room = torch.full((count,), _FAR, device=device)
        chosen = torch.zeros(count, steps, dtype=torch.int64, device=device)
        kept = torch.zeros(count, steps, dtype=torch.bool, device=device)
        preference = COMFORT * 10 - torch.arange(tries, device=device) * 0.01
        for step in range(steps):
            b, m = active[step], max(widest[step], 1)
            where, bound, size = position[:b, step], near[:b, step], orbit[:b, step]
            site = x[:b, step]
            turned = torch.matmul(site, self._rotation[:, :m][where].view(b, m * 3, 3).transpose(1, 2))
            image = turned.view(b, tries, m, 3) + self._translation[:, :m][where][:, None]
            image = image.permute(3, 0, 1, 2)  # [3, b, T, M]
            here = site.permute(2, 0, 1)[..., None]
            best = torch.full((b, tries), _FAR, device=device)
            if m > 1:
                own = lattice.nearest(image[..., 1:] - here, b).amin(-1)
                own = own * bound.gather(1, element[:b, step, None])
                best = torch.where((size > 1)[:, None], own, best)
            if step:
                a = filled[step - 1]
                other = lattice.nearest(atoms[:, :b, None, :a] - here, b)
                best = torch.minimum(best, other.mul_(bound.gather(1, kind[:b, :a])[:, None]).amin(-1))
            best = best.clamp(max=COMFORT * 8)
            which = torch.where(best >= COMFORT, preference, best).argmax(1)
            value = best.gather(1, which[:, None])[:, 0]
            keep = (value >= 1.0) | (step < recipe.anchors[:b])
            room[:b] = torch.where(keep, torch.minimum(room[:b], value), room[:b])
            chosen[:b, step], kept[:b, step] = which, keep
            new = image.gather(2, which[None, :, None, None].expand(3, -1, 1, m))[:, :, 0]
            if not step:  # padding repeats the first atom, which changes no least distance
                atoms[:] = new[..., :1]
                kind[:] = element[:, :1]
            place = torch.arange(m, device=device)
            target = torch.where(keep[:, None] & (place < size[:, None]), used[:b, None] + place, width)
            atoms[:, :b].scatter_(2, target.expand(3, -1, -1), new)
            kind[:b].scatter_(1, target, element[:b, step, None].expand(-1, m))
            used[:b] += size * keep
        free = u.gather(2, chosen[:, :, None, None].expand(-1, -1, 1, 3))[:, :, 0]
        return free, kept, room


class _Lattice:
    """Shortest differences modulo the lattices of a chunk of crystals."""

    def __init__(self, metric: Tensor, centring: Tensor, counts: Tensor, recipe: Recipe, skew: int) -> None:
        shifts = int(counts[recipe.space_group].amax())
        self._shifts = None if shifts == 1 else centring[:, :shifts].permute(1, 2, 0)[..., None, None]
        self._metric = metric.T[:, :, None, None].contiguous()  # [6, B, 1, 1]
        self._skew = skew

    def nearest(self, delta: Tensor, b: int) -> Tensor:
        """Least squared lengths [b, T, A] of differences [3, b, T, A] of the first b crystals."""
        metric = self._metric[:, :b]
        if self._shifts is None:
            return self._one(delta, metric)
        best = self._one(delta, metric)
        for shift in self._shifts[1:]:
            best = torch.minimum(best, self._one(delta + shift[:, :b], metric))
        return best

    def _one(self, delta: Tensor, metric: Tensor) -> Tensor:
        """Rounded differences are the shortest at right angles; else neighbours along skew axes are tried."""
        delta = delta - delta.round()
        if self._skew == _TRICLINIC:
            return _nearest_corner(delta, metric)
        diagonal = (delta * delta).mul_(metric[:3])
        squared = diagonal[0].add_(diagonal[1]).add_(diagonal[2])
        axes = _SKEW[self._skew]
        if axes is None:
            return squared
        p, q = axes
        product = metric[5] if q == 1 else metric[4]
        x, y = delta[p].abs(), delta[q].abs()
        cross = (delta[p] * delta[q]).mul_(product)
        squared += cross.mul(2)
        cross = cross.sign_().mul_(product.abs()).mul_(2)
        # One step back along p, or along q; both at once is never nearer.
        other = torch.minimum(
            (1 - 2 * x).mul_(metric[p]).sub_(cross * y), (1 - 2 * y).mul_(metric[q]).sub_(cross * x)
        )
        return squared.add_(other.clamp_(max=0.0))


def _rows(recipe: Recipe, rows: Tensor) -> Recipe:
    return Recipe(*(getattr(recipe, name)[rows] for name in Recipe.__dataclass_fields__))


def _nearest_corner(delta: Tensor, metric: Tensor) -> Tensor:
    """Least squared length over the eight corners of the lattice cell around each difference.

    With d the difference, a step s along axes of the set I (against the signs of d) changes d.G.d by
    the sum over I of (G_ii + 2 s_i (G d)_i) and over pairs of 2 s_i s_j G_ij.
    """
    swapped = delta[[1, 2, 0]]  # y, z, x
    mixed = metric[[5, 3, 4]]  # xy, yz, xz: the products of delta with swapped
    forward = mixed * swapped
    backward = (mixed * delta)[[2, 0, 1]]
    product = (metric[:3] * delta).add_(forward).add_(backward)
    squared = (delta * product).sum(0)
    sign = delta.sign()
    single = metric[:3] - 2 * sign * product
    pair = (sign * sign[[1, 2, 0]]).mul_(mixed).mul_(2).add_(single).add_(single[[1, 2, 0]])
    best = torch.minimum(single.amin(0), pair.amin(0))
    triple = pair.sum(0).sub_(single.sum(0))
    return squared.add_(torch.minimum(best, triple).clamp_(max=0.0))


def _squared(delta: tuple[Tensor, ...], metric: tuple[Tensor, ...]) -> Tensor:
    x, y, z = delta
    aa, bb, cc, bc, ac, ab = metric
    return aa * x * x + bb * y * y + cc * z * z + 2 * (bc * y * z + ac * x * z + ab * x * y)


def _volume(edges: Tensor, cosines: Tensor) -> Tensor:
    ca, cb, cg = cosines.unbind(1)
    root = (1 - ca * ca - cb * cb - cg * cg + 2 * ca * cb * cg).sqrt()
    return edges[:, 0] * edges[:, 1] * edges[:, 2] * root


def _short_vectors(centring: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """[230, V, 3] lattice vectors that may be the shortest ones, one of each pair of opposites."""
    steps = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    lists = []
    for vectors, count in zip(centring, counts):
        all_of_them = (steps[:, None] + vectors[None, :count] / TRANSLATION_DENOMINATOR).reshape(-1, 3)
        small = (np.abs(all_of_them) <= 1).all(1) & all_of_them.any(1)
        flat = all_of_them[small]
        lists.append(flat[[tuple(v) > (0.0, 0.0, 0.0) for v in flat.tolist()]])
    width = max(map(len, lists))
    return np.stack([np.concatenate([v, np.repeat(v[:1], width - len(v), 0)]) for v in lists])
