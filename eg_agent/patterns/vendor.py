"""Diffractometer vendors' files: .xrdml, .brml and .rasx through fairmat-readers-xrd, .raw through several.

fairmat-readers-xrd tells wavelengths and times. Where it cannot read a file, geddes does (angles and
intensities alone). Old Bruker .raw versions are read by xylib where it is installed, with wavelengths, and
by geddes else. None of them is needed by a file of columns.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadPattern, EgAgentError, MissingExtra
from eg_agent.patterns.measured import Measured
from eg_agent.patterns.pattern import Geometry
from eg_agent.patterns.rawfiles import read_bruker_raw4, read_with_geddes, read_with_xylib
from eg_agent.patterns.stated import doublet

Array = npt.NDArray[np.float64]
_NAMES = {".xrdml": "Malvern Panalytical", ".brml": "Bruker", ".rasx": "Rigaku", ".raw": "Bruker or Rigaku"}


def read_vendor(path: Path) -> Measured:
    """The content of a vendor's file: the first reader that understands it.

    Raises MissingExtra where no reader is installed, and BadPattern, with each reader's reason, where none
    understands the file.
    """
    suffix = path.suffix.lower()
    readers: tuple[Callable[[Path], Measured], ...] = {
        ".xrdml": (_read_xrdml, read_with_geddes),
        ".brml": (_read_brml, read_with_geddes),
        ".rasx": (_read_rasx, read_with_geddes),
        ".raw": (read_with_xylib, read_bruker_raw4, read_with_geddes),
    }[suffix]
    reasons: list[str] = []
    for reader in readers:
        try:
            # a reader that prints would spoil what a command writes
            with contextlib.redirect_stdout(io.StringIO()):
                return reader(path)
        except ImportError:
            continue
        except EgAgentError:
            raise
        except OSError:
            raise
        except Exception as error:  # these libraries raise whatever a malformed file makes them
            reason = f"{type(error).__name__}: {error}".strip().rstrip(":").splitlines()[0]
            reasons.append(reason if len(reason) < 120 else reason[:117] + "...")
    if not reasons:
        raise MissingExtra(f"reading {suffix} files ({_NAMES[suffix]})", "lab")
    raise BadPattern(
        f"{path.name} could not be read as {_NAMES[suffix]} {suffix} ({'; '.join(reasons)}): "
        "export the scan as .xy, with the wavelength."
    )


def _read_xrdml(path: Path) -> Measured:
    from fairmat_readers_xrd import read_panalytical_xrdml

    tree = ElementTree.parse(path)
    scans = tree.findall(".//{*}scan")
    if len(scans) > 1:
        raise BadPattern(
            f"{path.name} holds {len(scans)} scans: merge or split them in the measuring software, "
            "one scan a file."
        )
    data = read_panalytical_xrdml(str(path))
    x, y = _scan(path, data, scans[0].get("scanAxis") if scans else None)
    source: dict[str, Any] = data["metadata"]["source"]
    # behind a monochromator for K-alpha1, the second wavelength in the file is the tube's, not the beam's
    used = tree.find(".//{*}usedWavelength")
    single = used is not None and used.get("intended", "").replace(" ", "").lower() == "k-alpha1"
    has_mono = tree.find(".//{*}incidentBeamPath/{*}monochromator") is not None
    second = None if single and has_mono else _angstrom(source.get("kAlpha2"))
    radiation, notes = doublet(
        _angstrom(source.get("kAlpha1")),
        second,
        _number(source.get("ratioKAlpha2KAlpha1")),
        source.get("anode_material"),
    )
    if single and has_mono:
        notes.append("K-alpha1 alone: the file tells of a monochromator and of K-alpha1 as intended")
    intensities = tree.find(".//{*}dataPoints/{*}intensities")
    unit = (intensities.get("unit") or "") if intensities is not None else "counts"
    factors = data.get("beamAttenuationFactors")
    attenuated = factors is not None and bool(np.any(np.asarray(factors.magnitude) != 1.0))
    if attenuated:
        notes.append("intensities are corrected for the beam attenuator and are not raw counts")
    geometry: Geometry = "unknown"
    mode = (data["metadata"].get("sample_mode") or "").lower()
    if mode == "reflection" and (data["metadata"].get("scan_axis") or "").lower() == "gonio":
        geometry = "bragg-brentano"
    elif "transmission" in mode:
        geometry = "transmission"
    return Measured(
        format="xrdml",
        x=x,
        intensity=y,
        axis="2-theta",
        counting_time=_time(data.get("countTime"), x.size),
        counts_stated=unit.lower() == "counts" and not attenuated,
        per_second=unit.lower() in ("cps", "counts/s"),
        corrected=attenuated,
        radiation=radiation,
        geometry=geometry,
        sample=_text(tree, ".//{*}sample/{*}name") or _text(tree, ".//{*}sample/{*}id"),
        notes=notes,
    )


def _read_brml(path: Path) -> Measured:
    from fairmat_readers_xrd import read_bruker_brml
    from fairmat_readers_xrd.ikz import BRMLfile

    data = read_bruker_brml(str(path))
    x, y = _scan(path, data, data["metadata"].get("scan_axis"))
    source: dict[str, Any] = data["metadata"]["source"]
    radiation, notes = doublet(
        _angstrom(source.get("kAlpha1")),
        _angstrom(source.get("kAlpha2")),
        _number(source.get("ratioKAlpha2KAlpha1")),
        source.get("anode_material") or None,
    )
    seconds = BRMLfile(str(path), verbose=False).data["TimePerStep"]
    time = float(seconds[0]) if seconds else 0.0
    return Measured(
        format="brml",
        x=x,
        intensity=y,
        axis="2-theta",
        counting_time=np.full(x.size, time) if time > 0.0 else None,
        counts_stated=True,
        radiation=radiation,
        notes=notes,
    )


def _read_rasx(path: Path) -> Measured:
    from fairmat_readers_xrd import read_rigaku_rasx

    data = read_rigaku_rasx(str(path))
    x, y = _scan(path, data, data["metadata"].get("scan_axis"))
    source: dict[str, Any] = data["metadata"]["source"]
    anode = source.get("anode_material")
    radiation, notes = doublet(
        _angstrom(source.get("kAlpha1")),
        _angstrom(source.get("kAlpha2")),
        None,
        anode if isinstance(anode, str) else None,
    )
    factor, conditions = _rasx_parts(path)
    attenuated = factor is not None and factor.size == y.size and bool(np.any(factor != 1.0))
    if attenuated and factor is not None:
        y = y * factor
        notes.append("intensities multiplied by the attenuator's factor, so they are not raw counts")
    unit = _text(conditions, ".//IntensityUnit").lower() if conditions is not None else ""
    return Measured(
        format="rasx",
        x=x,
        intensity=y,
        axis="2-theta",
        counting_time=_time(data.get("countTime"), x.size),
        counts_stated=unit in ("counts", "count") and not attenuated,
        per_second=unit in ("cps", "counts/s", "counts/sec"),
        corrected=attenuated,
        radiation=radiation,
        sample=_text(conditions, ".//SampleName") if conditions is not None else "",
        notes=notes,
    )


def _rasx_parts(path: Path) -> tuple[Array | None, ElementTree.ElementTree[Any] | None]:
    """What fairmat leaves out of a .rasx: the attenuation factors, and the measuring conditions."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        profile = next(name for name in names if "Profile" in name)
        table = np.loadtxt(io.StringIO(archive.read(profile).decode("utf-8-sig")), ndmin=2)
        conditions = next((name for name in names if "Conditions" in name and name.endswith(".xml")), None)
        tree = ElementTree.parse(io.BytesIO(archive.read(conditions))) if conditions else None
    return (table[:, 2] if table.shape[1] > 2 else None), tree


