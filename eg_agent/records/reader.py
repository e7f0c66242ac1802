"""The one place where measured runs become patterns: `read_pattern` from Tiled, the same from documents.

Tiled gives 1-D arrays back as truncated strings, without a warning, when a whole table or dataset is
read. Only `run[stream][key].read()`, one key at a time, is right; `_column` reads so and asserts dtype
and shape all the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput, BadPattern
from eg_agent.patterns.pattern import Pattern, Source
from eg_agent.patterns.radiation import Radiation
from eg_agent.records.merging import IN_MEASUREMENTS, merge
from eg_agent.records.run_data import (
    DataKeys,
    NotAPattern,
    RunData,
    find_keys,
    flat_configuration,
    points_of,
)

#: A step this many times the median one is a gap between measured windows.
_GAP = 8.0

_COUNT_UNITS = {"", "count", "counts", "cts", "ct", "photon", "photons", "none"}


def read_pattern(
    run: Any, *, keys: DataKeys | None = None, radiation: Radiation | float | None = None
) -> Pattern:
    """The powder pattern of a Bluesky run in Tiled.

    run: the run's Tiled client (`client[uid]`).
    keys: which data keys hold it; found by name where None.
    radiation: used when neither the run's metadata nor the detector's configuration has a wavelength.
    Right for whole-trace events (several are merged, counts added) and for step scans (points sorted
    by angle, repeated angles merged). Raises NotAPattern for a run that is none, BadPattern for one that
    is broken, BadInput without a wavelength; each says what to do.
    """
    return pattern_of(read_run(run, keys=keys), keys=keys, radiation=radiation)


def read_run(run: Any, *, keys: DataKeys | None = None) -> RunData:
    """One stream of a run in Tiled as `RunData`, with only the columns of its pattern."""
    keys = keys or DataKeys()
    metadata = run.metadata
    start, stop = dict(metadata["start"]), dict(metadata.get("stop") or {})
    uid = str(start.get("uid", "?"))[:8]
    if keys.stream not in run:
        raise NotAPattern(f"run {uid} has no stream {keys.stream!r} in Tiled: nothing was measured in it.")
    stream = run[keys.stream]
    described = stream.metadata
    configuration, units = flat_configuration(described.get("configuration", {}))
    for update in described.get("_config_updates", ()):
        configuration.update(flat_configuration(update.get("configuration", {}))[0])
    bare = RunData(
        start, stop, keys.stream, described["data_keys"], configuration, units, described.get("hints", {})
    )
    found = find_keys(bare, keys)
    wanted = [found.intensity] if found.axis_in_configuration else [found.two_theta, found.intensity]
    if found.counting_time:
        wanted.append(found.counting_time)
    columns = {key: _column(stream, key, described["data_keys"][key], uid) for key in wanted}
    if len({len(column) for column in columns.values()}) != 1:
        sizes = ", ".join(f"{key}: {len(column)}" for key, column in columns.items())
        raise BadPattern(
            f"run {uid} has columns of different lengths in Tiled ({sizes}): it is not complete."
        )
    return RunData(start, stop, keys.stream, bare.data_keys, configuration, units, bare.hints, columns)


def _column(stream: Any, key: str, description: Mapping[str, Any], uid: str) -> npt.NDArray[Any]:
    """One data key over all events: [n_events], or [n_events, n_points]."""
    array = np.asarray(stream[key].read())
    n = points_of(description)
    expected = "[n]" if n == 1 else f"[n, {n}]"
    if array.dtype.kind not in "iufb":
        raise BadPattern(
            f"run {uid}: Tiled gave {key} as {array.dtype}, not as numbers: its table was not written by "
            "bluesky's TiledWriter, or is broken."
        )
    if n == 1:
        array = array.reshape(array.shape[0], -1)
        if array.shape[1] != 1:
            raise BadPattern(f"run {uid}: {key} has the shape {array.shape} in Tiled, expected {expected}.")
        return array[:, 0]
    if array.size % n or array.shape[-1] not in (n, 1):
        raise BadPattern(f"run {uid}: {key} has the shape {array.shape} in Tiled, expected {expected}.")
    return array.reshape(-1, n)


def pattern_of(
    run: RunData, *, keys: DataKeys | None = None, radiation: Radiation | float | None = None
) -> Pattern:
    """`RunData` to `Pattern`; errors as in `read_pattern`."""
    found = find_keys(run, keys)
    uid = str(run.start.get("uid", ""))
    lit = radiation_of(run, radiation)
    for key in (found.two_theta, found.intensity):
        if key not in run.columns and not (key == found.two_theta and found.axis_in_configuration):
            raise BadPattern(
                f"run {uid[:8]}: the events of {key} have different lengths or lie outside the documents: "
                "measure one range a run, or read it from Tiled."
            )
    intensity = np.asarray(run.columns[found.intensity], dtype=np.float64)
    if found.axis_in_configuration:
        axis = np.asarray(run.configuration[found.two_theta], dtype=np.float64).ravel()
        two_theta = np.broadcast_to(axis, intensity.shape)
    else:
        two_theta = np.asarray(run.columns[found.two_theta], dtype=np.float64)
    if two_theta.shape != intensity.shape:
        raise BadPattern(
            f"run {uid[:8]}: {found.two_theta} has the shape {two_theta.shape} and {found.intensity} "
            f"{intensity.shape}: they must be one axis and its intensities."
        )
    seconds = _seconds(run, found.counting_time, intensity.shape)
    raw = _is_counts(run, found.intensity, intensity)
    source = Source(
        kind="run", name=uid, sample=sample_of(run.start), format=str(run.start.get("plan_name", ""))
    )

    def one(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], t: Any) -> Pattern:
        order = np.argsort(x, kind="stable")
        x, y = x[order], y[order]
        t = None if t is None else t[order]
        noted = source
        if x.size > 1 and np.any(np.diff(x) <= 0):  # the same angle twice: one point, counts added
            if raw and t is None:
                noted = replace(source, notes=(*source.notes, IN_MEASUREMENTS))
            x, y, t = _unique(x, y, t, add=raw)
        return Pattern(
            x,
            y,
            lit,
            counting_time=t,
            raw_counts=raw,
            geometry=_geometry(run),
            covered=_covered(x),
            source=noted,
        )

    if not found.whole_trace:
        return one(two_theta, intensity, seconds)
    merged = None
    for i in range(intensity.shape[0]):
        trace = one(two_theta[i], intensity[i], None if seconds is None else seconds[i])
        merged = trace if merged is None else merge(merged, trace)
    if merged is None:
        raise NotAPattern(f"run {uid[:8]} recorded no event.")
    return merged


def _unique(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], t: Any, *, add: bool
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], Any]:
    points, inverse, times = np.unique(x, return_inverse=True, return_counts=True)
    total = np.bincount(inverse, weights=y).astype(np.float64)
    seconds = None if t is None else np.bincount(inverse, weights=t).astype(np.float64)
    if add:
        return points, total, (times.astype(np.float64) if seconds is None else seconds)
    return points, total / times, seconds


def _covered(two_theta: npt.NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    """Windows that were measured, when the axis has gaps: steps many times the usual one."""
    if two_theta.size < 3:
        return ()
    steps = np.diff(two_theta)
    gaps = np.flatnonzero(steps > _GAP * float(np.median(steps)))
    if gaps.size == 0:
        return ()
    lows = two_theta[np.concatenate([[0], gaps + 1])]
    highs = two_theta[np.concatenate([gaps, [two_theta.size - 1]])]
    return tuple((float(low), float(high)) for low, high in zip(lows, highs, strict=True) if low < high)


def _geometry(run: RunData) -> Any:
    geometry = run.start.get("geometry")
    return geometry if geometry in ("bragg-brentano", "debye-scherrer", "transmission") else "unknown"


def sample_of(start: Mapping[str, Any]) -> str:
    """The sample's name in a start document: `sample`, `sample_name`, or a dict with a `name`; or ""."""
    sample = start.get("sample", start.get("sample_name", ""))
    if isinstance(sample, Mapping):
        sample = sample.get("name", "")
    return str(sample) if sample is not None else ""


