"""What a tube really sends: K-alpha1 and K-alpha2, a remnant of K-beta, and tungsten from the filament."""

from __future__ import annotations

from dataclasses import dataclass

from eg_agent.errors import BadInput
from eg_agent.patterns import Radiation
from eg_agent.patterns.radiation import ANODES

#: Tungsten L-alpha1, angstrom (Deslattes et al., Rev. Mod. Phys. 75 (2003) 35): evaporated from the
#: filament, it grows on the anode of an old tube.
TUNGSTEN_L_ALPHA1 = 1.476399
#: A wavelength within this of an anode's K-alpha1 (angstrom) comes from that anode.
_SAME_LINE = 2e-3


@dataclass(frozen=True)
class SpectralLine:
    """One emission line: wavelength in angstrom, and its share of the intensity of all K-alpha."""

    wavelength: float
    share: float


def anode_of(radiation: Radiation) -> str | None:
    """The anode ("Cu") whose K-alpha1 this is, or none."""
    for element, lines in ANODES.items():
        if radiation.kind == "x-ray" and abs(radiation.wavelength - lines[0]) < _SAME_LINE:
            return element
    return None


def emission(radiation: Radiation, *, kbeta: float = 0.0, tungsten: float = 0.0) -> tuple[SpectralLine, ...]:
    """The lines of a radiation, K-alpha1 first; those of `Radiation` have shares that sum to 1.

    kbeta: intensity of K-beta1 over K-alpha1 (0.15 unfiltered for Cu, about 0.005 behind a nickel filter).
    tungsten: intensity of W L-alpha1 over K-alpha1. Lines are sharp here: their natural width, the same
    relative spread for all (Hoelzer et al., Phys. Rev. A 56 (1997) 4554), grows with tan(theta) and is
    part of an instrument's `y`.

    Raises BadInput when K-beta or tungsten is asked for and the radiation is of no known anode.
    """
    ratio = 0.0 if radiation.wavelength2 is None else radiation.ratio
    lines = [SpectralLine(radiation.wavelength, 1.0 / (1.0 + ratio))]
    if radiation.wavelength2 is not None and ratio > 0:
        lines.append(SpectralLine(radiation.wavelength2, ratio / (1.0 + ratio)))
    if kbeta > 0 or tungsten > 0:
        anode = anode_of(radiation)
        if anode is None:
            raise BadInput(
                f"radiation of {radiation.wavelength:g} angstrom comes from no known anode "
                f"({', '.join(ANODES)}): leave kbeta and tungsten at 0."
            )
        if kbeta > 0:
            lines.append(SpectralLine(ANODES[anode][2], kbeta * lines[0].share))
        if tungsten > 0:
            lines.append(SpectralLine(TUNGSTEN_L_ALPHA1, tungsten * lines[0].share))
    return tuple(lines)
