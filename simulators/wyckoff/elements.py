"""What the sampler knows of the elements: how often they occur, how much room they take, how they scatter.

Volumes are the non-negative least-squares solution of V = sum n_e v_e over the cells of 74,100 computed
structures of the Materials Project (CC-BY 4.0, Jain et al., APL Materials 1 (2013) 011002; residuals
of ln V: 0.146). Frequencies are numbers of its structures that hold the element.
"""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np
import torch
from torch import Tensor

from eg_agent.patterns.radiation import CU_KALPHA1
from simulators.scattering import HC

#: Symbol: (volume in angstrom^3 an atom, frequency).
ELEMENTS: dict[str, tuple[float, int]] = {
    "H": (7.2, 2805), "Li": (13.9, 6513), "Be": (8.1, 568), "B": (6.3, 2302), "C": (10.0, 3077),
    "N": (8.6, 4495), "O": (7.0, 28347), "F": (10.6, 5985), "Na": (25.9, 3851), "Mg": (22.3, 11086),
    "Al": (16.5, 3577), "Si": (15.4, 4184), "P": (18.8, 3133), "S": (22.5, 5979), "Cl": (28.8, 3073),
    "K": (47.5, 3921), "Ca": (32.9, 3612), "Sc": (20.9, 1576), "Ti": (14.9, 3330), "V": (15.5, 3853),
    "Cr": (12.1, 2953), "Mn": (12.9, 5257), "Fe": (10.9, 5331), "Co": (9.3, 4742), "Ni": (8.7, 4322),
    "Cu": (11.2, 5668), "Zn": (16.4, 3448), "Ga": (17.6, 2847), "Ge": (18.3, 3065), "As": (21.1, 2052),
    "Se": (28.9, 3903), "Br": (36.3, 1719), "Rb": (56.8, 2693), "Sr": (39.9, 3839), "Y": (29.2, 2642),
    "Zr": (21.0, 1973), "Nb": (16.7, 2248), "Mo": (21.9, 2901), "Ru": (11.6, 1516), "Rh": (11.6, 1751),
    "Pd": (13.6, 2260), "Ag": (19.0, 2743), "Cd": (23.9, 2033), "In": (26.1, 2740), "Sn": (26.8, 3171),
    "Sb": (28.8, 3189), "Te": (38.1, 3070), "I": (49.7, 1569), "Cs": (63.8, 2434), "Ba": (47.8, 4277),
    "La": (34.2, 2961), "Ce": (30.0, 2067), "Pr": (34.0, 1784), "Nd": (33.1, 1887), "Sm": (31.1, 1763),
    "Eu": (36.2, 1752), "Gd": (28.5, 1026), "Tb": (29.2, 1442), "Dy": (28.2, 1511), "Ho": (28.3, 1355),
    "Er": (27.2, 1384), "Tm": (26.8, 1166), "Yb": (28.5, 1115), "Lu": (25.6, 1075), "Hf": (19.7, 1433),
    "Ta": (17.1, 1423), "W": (27.6, 2921), "Re": (14.4, 815), "Os": (12.5, 800), "Ir": (12.4, 1360),
    "Pt": (14.7, 1717), "Au": (17.7, 1959), "Hg": (26.3, 1603), "Tl": (30.7, 2046), "Pb": (32.5, 1666),
    "Bi": (33.0, 2693), "Th": (32.2, 688), "U": (22.5, 1359),
}  # fmt: skip
SYMBOLS = tuple(ELEMENTS)
ANIONS = ("O", "F", "S", "N", "Se", "Cl", "H", "Te", "Br", "I")
#: Non-hydrogen atoms of organic and metal-organic crystals: the five slots of such a crystal are C, O,
#: N, one of the fourth row and (in METAL_SHARE of them) a metal; with cumulative shares of the sites.
ORGANIC = ("C", "O", "N")
ORGANIC_OTHERS = ("S", "Cl", "F", "P")
ORGANIC_METALS = ("Zn", "Cu", "Co", "Ni", "Fe", "Mn", "Cd", "Zr", "Pd", "Ag", "Pt")
ORGANIC_SITES = (0.64, 0.82, 0.94, 0.97, 1.0)
METAL_SHARE = 0.4
#: Room for each of them, angstrom^3 (Kempster and Lipson, Acta Cryst. B28 (1972) 3674).
ORGANIC_VOLUME = 18.0

#: Least distance of two atoms over the sum of their covalent radii (gemmi: Cordero et al., Dalton
#: Trans. (2008) 2832) for bonds (which are 1.0 at their typical length), for two anions, in organic
#: crystals; for two metals over the edge of a cube of their mean volume. PyXtal's default is 0.5.
NEAR_BOND, NEAR_ANION, NEAR_ORGANIC, NEAR_METAL = 0.58, 0.85, 0.68, 0.62


@dataclass(frozen=True)
class ElementTensors:
    """Tables on a device, one row an element of SYMBOLS.

    volume [E] angstrom^3. anion, metal: cumulative probabilities [E].
    organic, organic_other, organic_metal: rows of the elements of organic crystals.
    squared_distance [2, E, E]: least distances squared, angstrom^2, of inorganic and organic crystals.
    form [E, 9]: a1-a4, b1-b4, c of f0 (IT92) with f' at Cu K-alpha1 added to c. imaginary [E]: f''.
    """

    volume: Tensor
    anion: Tensor
    metal: Tensor
    organic: Tensor
    organic_other: Tensor
    organic_metal: Tensor
    squared_distance: Tensor
    form: Tensor
    imaginary: Tensor


def element_tensors(device: torch.device) -> ElementTensors:
    """The tables of this module and gemmi's scattering factors as tensors."""
    frequency = np.array([f for _, f in ELEMENTS.values()], float)
    is_anion = np.array([s in ANIONS for s in SYMBOLS])
    radius = np.array([gemmi.Element(s).covalent_r for s in SYMBOLS])
    volume = np.array([v for v, _ in ELEMENTS.values()])
    total = radius[:, None] + radius
    metals = NEAR_METAL * (0.5 * (volume[:, None] + volume)) ** (1 / 3)
    mixed = np.where(is_anion[:, None] | is_anion, NEAR_BOND * total, metals)
    inorganic = np.where(is_anion[:, None] & is_anion, NEAR_ANION * total, mixed)
    distance = np.stack([inorganic, NEAR_ORGANIC * total])
    form = np.array([gemmi.Element(s).it92.get_coefs() for s in SYMBOLS])  # pyright: ignore[reportOptionalMemberAccess]
    anomalous = np.array([_anomalous(s) for s in SYMBOLS])
    form[:, 8] += anomalous[:, 0]

    def tensor(array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32, device=device)

    def cumulative(weight: np.ndarray) -> Tensor:
        return tensor(np.cumsum(weight / weight.sum()))

    def rows(symbols: tuple[str, ...]) -> Tensor:
        return torch.tensor([SYMBOLS.index(s) for s in symbols], device=device)

    return ElementTensors(
        volume=tensor(volume),
        anion=cumulative(frequency * is_anion),
        metal=cumulative(frequency * ~is_anion),
        organic=rows(ORGANIC),
        organic_other=rows(ORGANIC_OTHERS),
        organic_metal=rows(ORGANIC_METALS),
        squared_distance=tensor(distance**2),
        form=tensor(form),
        imaginary=tensor(anomalous[:, 1]),
    )


def _anomalous(symbol: str) -> tuple[float, float]:
    number = gemmi.Element(symbol).atomic_number
    return (0.0, 0.0) if number < 3 else gemmi.cromer_liberman(number, HC / CU_KALPHA1)
