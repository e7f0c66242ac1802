"""What kind of reflections a line is of: on which axis, in which zone, or general."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eg_agent.verify.lines import dimensions
from eg_agent.verify.metric import MetricSystem

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: Kinds of a crystal family: 0-2 axes, 3-5 zones, 6 general indices.
N_KINDS, ZONES, GENERAL = 7, 3, 6
#: Crystal families of lattices that leave something to tell, in the order of `traits.CONTEXT`.
FAMILIES = ("monoclinic", "orthorhombic", "tetragonal", "hexagonal", "cubic")
#: Numbers that `parities_of` gives.
N_PARITIES = 5


def _classes() -> Ints:
    """[family, kind] number of a class of kinds: axes (and zones) of m and o are alike, others are not."""
    table = np.empty((len(FAMILIES), N_KINDS), dtype=np.int64)
    for family, name in enumerate(FAMILIES):
        alike = name in ("monoclinic", "orthorhombic")
        kinds = [0, 0, 0, 1, 1, 1, 2] if alike else list(range(N_KINDS))
        table[family] = N_KINDS * family + np.array(kinds)
    return table


#: [family, kind] class of each kind, 0 to N_CLASSES - 1 (some numbers are not used).
CLASSES = _classes()
N_CLASSES = N_KINDS * len(FAMILIES)


def kinds_of(hkl: Ints, system: MetricSystem) -> Ints:
    """[k] kinds of reflections [k, 3] on the axes of a metric system (not triclinic).

    Monoclinic and orthorhombic: axes a b c are 0 1 2, zones 0kl h0l hk0 are 3 4 5 (as far as the metric has
    them). Tetragonal: h00, hh0, 00l and h0l, hhl, hk0. Hexagonal: the same with h0l for what has one of h,
    k, i = 0, and hhl for two of them alike. Cubic: h00, hh0, hhh and hk0, hhl.
    """
    dimension = dimensions(hkl, system)
    size = np.abs(hkl)
    axis, zone = dimension == 1, dimension == 2
    kinds = np.full(len(hkl), GENERAL)
    if system.name in ("monoclinic", "orthorhombic"):
        kinds[axis] = np.argmax(size[axis] > 0, axis=1)
        kinds[zone] = ZONES + np.argmax(size[zone] == 0, axis=1)
        return kinds
    if system.name == "cubic":
        low, middle = np.sort(size, axis=1)[:, :2].T
        kinds[axis] = np.where(low[axis] > 0, 2, np.where(middle[axis] > 0, 1, 0))
        kinds[zone] = np.where(low[zone] > 0, ZONES + 1, ZONES)
        return kinds
    h, k, along = size.T
    straight = (h == 0) | (k == 0)
    if system.name == "hexagonal":
        straight |= hkl[:, 0] + hkl[:, 1] == 0
    kinds[axis] = np.where((h + k)[axis] == 0, 2, np.where(straight[axis], 0, 1))
    kinds[zone] = np.where(along[zone] == 0, ZONES + 2, np.where(straight[zone], ZONES, ZONES + 1))
    return kinds


def parities_of(hkl: Ints, system: MetricSystem) -> Floats:
    """[k, 5] ones where reflections [k, 3] belong to a sublattice, whatever the axes are called.

    Monoclinic: index of the unique axis even, both others even. Orthorhombic and cubic: none, one, two, three
    indices even. Tetragonal: h + k even, l even, h and k even, l a multiple of 4. Hexagonal: h - k a multiple
    of 3, l even, h and k even, l a multiple of 3, allowed by a rhombohedral lattice (either way round).
    """
    found = np.zeros((len(hkl), N_PARITIES))
    even = hkl % 2 == 0
    h, k, along = hkl.T
    if system.name == "monoclinic":
        unique = 1 if system.unique_axis is None else system.unique_axis
        columns = [even[:, unique], np.delete(even, unique, axis=1).all(axis=1)]
    elif system.name in ("orthorhombic", "cubic"):
        count = even.sum(axis=1)
        columns = [count == number for number in range(4)]
    elif system.name == "tetragonal":
        columns = [(h + k) % 2 == 0, even[:, 2], even[:, 0] & even[:, 1], along % 4 == 0]
    else:
        rhombohedral = ((k - h + along) % 3 == 0) | ((h - k + along) % 3 == 0)
        columns = [(h - k) % 3 == 0, even[:, 2], even[:, 0] & even[:, 1], along % 3 == 0, rhombohedral]
    for place, column in enumerate(columns):
        found[:, place] = column
    return found
