"""Measured patterns: reading, refusing what cannot be used, and the grid the network sees."""

from __future__ import annotations

from eg_agent.patterns.checks import check
from eg_agent.patterns.coordinate import change_wavelength, d_of_two_theta, two_theta_of_d
from eg_agent.patterns.evening import evened
from eg_agent.patterns.grid import Grid, Projected
from eg_agent.patterns.pattern import Geometry, Pattern, Source
from eg_agent.patterns.radiation import ANODES, CU_KALPHA1, Radiation
from eg_agent.patterns.reading import FORMATS, read
from eg_agent.patterns.writing import write_xye

__all__ = [
    "ANODES",
    "CU_KALPHA1",
    "FORMATS",
    "Geometry",
    "Grid",
    "Pattern",
    "Projected",
    "Radiation",
    "Source",
    "change_wavelength",
    "check",
    "d_of_two_theta",
    "evened",
    "read",
    "two_theta_of_d",
    "write_xye",
]
