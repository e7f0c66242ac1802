"""`WyckoffSource`: random crystals and their peaks, a batch at a time, on any device.

Crystal i of a family of random numbers is the same alone or in any batch, as peaks or as a `Crystal`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eg_agent.errors import BadInput
from simulators.counter_random import CounterRandom
from simulators.crystal import TRANSLATION_DENOMINATOR, Crystal
from simulators.peak_source import Peaks
from simulators.structures import reduced_formula
from simulators.wyckoff.compiled import CompiledFactors, CompiledPlacing
from simulators.wyckoff.config import WyckoffConfig
from simulators.wyckoff.elements import SYMBOLS, element_tensors
from simulators.wyckoff.placing import Placed, Placing
from simulators.wyckoff.recipe import Recipe, Recipes
from simulators.wyckoff.structure_factors import Contents, StructureFactors
from simulators.wyckoff.tables import tables

#: Index into STRAIN_TYPES of the crystal systems in the setting of the tables: triclinic, monoclinic
#: (unique axis b), orthorhombic, tetragonal, trigonal and hexagonal, cubic.
_STRAIN_KIND = (7, 4, 3, 1, 2, 0)
#: Purpose of the random numbers of `WyckoffSource.crystal`.
CRYSTAL = 0


class WyckoffSource:
    """Random crystals with the distributions of a `WyckoffConfig`, for streams and as `Crystal`.

    A batch costs some hundreds of tensor operations whatever its size: draw a thousand or more at once.
    """

    def __init__(
        self,
        config: WyckoffConfig | None = None,
        device: str | torch.device = "cpu",
        compiled: bool | None = None,
    ) -> None:
        """compiled: kernels for a CPU instead of tensor operations; by default wherever the device is one."""
        config, device = config or WyckoffConfig(), torch.device(device)
        if compiled is None:
            compiled = device.type == "cpu"
        if compiled and device.type != "cpu":
            raise BadInput(f"compiled kernels run on a CPU, not on {device}: leave `compiled` out.")
        elements = element_tensors(device)
        self._recipes = Recipes(config, elements, device)
        self._placing = CompiledPlacing(config, elements) if compiled else Placing(config, elements, device)
        self._compiled = CompiledFactors(elements) if compiled else None
        self._factors = StructureFactors(elements, device)
        t = tables()
        group = np.repeat(np.arange(230), np.diff(t.first))
        which = np.maximum(t.orbit, 0)

        def reals(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array, dtype=torch.float32, device=device)

        def integers(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array.astype(np.int64), device=device)

        self._shape, self._origin = reals(t.shape), reals(t.origin / TRANSLATION_DENOMINATOR)
        self._rotation = reals(t.rotation[group[:, None], which])
        self._translation = reals(t.translation[group[:, None], which] / TRANSLATION_DENOMINATOR)
        self._orbit_size = integers(t.orbit_size)
        system = np.searchsorted((2, 15, 74, 142, 194, 230), np.arange(1, 231))
        self._kind = integers(np.array(_STRAIN_KIND)[system])
        self._group = integers(_groups())
        self._device = device

    def group_probability(self) -> npt.NDArray[np.float64]:
        """float64 [99] probability of each extinction group."""
        return self._recipes.group_probability.copy()

    @torch.no_grad()
    def draw(self, random: CounterRandom, base: int, most: int) -> Peaks:
        """See `simulators.peak_source.PeakSource.draw`; all peaks to d = 1.03 angstrom, no dynamic range."""
        recipe, placed = self._structures(random.child(base))
        metric = _reciprocal(placed.metric)
        if self._compiled is not None:
            hkl, strength = self._compiled.peaks(recipe, placed, metric, most)
        else:
            hkl, strength = self._factors.peaks(*self._contents(recipe, placed, metric), most)
        return Peaks(
            hkl,
            strength,
            metric,
            self._kind[recipe.space_group],
            recipe.space_group + 1,
            self._group[recipe.space_group],
            torch.full_like(recipe.space_group, -1),
        )

    @torch.no_grad()
    def crystals(self, random: CounterRandom, base: int) -> list[Crystal]:
        """The same structures as `draw` gives the peaks of, as crystals in double precision."""
        recipe, placed = self._structures(random.child(base))
        recipe = Recipe(*(getattr(recipe, n).cpu() for n in Recipe.__dataclass_fields__))
        placed = Placed(*(getattr(placed, n).cpu() for n in Placed.__dataclass_fields__))
        return [_crystal(recipe, placed, i) for i in range(len(recipe.sites))]

    def crystal(self, seed: int, index: int) -> Crystal:
        """Crystal number `index` of a seed; raises BadInput for a negative number."""
        if index < 0:
            raise BadInput(f"crystal number {index} is negative: count from 0.")
        numbers = CounterRandom(seed, torch.tensor([index], device=self._device))
        return replace(self.crystals(numbers, CRYSTAL)[0], name=f"wyckoff {seed}-{index}")

    def _structures(self, random: CounterRandom) -> tuple[Recipe, Placed]:
        recipe = self._recipes.draw(random)
        return recipe, self._placing.place(random, recipe)

    def _contents(self, recipe: Recipe, placed: Placed, metric: Tensor) -> tuple[Contents, Tensor]:
        """All atoms of the primitive cells, and how many there are."""
        crystal, site = placed.kept.nonzero(as_tuple=True)
        position = recipe.position[crystal, site]
        size = self._orbit_size[position]
        x = torch.matmul(self._shape[position], placed.free[crystal, site][:, :, None])[:, :, 0]
        x = x + self._origin[position]
        owner = torch.repeat_interleave(torch.arange(len(size), device=size.device), size)
        start = torch.cumsum(size, 0) - size
        member = torch.arange(len(owner), device=size.device) - start[owner]
        rotation = self._rotation[position[owner], member]
        image = torch.matmul(rotation, x[owner][:, :, None])[:, :, 0]
        image = image + self._translation[position[owner], member]
        count = len(recipe.sites)
        atoms = torch.zeros(count, dtype=torch.int64, device=size.device).index_add_(0, crystal, size)
        first = torch.cumsum(atoms, 0) - atoms
        row = crystal[owner]
        column = torch.arange(len(owner), device=size.device) - first[row]
        width = int(atoms.amax())
        where = torch.zeros(count, width, 3, device=size.device)
        slot = torch.full((count, width), -1, dtype=torch.int64, device=size.device)
        where[row, column] = image
        slot[row, column] = recipe.slot[crystal, site][owner]
        extent = (placed.cell[:, :3] * self._factors.limit**0.5).floor().long()
        return Contents(where, slot, recipe.element, recipe.b_iso, recipe.space_group, metric, extent), atoms


def _crystal(recipe: Recipe, placed: Placed, row: int) -> Crystal:
    t = tables()
    kept = placed.kept[row].nonzero()[:, 0]
    number = int(recipe.space_group[row]) + 1
    position = recipe.position[row, kept].numpy()
    free = placed.free[row, kept].double().numpy()
    fractional = (
        np.einsum("sij,sj->si", t.shape[position], free) + t.origin[position] / TRANSLATION_DENOMINATOR
    )
    slot = recipe.slot[row, kept]
    elements = [SYMBOLS[e] for e in recipe.element[row, slot].tolist()]
    amounts: dict[str, float] = {}
    for element, size in zip(elements, t.orbit_size[position].tolist()):
        amounts[element] = amounts.get(element, 0.0) + size
    cell = placed.cell[row].double().numpy()
    a, b, c, alpha, beta, gamma = (*cell[:3].tolist(), *np.degrees(np.arccos(cell[3:])).tolist())
    return Crystal(
        cell=(a, b, c, alpha, beta, gamma),
        operations=t.operations(number),
        elements=tuple(elements),
        fractional=fractional % 1.0,
        occupancy=np.ones(len(kept)),
        b_iso=recipe.b_iso[row, slot].double().numpy(),
        space_group=number,
        name=f"wyckoff {number}",
        formula=reduced_formula(amounts),
    )


def _reciprocal(metric: Tensor) -> Tensor:
    """Reciprocal metric [B, 6] of direct ones, in the same order."""
    aa, bb, cc, bc, ac, ab = metric.double().unbind(1)
    cofactors = (
        bb * cc - bc * bc, aa * cc - ac * ac, aa * bb - ab * ab,
        ab * ac - aa * bc, ab * bc - bb * ac, ac * bc - cc * ab,
    )  # fmt: skip
    determinant = aa * cofactors[0] + ab * cofactors[5] + ac * cofactors[4]
    return (torch.stack(cofactors, 1) / determinant[:, None]).float()


def _groups() -> np.ndarray:
    from eg_agent.symmetry import group_of_space_group

    return np.array([group_of_space_group(n) - 1 for n in range(1, 231)])
