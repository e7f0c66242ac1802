"""Count the lattices of known structures (`eg_agent.identify.known_lattices`), and find what they are worth.

How many structures the network's word counts as beside them is fitted on one half of the formulas that
training never saw, and judged on the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.identify.known_lattices import KnownLattices, counted
from eg_agent.identify.lattice_prior import NEVER
from eg_agent.verify.line_kinds import FAMILIES
from trainer.lattices.collecting import Lattices
from trainer.lattices.training import LatticeModule, said

Floats = npt.NDArray[np.float64]

#: Structures that the network may count as, of which the best is taken for each family.
BELIEFS = 2.0 ** np.arange(-4.0, 7.0)


@dataclass(frozen=True, slots=True)
class JudgedBeside:
    """Network and counted structures together, on the lattices that nothing was fitted on: -ln p of the true
    group in nats, how often it is first; the same with the formula units."""

    lattices: int
    nll: float
    first: float
    units_nll: float
    units_first: float


def count(lattices: Lattices, network: LatticeModule) -> tuple[KnownLattices, JudgedBeside]:
    """The lattices of training, counted. Raises BadInput where none was held out."""
    own = ~lattices.held_out
    units = lattices.units
    known = counted(
        lattices.family[own],
        lattices.numbers[own],
        units[own],
        lattices.group[own],
        lattices.weight[own],
        np.ones((len(FAMILIES), 2)),
    )
    frequency = network.frequency.double().numpy()
    seen = frequency[lattices.family, lattices.group - 1] > 0.5 * NEVER
    rows = np.flatnonzero(lattices.held_out & seen)
    fitted, judged = rows[lattices.half[rows]], rows[~lattices.half[rows]]
    if min(fitted.size, judged.size) == 0:
        raise BadInput("too few lattices were held out to fit and to judge on: give more structures.")
    belief = known.belief.copy()
    for told in (0, 1):
        parts = _parts(lattices, network, known, fitted, told)
        for family in range(len(FAMILIES)):
            chosen = lattices.family[fitted] == family
            if chosen.any():
                weight = lattices.weight[fitted][chosen]
                costs = [-np.sum(weight * np.log(_mixed(parts, b)[chosen])) for b in BELIEFS]
                belief[family, told] = BELIEFS[int(np.argmin(costs))]
    known = replace(known, belief=belief)
    figures: list[float] = []
    for told in (0, 1):
        log_p = _log_p(lattices, network, judged, told)
        together = np.array(
            [
                known.beside(p, int(lattices.family[i]), lattices.numbers[i], _units(lattices, i, told))
                for p, i in zip(log_p, judged, strict=True)
            ]
        )
        truth = lattices.group[judged] - 1
        own, first = together[np.arange(judged.size), truth], together.argmax(axis=1) == truth
        weight = lattices.weight[judged]
        figures += [round(float(np.average(of, weights=weight)), 4) for of in (-own, first)]
    return known, JudgedBeside(int(judged.size), *figures)


def _units(lattices: Lattices, row: int, told: int) -> float:
    return float(lattices.units[row]) if told else float("nan")


def _log_p(lattices: Lattices, network: LatticeModule, rows: npt.NDArray[np.intp], told: int) -> Floats:
    units = lattices.units[rows] if told else np.full(rows.size, np.nan)
    return said(network, lattices.family[rows], lattices.numbers[rows], units)


def _parts(
    lattices: Lattices, network: LatticeModule, known: KnownLattices, rows: npt.NDArray[np.intp], told: int
) -> tuple[Floats, Floats, Floats]:
    """[n] of the true groups: the network's chance, the structures of the group, all structures."""
    truth = lattices.group[rows] - 1
    p = np.exp(_log_p(lattices, network, rows, told))[np.arange(rows.size), truth]
    counts = np.array(
        [known.counts(int(lattices.family[i]), lattices.numbers[i], _units(lattices, i, told)) for i in rows]
    )
    return p, counts[np.arange(rows.size), truth], counts.sum(axis=1)


def _mixed(parts: tuple[Floats, Floats, Floats], belief: float) -> Floats:
    p, own, total = parts
    return np.maximum((belief * p + own) / (belief + total), 1e-300)
