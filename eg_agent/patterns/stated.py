"""What a file or its reader's caller says about the radiation, and what becomes of it."""

from __future__ import annotations

import re
from pathlib import Path

from eg_agent.errors import BadInput, BadPattern
from eg_agent.patterns.radiation import ANODES, Radiation

#: Two wavelengths further apart than this contradict each other, and a note says so.
CONTRADICTION = 0.005
_SAME = 0.001
_HC = 12.398419843  # keV angstrom

_NUMBER = r"[-+]?(?:\d+\.\d*|\d+,\d+|\.\d+|\d+(?=[eE][-+]?\d))(?:[eE][-+]?\d+)?"
_WAVELENGTH = re.compile(
    r"(?P<before>[^\n]{0,16}?)(?:wave[\s_-]*length|lambda|λ|_wl)(?P<after>[^\n]{0,28}?)"
    rf"(?:(?<![\d.])(?P<value>{_NUMBER})|[=:]\s*(?P<whole>\d+)(?![\d.,]))\s*(?P<unit>nm|pm|m\b)?",
    re.IGNORECASE,
)
_SECOND = re.compile(r"(?:alpha|α|length|lambda|λ|wl|ka?)[\s_-]*2|^[\s_-]*2\b", re.IGNORECASE)
_RATIO = re.compile(
    r"ratio[^\n]{0,30}?(?:alpha|α|ka?)[\s_-]*2[^\n]{0,16}?[\s,;:=](?P<value>0[.,]\d+)", re.IGNORECASE
)
_ENERGY = re.compile(
    rf"\benergy\b[^\d\n]{{0,12}}?[:=\s]\s*(?P<value>{_NUMBER}|\d+)\s*(?P<unit>kev|ev)\b", re.IGNORECASE
)
_ANODE = re.compile(
    r"\b(?:anode|target)[\w\s]{0,16}[:=,;\s]\s*[\"']?(?P<element>Cr|Fe|Co|Cu|Mo|Ag)\b", re.IGNORECASE
)


def choose(
    path: Path,
    stated: Radiation | None,
    wavelength: float | None,
    wavelength2: float | None,
) -> tuple[Radiation, list[str]]:
    """The radiation to use, and notes on how the argument and the file differ.

    stated: what the file says, or None. wavelength, wavelength2: what the caller says, in angstrom; it
    takes precedence, but a single wavelength that agrees with the file's K-alpha1 keeps the file's
    doublet. Raises BadPattern when neither says anything.
    """
    if wavelength is None:
        if wavelength2 is not None:
            raise BadInput("wavelength2 (K-alpha2) was given without wavelength: give K-alpha1 first.")
        if stated is None:
            raise BadPattern(
                f"{path.name} does not state a wavelength: give it in angstrom "
                "(--wavelength 1.5406, or 1.5406,1.5444 for K-alpha1 and K-alpha2)."
            )
        return stated, []
    given = Radiation(wavelength, wavelength2, kind=stated.kind if stated is not None else "x-ray")
    if stated is None:
        return given, []
    apart = abs(given.mean_wavelength / stated.mean_wavelength - 1.0)
    if (
        wavelength2 is None
        and stated.wavelength2 is not None
        and abs(wavelength / stated.wavelength - 1) < _SAME
    ):
        return stated, []
    if apart > CONTRADICTION:
        return given, [
            f"wavelength {_say(given)} was given, but the file states {_say(stated)}: the given one was used"
        ]
    return given, []


def radiation_in_text(text: str) -> tuple[Radiation | None, list[str]]:
    """The radiation that header text states, and a note where it was derived from an anode or an energy."""
    first: float | None = None
    second: float | None = None
    for match in _WAVELENGTH.finditer(text):
        unit = match.group("unit") or ("nm" if re.search(r"\bnm\b", match.group("after")) else None)
        value = _to_angstrom(_float(match.group("value") or match.group("whole")), unit)
        name = match.group("before") + "length" + match.group("after")
        if not 0.01 < value < 20.0 or re.search(r"beta|β", name, re.IGNORECASE):
            continue
        if _SECOND.search(name):
            second = second or value
        else:
            first = first or value
    if first is not None:
        if second is not None and not first < second < 1.02 * first:
            second = None
        ratio = _RATIO.search(text)
        return Radiation(first, second, _float(ratio.group("value")) if second and ratio else 0.5), []
    energy = _ENERGY.search(text)
    if energy:
        kev = _float(energy.group("value")) * (1e-3 if energy.group("unit").lower() == "ev" else 1.0)
        if 0.7 < kev < 1000.0:
            return Radiation(_HC / kev), [
                f"wavelength {_HC / kev:.5f} angstrom from the stated energy {kev:g} keV"
            ]
    anode = _ANODE.search(text)
    if anode:
        element = anode.group("element").capitalize()
        return Radiation.anode(element), [f"K-alpha doublet of the stated anode {element}"]
    return None, []


def doublet(
    first: float | None, second: float | None, ratio: float | None, anode: str | None
) -> tuple[Radiation | None, list[str]]:
    """Radiation from what a vendor's file holds: K-alpha1, K-alpha2 (angstrom), their ratio, the anode."""
    if first:
        if second and ratio != 0.0 and second > first:
            return Radiation(first, second, 0.5 if ratio is None else min(max(ratio, 0.0), 1.0)), []
        return Radiation(first), []
    if anode and anode.capitalize() in ANODES:
        element = anode.capitalize()
        return Radiation.anode(element), [f"K-alpha doublet of the stated anode {element}"]
    return None, []


def _to_angstrom(value: float, unit: str | None) -> float:
    unit = (unit or "").lower()
    if unit == "nm":
        return 10.0 * value
    if unit == "pm":
        return 0.01 * value
    if unit == "m" or 0.0 < value < 1e-8:  # SI metres, as pyFAI writes them
        return 1e10 * value
    return value


def _float(text: str) -> float:
    return float(text.replace(",", "."))


def _say(radiation: Radiation) -> str:
    return " and ".join(f"{value:.5g}" for value in radiation.wavelengths) + " angstrom"
