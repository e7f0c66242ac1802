"""pdCIF: measured or processed powder data in a CIF, through gemmi."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadPattern
from eg_agent.patterns.axis import Axis
from eg_agent.patterns.measured import Measured
from eg_agent.patterns.radiation import Radiation

Array = npt.NDArray[np.float64]

_X: tuple[tuple[str, Axis], ...] = (
    ("_pd_meas_2theta_scan", "2-theta"),
    ("_pd_proc_2theta_corrected", "2-theta"),
    ("_pd_meas_2theta_corrected", "2-theta"),
    ("_pd_proc_recip_len_Q", "Q (1/angstrom)"),
    ("_pd_proc_d_spacing", "d (angstrom)"),
)
#: Intensities in order of preference: as measured, then processed; whether they are detector counts.
_Y: tuple[tuple[str, bool], ...] = (
    ("_pd_meas_counts_total", True),
    ("_pd_meas_intensity_total", False),
    ("_pd_proc_intensity_total", False),
    ("_pd_proc_intensity_net", False),
    ("_pd_meas_intensity_net", False),
)
_RANGES = ("_pd_meas_2theta_range_", "_pd_proc_2theta_range_")
_PROBE = ("_diffrn_radiation_probe", "_diffrn_radiation.probe")


def read_pdcif(path: Path) -> Measured:
    """The first data block of a CIF that holds a powder pattern.

    Takes 2-theta from a column, or from a range with a fixed step, else Q or d; counts before
    intensities, total before net; standard errors from `_su` columns, parentheses or weights; one or two
    wavelengths. Raises BadPattern when no block holds a pattern.
    """
    try:
        document = gemmi.cif.read_file(str(path))
    except (RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise BadPattern(f"{path.name} is not a valid CIF ({first}): export it again.") from error
    for block in document:
        found = _pattern_of(block)
        if found is not None:
            found.radiation = _radiation(block) or _radiation_anywhere(document)
            return found
    raise BadPattern(
        f"{path.name} holds no powder pattern (no _pd_meas_ or _pd_proc_ intensities): give the file with "
        "the measured points, not a crystal structure."
    )


def _pattern_of(block: gemmi.cif.Block) -> Measured | None:
    for tag, counts in _Y:
        column = list(block.find_values(tag))
        if len(column) < 2:
            continue
        intensity, sigma = _with_errors(column)
        x, axis = _abscissa(block, intensity.size)
        if x is None:
            continue
        given = _same_length(block, (f"{tag}_su", f"{tag}_esd"), intensity.size)
        if given is None and tag.startswith("_pd_proc"):
            weight = _same_length(block, ("_pd_proc_ls_weight",), intensity.size)
            if weight is not None and np.all(weight > 0.0):
                given = 1.0 / np.sqrt(weight)
        notes = [f"intensities from {tag}"]
        keep = np.isfinite(x)
        if not keep.all():
            notes.append(f"{np.count_nonzero(~keep)} points without an abscissa were left out")
        known = ~np.isnan(intensity)
        if not known.all() and np.any(known):
            # "?" and "." are how a CIF leaves a point out, e.g. of an excluded region
            notes.append(f"{np.count_nonzero(~known)} points without an intensity were left out")
            keep &= known
        error = given if given is not None else sigma
        time = _same_length(block, ("_pd_meas_step_count_time",), intensity.size)
        return Measured(
            format="pdcif",
            x=x[keep],
            intensity=intensity[keep],
            axis=axis,
            sigma=error[keep] if error is not None else None,
            counting_time=time[keep] if time is not None and np.all(time > 0.0) else _one_time(block, keep),
            counts_stated=counts,
            sample=_first(block, ("_pd_spec_description", "_pd_block_id", "_chemical_name_mineral")),
            notes=notes,
        )
    return None


def _abscissa(block: gemmi.cif.Block, n: int) -> tuple[Array | None, Axis | None]:
    for tag, axis in _X:
        values = _same_length(block, (tag,), n)
        if values is not None:
            return values, axis
    for stem in _RANGES:
        low, high, step = (_scalar(block, stem + end) for end in ("min", "max", "inc"))
        if low is None or (high is None and step is None):
            continue
        if high is None or (step is not None and abs((high - low) / step - (n - 1)) > 1.5):
            high = low + (step or 0.0) * (n - 1)
        return np.linspace(low, high, n), "2-theta"
    return None, None


def _radiation(block: gemmi.cif.Block) -> Radiation | None:
    probe = _first(block, _PROBE).lower()
    values = [
        _number(v)
        for tag in ("_diffrn_radiation_wavelength", "_diffrn_radiation_wavelength.value", "_pd_wavelength")
        for v in block.find_values(tag)
    ]
    wavelengths = [v for v in values if np.isfinite(v) and v > 0.0]
    if not wavelengths:
        return None
    weights = [_number(v) for v in block.find_values("_diffrn_radiation_wavelength_wt")]
    kind = "neutron" if "neutron" in probe else "x-ray"
    if len(wavelengths) == 1:
        return Radiation(wavelengths[0], kind=kind)
    ratio = 0.5
    if len(weights) == len(wavelengths) and np.all(np.isfinite(weights)):
        order = np.argsort(weights)[::-1][:2]
        pair = sorted((wavelengths[i], weights[i]) for i in order)
        if pair[0][1] > 0.0:
            ratio = min(pair[1][1] / pair[0][1], 1.0)
    else:
        pair = [(value, 1.0) for value in sorted(wavelengths)[:2]]
    # a third line is K-beta or an average; a second that is far away is no doublet
    if pair[0][0] < pair[1][0] < 1.02 * pair[0][0]:
        return Radiation(pair[0][0], pair[1][0], ratio, kind)
    return Radiation(wavelengths[0], kind=kind)


def _radiation_anywhere(document: gemmi.cif.Document) -> Radiation | None:
    # GSAS and others put the wavelength into a block of its own
    return next((found for block in document if (found := _radiation(block)) is not None), None)


def _with_errors(column: list[str]) -> tuple[Array, Array | None]:
    values = np.array([_number(text) for text in column])
    if not any("(" in text for text in column):
        return values, None
    errors = np.array([_su(text) for text in column])
    return values, errors if np.all(np.isfinite(errors)) else None


def _same_length(block: gemmi.cif.Block, tags: tuple[str, ...], n: int) -> Array | None:
    for tag in tags:
        column = block.find_values(tag)
        if len(column) == n and n > 1:
            values = np.array([_number(text) for text in column])
            if np.any(np.isfinite(values)):
                return values
    return None


def _one_time(block: gemmi.cif.Block, keep: npt.NDArray[np.bool_]) -> Array | None:
    seconds = _scalar(block, "_pd_meas_step_count_time")
    return np.full(np.count_nonzero(keep), seconds) if seconds and seconds > 0.0 else None


def _scalar(block: gemmi.cif.Block, tag: str) -> float | None:
    text = block.find_value(tag)
    value = _number(text) if text else float("nan")
    return value if np.isfinite(value) else None


def _first(block: gemmi.cif.Block, tags: tuple[str, ...]) -> str:
    for tag in tags:
        text = block.find_value(tag)
        if text and not gemmi.cif.is_null(text):
            return gemmi.cif.as_string(text).strip()
    return ""


def _number(text: str) -> float:
    return gemmi.cif.as_number(text)


def _su(text: str) -> float:
    """The standard error in parentheses: 12.3(4) is 0.4 in units of the last digit."""
    head, _, tail = text.partition("(")
    digits = tail.partition(")")[0]
    if not digits.isdigit():
        return float("nan")
    mantissa, _, exponent = head.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    return float(digits) * 10.0 ** (int(exponent or 0) - decimals)