def _scan(path: Path, data: dict[str, Any], axis: str | None) -> tuple[Array, Array]:
    """Angles in degrees and intensities of a single scan of 2-theta; raises BadPattern for other scans."""
    angles, intensity = data.get("2Theta"), data.get("intensity")
    if intensity is None or angles is None:
        raise BadPattern(f"{path.name} holds no scan of 2-theta: export a powder scan.")
    x = np.asarray(angles.to("degree").magnitude, dtype=np.float64)
    y = np.asarray(intensity.magnitude, dtype=np.float64)
    if y.ndim != 1 or x.ndim != 1:
        raise BadPattern(f"{path.name} holds a map of {y.shape} points: export one powder scan.")
    if y.size == 1 and x.size > 1:  # the reader folds a constant into one value
        y = np.full(x.size, float(y[0]))
    if x.size != y.size:
        raise BadPattern(
            f"{path.name} is a scan of {axis or 'another axis'}, not of 2-theta: export a 2-theta "
            "or coupled scan."
        )
    return x, y


def _time(value: Any, n: int) -> Array | None:
    if value is None:
        return None
    seconds = np.asarray(value.to("second").magnitude, dtype=np.float64)
    if seconds.size not in (1, n) or not np.all(seconds > 0.0):
        return None
    return np.broadcast_to(seconds, (n,)).copy()


def _angstrom(value: Any) -> float | None:
    """A wavelength with a unit as angstrom; the readers give an empty list or 0 for none."""
    if value is None or isinstance(value, list):
        return None
    number = float(value.to("angstrom").magnitude) if hasattr(value, "to") else float(value)
    return number if number > 0.0 else None


def _number(value: Any) -> float | None:
    if value is None or isinstance(value, list):
        return None
    return float(value.magnitude) if hasattr(value, "magnitude") else float(value)


def _text(tree: ElementTree.ElementTree[Any], path: str) -> str:
    return (tree.findtext(path) or "").strip()
