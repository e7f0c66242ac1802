"""`Radiation`: what the sample was lit with. Wavelengths in angstrom; never Cu by default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict

from eg_agent.errors import BadInput
from eg_agent.values import VALUE_CONFIG

#: K-alpha1, K-alpha2 and K-beta1 in angstrom, from Hoelzer et al. (1997), Phys. Rev. A 56, 4554 (Cr
#: to Cu) and Deslattes et al. (2003), Rev. Mod. Phys. 75, 35 (Mo, Ag).
ANODES: dict[str, tuple[float, float, float]] = {
    "Cr": (2.289726, 2.293651, 2.084881),
    "Fe": (1.936041, 1.939973, 1.756604),
    "Co": (1.788996, 1.792835, 1.620826),
    "Cu": (1.540593, 1.544427, 1.392235),
    "Mo": (0.709317, 0.713607, 0.632303),
    "Ag": (0.559422, 0.563813, 0.497082),
}

#: Reference wavelength of the canonical coordinate (angstrom): Cu K-alpha1.
CU_KALPHA1 = ANODES["Cu"][0]


@dataclass(frozen=True, slots=True)
class Radiation:
    """One wavelength, or K-alpha1 and K-alpha2 with their intensity ratio.

    wavelength: angstrom (K-alpha1 when there are two).
    wavelength2: angstrom, K-alpha2, or None.
    ratio: I(K-alpha2) / I(K-alpha1), 0.5 by the statistical weights; unused with one wavelength.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    wavelength: float
    wavelength2: float | None = None
    ratio: float = 0.5
    kind: Literal["x-ray", "neutron"] = "x-ray"

    def __post_init__(self) -> None:
        for value in self.wavelengths:
            if not 0.01 < value < 20.0:
                raise BadInput(
                    f"wavelength {value:g} is not between 0.01 and 20 angstrom: "
                    "give it in angstrom (Cu K-alpha1 is 1.5406)."
                )
        if self.wavelength2 is not None and self.wavelength2 <= self.wavelength:
            raise BadInput(
                f"the second wavelength ({self.wavelength2:g}) must be the longer one, K-alpha2: "
                "give K-alpha1 first."
            )
        if not 0.0 <= self.ratio <= 1.0:
            raise BadInput(f"K-alpha2/K-alpha1 ratio {self.ratio:g} is not between 0 and 1.")

    @classmethod
    def of(cls, value: Radiation | float) -> Radiation:
        """A radiation as it is, or the one of a wavelength in angstrom; BadInput for an impossible one."""
        return value if isinstance(value, cls) else cls(float(value))  # type: ignore[arg-type]

    @property
    def wavelengths(self) -> tuple[float, ...]:
        """The wavelengths present, angstrom, K-alpha1 first."""
        return (self.wavelength,) if self.wavelength2 is None else (self.wavelength, self.wavelength2)

    @property
    def mean_wavelength(self) -> float:
        """Intensity-weighted mean wavelength, angstrom (K-alpha-bar for a doublet)."""
        if self.wavelength2 is None:
            return self.wavelength
        return (self.wavelength + self.ratio * self.wavelength2) / (1.0 + self.ratio)

    @classmethod
    def anode(cls, element: str, *, kalpha2: bool = True) -> Radiation:
        """Characteristic K-alpha radiation of an anode ("Cu", "Co", "Mo", ...)."""
        if element not in ANODES:
            raise BadInput(f"unknown anode {element!r}: one of {', '.join(ANODES)}, or give a wavelength.")
        first, second, _ = ANODES[element]
        return cls(first, second if kalpha2 else None)