def _configured(run: RunData, *endings: str) -> tuple[str, Any] | None:
    """A configured value whose key ends so (`det_wavelength`, `diff-wavelength`, `wavelength`)."""
    for key, value in run.configuration.items():
        for ending in endings:
            if key == ending or (key.endswith(ending) and key[-len(ending) - 1] in "_-."):
                return key, value
    return None


def _seconds(run: RunData, key: str | None, shape: tuple[int, ...]) -> npt.NDArray[np.float64] | None:
    """Counting time at every point, seconds: a column, the detector's configuration, or the metadata."""
    if key is not None and key in run.columns:
        return np.broadcast_to(np.asarray(run.columns[key], dtype=np.float64), shape)
    value: Any = run.start.get("seconds_per_point")
    if value is None:
        configured = _configured(run, "seconds_per_point", "counting_time", "exposure_time", "acquire_time")
        value = configured[1] if configured else None
    if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        return None
    return np.full(shape, float(value))


def _is_counts(run: RunData, key: str, intensity: npt.NDArray[np.float64]) -> bool:
    """Raw counts: said by the metadata, or whole numbers not below zero whose units allow it."""
    said = run.start.get("raw_counts")
    if isinstance(said, bool):
        return said
    units = str(run.data_keys[key].get("units") or "").strip().lower()
    if units not in _COUNT_UNITS or intensity.size == 0 or not np.isfinite(intensity).all():
        return False
    return bool((intensity >= 0).all() and (intensity == np.rint(intensity)).all())


