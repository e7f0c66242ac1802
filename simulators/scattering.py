"""Structure factors: from a crystal to a list of powder peaks, for X-rays and neutrons.

X-rays: f0 of neutral atoms from International Tables C (1992), table 6.1.1.4 (gemmi's IT92), f' and
f'' by Cromer and Liberman (gemmi). Neutrons: bound coherent lengths (gemmi's Neutron92). All
quantities of one crystal are computed at once with numpy; a symmetry sum over coset operations with
each site weighted by the order of its stabiliser keeps absences exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import gemmi
import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from simulators.crystal import TRANSLATION_DENOMINATOR, Crystal, Operations, metric

Kind = Literal["x-ray", "neutron"]

#: Photon energy times wavelength, eV angstrom.
HC = 12398.41984


@dataclass(frozen=True, eq=False)
class PeakList:
    """The peaks of a crystal: one entry for each orbit of reflections under the Laue class.

    hkl: int [k, 3] one representative. multiplicity: [k] reflections in the orbit.
    d: [k] spacing in angstrom, descending. f2: [k] mean |F|^2 over the orbit (Friedel pairs
    averaged), in electrons^2 (x-ray) or fm^2 (neutron), with the displacement factor in it.
    """

    hkl: npt.NDArray[np.int64]
    multiplicity: npt.NDArray[np.int64]
    d: npt.NDArray[np.float64]
    f2: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.d)


def laue_unique(
    cell: tuple[float, ...], operations: Operations, d_min: float, d_max: float = np.inf
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Reflections with d_min <= d <= d_max, one per Laue orbit, without those that must be absent.

    Returns hkl int [k, 3], multiplicity int [k], d [k] in angstrom, by descending d. Absences follow
    from the operations: hkl R = hkl with h.t not an integer (International Tables A, 2.1.3).
    """
    if not d_min > 0:
        raise BadInput(f"d_min {d_min:g} must be positive: give it in angstrom.")
    g_star = np.linalg.inv(metric(cell))
    edges = np.sqrt(np.linalg.inv(g_star).diagonal())
    limit = np.floor(edges / d_min + 1e-9).astype(np.int64)
    if limit.prod() > 4e7:
        raise BadInput(f"a cell of {edges} angstrom has too many reflections to d = {d_min:g} angstrom.")
    axes = [np.arange(-n, n + 1) for n in limit]
    axes[0] = axes[0][limit[0] :]  # half of reciprocal space is enough: Friedel
    hkl = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    inverse_d2 = np.einsum("ni,ij,nj->n", hkl.astype(np.float64), g_star, hkl.astype(np.float64))
    low = 0.0 if np.isinf(d_max) else 1.0 / d_max**2
    keep = (inverse_d2 <= 1.0 / d_min**2 * (1 + 1e-12)) & (inverse_d2 >= low * (1 - 1e-12))
    keep &= inverse_d2 > 1e-12
    hkl, inverse_d2 = hkl[keep], inverse_d2[keep]
    for shift in operations.centring:
        allowed = (hkl @ shift) % TRANSLATION_DENOMINATOR == 0
        hkl, inverse_d2 = hkl[allowed], inverse_d2[allowed]

    # One integer names a reflection; the name is linear in hkl, so all images come from one product.
    # h weighs most: the positive name of a Friedel pair then lies in the half kept above.
    base = 2.0 * (limit.sum() + 1) + 1.0
    weights = np.array([base * base, base, 1.0])
    own = hkl @ weights
    images = np.abs(hkl.astype(np.float64) @ (operations.laue_rotations @ weights).T)
    first = images.max(axis=1) == np.abs(own)
    first &= own > 0
    hkl, inverse_d2, images, own = hkl[first], inverse_d2[first], images[first], own[first]
    multiplicity = 2 * images.shape[1] // (images == own[:, None]).sum(axis=1)

    rotations, shifts = operations.cosets
    same = hkl.astype(np.float64) @ (rotations @ weights).T == own[:, None]
    absent = (same & ((hkl @ shifts.T) % TRANSLATION_DENOMINATOR != 0)).any(axis=1)
    order = np.argsort(inverse_d2[~absent], kind="stable")
    d = 1.0 / np.sqrt(inverse_d2[~absent][order])
    return hkl[~absent][order], multiplicity[~absent][order], d


@lru_cache(maxsize=128)
def _it92(element: str) -> npt.NDArray[np.float64]:
    coefficients = gemmi.Element(element).it92
    if coefficients is None or gemmi.Element(element).atomic_number == 0:
        raise BadInput(f"no scattering factor for {element!r}: give a chemical element up to Cf.")
    return np.array(coefficients.get_coefs())


@lru_cache(maxsize=4096)
def _anomalous(element: str, wavelength: float) -> tuple[float, float]:
    number = gemmi.Element(element).atomic_number
    if number < 3:  # no table, and nothing to correct at these wavelengths
        return 0.0, 0.0
    first, second = gemmi.cromer_liberman(number, HC / wavelength)
    return float(first), float(second)


