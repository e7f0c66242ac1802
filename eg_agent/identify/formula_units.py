"""How many formula units a cell holds, by the volume that their atoms take: no density has to be known.

Four formula units are what P 1 21/c 1 has of a molecule or an ion without symmetry, a primitive cubic cell
with one is another matter than a face-centred one with four: the number goes with the group. Atoms take about
the volumes that they have in the structures that the prior of lattices is trained on (`trainer.lattices`):
other ones in oxides and fluorides than in sulphides and salts, and again in alloys. Half of all cells come
out within 6 % of their number so, nine of ten within 21 %.

Molecules pack less densely and are rare there: where there is carbon with hydrogen, and they are not those of
a carbonate, each other atom takes 18 cubic angstrom and hydrogen none (Kempster & Lipson, Acta Cryst. B28
(1972) 3674).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import gemmi
import numpy as np
import numpy.typing as npt

from eg_agent.chemistry import Composition

Floats = npt.NDArray[np.float64]

#: Atomic numbers, 0 for no element.
N_ELEMENTS = 119
#: Largest number of the scarcest element in a formula, and what amounts may be off a whole number.
MOST, OFF = 8, 0.05
#: Angstrom^3 of an atom other than hydrogen in a molecule.
IN_MOLECULES = 18.0
HYDROGEN, CARBON, NITROGEN, OXYGEN = 1, 6, 7, 8
#: Elements of other oxo anions: sulphates, phosphates, arsenates, selenates, with four oxygen each.
OXO_ANIONS, THEIR_OXYGEN = (15, 16, 33, 34), 4
#: Oxygen an atom of carbon, beside water, in a carbonate: that of a hydrogen carbonate (oxalates have 2).
IN_CARBONATES = 2.5
#: Elements that make a compound an oxide or fluoride, or else a salt or sulphide; the rest are alloys.
OXIDES, SALTS = (8, 9), (7, 16, 17, 34, 35, 52, 53)
N_KINDS = 3


def whole_amounts(composition: Composition | None) -> dict[int, int] | None:
    """Smallest whole amounts by atomic number; None where there are none (mixed crystals), or where amounts
    are not known."""
    if composition is None or not composition.exact:
        return None
    amounts = np.array([amount for _, amount in composition.amounts])
    for times in range(1, MOST + 1):
        scaled = amounts / amounts.min() * times
        whole = np.round(scaled)
        if np.abs(scaled - whole).max() <= OFF:
            divisor = math.gcd(*(int(v) for v in whole))
            symbols = [symbol for symbol, _ in composition.amounts]
            return {
                gemmi.Element(symbol).atomic_number: int(v) // divisor
                for symbol, v in zip(symbols, whole, strict=True)
            }
    return None


def kind_of(elements: Iterable[int]) -> int:
    """By atomic numbers: 0 with oxygen or fluorine, 1 with another anion, 2 with none."""
    there = set(elements)
    return 0 if there & set(OXIDES) else 1 if there & set(SALTS) else 2


def molecular(amounts: dict[int, int]) -> bool:
    """Whether a compound with so many atoms, by atomic number, is one of molecules or organic ions: carbon
    and hydrogen that are not those of carbonate beside water or hydroxide (malachite, hydromagnesite)."""
    carbon, hydrogen = amounts.get(CARBON, 0), amounts.get(HYDROGEN, 0)
    if not carbon or not hydrogen:
        return False
    elsewhere = hydrogen / 2 + THEIR_OXYGEN * sum(amounts.get(number, 0) for number in OXO_ANIONS)
    carbonate = amounts.get(OXYGEN, 0) - elsewhere >= IN_CARBONATES * carbon
    return NITROGEN in amounts or not carbonate


def log_units(volume: float, composition: Composition | None, atomic_volumes: Floats) -> float:
    """Log of the number of formula units in a cell; nan where the formula is not known in whole amounts.

    volume: of the cell, angstrom^3; atomic_volumes: [3, 119] by kind and atomic number, angstrom^3.
    """
    amounts = whole_amounts(composition)
    if amounts is None:
        return math.nan
    if molecular(amounts):
        taken = IN_MOLECULES * sum(count for number, count in amounts.items() if number != HYDROGEN)
    else:
        own = atomic_volumes[kind_of(amounts)]
        taken = sum(count * float(own[number]) for number, count in amounts.items())
    return math.log(volume / taken) if taken > 0.0 else math.nan