def radiation_of(run: RunData, default: Radiation | float | None = None) -> Radiation:
    """Radiation from the run's metadata, else the detector's configuration, else `default`.

    Metadata: `wavelength` in angstrom, one number or [K-alpha1, K-alpha2], or a dict with the fields of
    `Radiation`; `radiation` "x-ray" or "neutron". Raises BadInput when there is none: a wavelength is
    never assumed.
    """
    uid = str(run.start.get("uid", "?"))[:8]
    kind = run.start.get("radiation")
    if not isinstance(kind, str):
        configured = _configured(run, "radiation")
        kind = configured[1] if configured else "x-ray"
    value: Any = run.start.get("wavelength")
    second: Any = run.start.get("wavelength2")
    if value is None:
        configured = _configured(run, "wavelength")
        if configured is not None:
            scale = _angstrom(run.units.get(configured[0], ""), uid)
            value = configured[1] if scale is None else np.asarray(configured[1], dtype=float) * scale
            other = _configured(run, "wavelength2")
            second = other[1] * scale if other and other[1] and scale else second
    if value is None:
        if default is None:
            raise BadInput(
                f"run {uid} says no wavelength: give it in angstrom, RE.md['wavelength'] = 0.4592, "
                "RE(plan, wavelength=0.4592), or in the detector's configuration."
            )
        return Radiation.of(default)
    neutron = "neutron" if str(kind).lower().startswith("neutron") else "x-ray"
    try:
        if isinstance(value, Mapping):
            return Radiation(**{"kind": neutron, **value})
        numbers = [float(v) for v in np.ravel(value)]
        if second:
            numbers.append(float(second))
        if not 1 <= len(numbers) <= 2:
            raise ValueError
        configured = _configured(run, "wavelength_ratio")
        ratio = run.start.get("wavelength_ratio") or (configured[1] if configured else 0.0) or 0.5
        return Radiation(numbers[0], numbers[1] if len(numbers) == 2 else None, float(ratio), neutron)
    except (TypeError, ValueError):
        raise BadInput(
            f"run {uid} gives the wavelength as {value!r}: give a number in angstrom, "
            "or two (K-alpha1, K-alpha2)."
        ) from None


def _angstrom(units: str, uid: str) -> float | None:
    """Factor from a unit to angstrom; 1 where no unit is given."""
    known = {
        "": 1.0,
        "angstrom": 1.0,
        "angstroms": 1.0,
        "a": 1.0,
        "å": 1.0,
        "nm": 10.0,
        "pm": 0.01,
        "m": 1e10,
    }
    factor = known.get(units.strip().lower().replace("\u212b", "å"))
    if factor is None:
        raise BadInput(f"run {uid} gives the wavelength in {units!r}: configure it in angstrom, nm or pm.")
    return factor