@lru_cache(maxsize=128)
def _neutron_length(element: str) -> float:
    found = gemmi.Element(element)
    table = found.neutron92 if found.atomic_number else None
    length = float(table.get_coefs()[0]) if table is not None else 0.0
    if length == 0.0:
        raise BadInput(f"no neutron scattering length for {element!r}: it is in no table.")
    return length


def form_factors(
    elements: tuple[str, ...], s: npt.NDArray[np.float64], kind: Kind, wavelength: float | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Real part [e, k] and imaginary part [e] of the scattering of each element.

    s: [k] sin(theta)/lambda in 1/angstrom. wavelength: angstrom, for f' and f''; none leaves them out.
    """
    imaginary = np.zeros(len(elements))
    if kind == "neutron":
        lengths = np.array([_neutron_length(e) for e in elements])
        return np.repeat(lengths[:, None], len(s), axis=1), imaginary
    table = np.array([_it92(e) for e in elements])
    a, b, c = table[:, 0:4, None], table[:, 4:8, None], table[:, 8, None]
    real = (a * np.exp(-b * (s * s)[None, None, :])).sum(axis=1) + c
    if wavelength is not None:
        corrections = np.array([_anomalous(e, wavelength) for e in elements])
        real = real + corrections[:, :1]
        imaginary = corrections[:, 1]
    return real, imaginary


def peak_list(
    crystal: Crystal,
    d_min: float,
    kind: Kind = "x-ray",
    *,
    wavelength: float | None = None,
    d_max: float = np.inf,
) -> PeakList:
    """All peaks with d_min <= d <= d_max (angstrom) that the space group allows.

    kind: "x-ray" or "neutron". wavelength (angstrom) adds f' and f''; without it f0 alone is used.
    Units of f2: electrons^2, or fm^2 for neutrons; for the whole conventional cell.
    """
    hkl, multiplicity, d = laue_unique(crystal.cell, crystal.operations, d_min, d_max)
    s = 0.5 / d
    species = sorted(set(zip(crystal.elements, crystal.b_iso.tolist())))
    elements = tuple(sorted({e for e, _ in species}))
    real, imaginary = form_factors(elements, s, kind, wavelength)
    rotations, shifts = crystal.operations.cosets
    # h.(R x + t) for every reflection, operation and site: images of the sites first.
    images = np.einsum("nij,sj->nsi", rotations.astype(np.float64), crystal.fractional)
    images += (shifts / TRANSLATION_DENOMINATOR)[:, None, :]
    weight = crystal.occupancy * len(crystal.operations) / len(rotations) / crystal.stabilisers
    centric = _has_inversion_at_origin(rotations, shifts)
    # Two real sums: A is scattered by the real parts of f, B by the imaginary ones; averaged over a
    # Friedel pair |F|^2 = |A|^2 + |B|^2.
    total = np.zeros((2, len(hkl)), dtype=np.complex128)
    turns = 2 * np.pi * hkl.astype(np.float64)
    for element, b_iso in species:
        sites = [i for i, pair in enumerate(zip(crystal.elements, crystal.b_iso)) if pair == (element, b_iso)]
        phase = turns @ images[:, sites].reshape(-1, 3).T
        weights = np.tile(weight[sites], len(rotations))
        geometric = np.cos(phase) @ weights + (0 if centric else 1j * (np.sin(phase) @ weights))
        geometric = geometric * np.exp(-b_iso * s * s)
        index = elements.index(element)
        total[0] += real[index] * geometric
        total[1] += imaginary[index] * geometric
    return PeakList(hkl, multiplicity, d, (np.abs(total) ** 2).sum(axis=0))


def _has_inversion_at_origin(rotations: npt.NDArray[np.int64], shifts: npt.NDArray[np.int64]) -> bool:
    inversion = (rotations == -np.eye(3, dtype=np.int64)).all(axis=(1, 2))
    return bool((inversion & ~shifts.any(axis=1)).any())


def lorentz_polarisation(
    theta: npt.NDArray[np.float64], *, monochromator: float = 1.0, polarised: float = 0.0
) -> npt.NDArray[np.float64]:
    """Lorentz-polarisation factor of a powder at Bragg angles theta (radians), arbitrary scale.

    Lorentz factor 1 / (sin^2(theta) cos(theta)); polarisation factor (P + M C cos^2(2 theta)) / (P + M C)
    for a beam of which P = (1 + polarised)/2 vibrates perpendicular to the plane of scattering and
    C = (1 - polarised)/2 in it (International Tables C, 6.2.2; Azaroff, Acta Cryst. 8 (1955) 701).
    monochromator: M = cos^2(2 theta_m) of a crystal in the plane of scattering, before or after the sample, 1
    for none. polarised: degree of polarisation, 0 for a tube; 1 (synchrotron in vertical geometry, and
    neutrons) leaves the Lorentz factor alone.
    """
    lorentz = 1.0 / (np.sin(theta) ** 2 * np.cos(theta))
    parallel = monochromator * (1.0 - polarised) / (1.0 + polarised)
    return lorentz * (1 + parallel * np.cos(2 * theta) ** 2) / (1 + parallel)
