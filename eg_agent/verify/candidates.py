"""Candidate settings for a cell, and which lines each of them allows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eg_agent.symmetry import Setting, groups, settings
from eg_agent.symmetry.operators import AbsenceTable
from eg_agent.verify.lines import Lines, dimensions
from eg_agent.verify.metric import MetricSystem

# Crystal families whose conventional cells a metric system's cell can be, in the same axes.
_FAMILIES = {
    "cubic": "ctoma",
    "tetragonal": "toma",
    "orthorhombic": "oma",
    "hexagonal": "ha",
    "monoclinic": "ma",
    "triclinic": "a",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A setting and how many reflections of each line it allows ([k], 0: the line is forbidden).

    absent: [3] reflections that it forbids on axes, in zones, and of general indices (`lines.dimensions`).
    """

    setting: Setting
    allowed: npt.NDArray[np.float64]
    absent: npt.NDArray[np.float64]


def candidate_settings(system: MetricSystem, numbers: Iterable[int] | None) -> tuple[Setting, ...]:
    """Settings that a cell of this metric can have, in its own axes.

    numbers: groups to try (those that the axes cannot have are left out); None means every group of
    the metric's crystal family.
    """
    families = _FAMILIES[system.name]
    if numbers is None:
        families = families[0]
    wanted = None if numbers is None else set(numbers)
    axis = None if system.unique_axis is None else "abc"[system.unique_axis]
    found = []
    for entry in groups():
        if entry.bravais[0] not in families or (wanted is not None and entry.number not in wanted):
            continue
        found += [s for s in settings(entry.number) if axis is None or s.unique_axis in (None, axis)]
    return tuple(found)


def candidates_on(lines: Lines, chosen: tuple[Setting, ...], system: MetricSystem) -> list[Candidate]:
    """The settings with the lines that they allow."""
    n = len(lines)
    dimension = dimensions(lines.members, system) - 1
    found, members = [], AbsenceTable(lines.members)
    for setting in chosen:
        absent = members.absent(setting.rules)
        allowed = 2.0 * np.bincount(lines.line[~absent], minlength=n).astype(float)
        found.append(Candidate(setting, allowed, np.bincount(dimension[absent], minlength=3).astype(float)))
    return found
