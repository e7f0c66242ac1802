"""`RunData`: what one Bluesky run recorded, the same whether it came from Tiled or from documents.

Only this shape is turned into a `Pattern`, so the two ways of getting there cannot differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadPattern

#: Names that mean 2-theta, at the end of a data key, in ophyd ("det_two_theta") or ophyd-async
#: ("diff-two_theta") spelling.
_TWO_THETA = re.compile(r"(^|[_\-.])(two_?theta|2_?theta|tth|t_?theta|twotheta|2th)(_axis|_deg)?$", re.I)
_INTENSITY = re.compile(r"(^|[_\-.])(intensity|intensities|counts?|signal|pattern|iobs|y)$", re.I)
_TIME = re.compile(r"(^|[_\-.])(counting_time|seconds_per_point|count_time)$", re.I)


@dataclass(frozen=True, slots=True)
class DataKeys:
    """Which columns of a run hold the pattern. None: found by their names (see `find_keys`).

    two_theta: degrees; an array (whole-trace events), a scalar (step scan), or the name of an array in
        the detector's configuration.
    intensity: counts, of the same shape.
    counting_time: seconds at each point, where the detector reports it.
    stream: the event stream.
    """

    two_theta: str | None = None
    intensity: str | None = None
    counting_time: str | None = None
    stream: str = "primary"


@dataclass(frozen=True, eq=False)
class RunData:
    """One stream of one run.

    start, stop: the documents (stop is {} while the run goes on).
    data_keys: the descriptor's, key to {dtype, shape, units, ...}.
    configuration: values of all configured signals by data key (`det_wavelength`), all objects together.
    units: units of configured signals, by data key, where they were given.
    hints: hinted fields by object name.
    columns: key to array [n_events] or [n_events, n_points].
    """

    start: Mapping[str, Any]
    stop: Mapping[str, Any]
    stream: str
    data_keys: Mapping[str, Mapping[str, Any]]
    configuration: Mapping[str, Any] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    hints: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)


class Found(NamedTuple):
    """Keys of a pattern; `axis_in_configuration` when 2-theta is a constant of the detector."""

    two_theta: str
    intensity: str
    counting_time: str | None
    whole_trace: bool
    axis_in_configuration: bool


class NotAPattern(BadPattern):
    """The run is no powder pattern (a temperature ramp, an alignment scan): nothing to identify."""


def flat_configuration(configuration: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """A descriptor's configuration as {data key: value} and {data key: units}."""
    values: dict[str, Any] = {}
    units: dict[str, str] = {}
    for one in configuration.values():
        values.update(one.get("data", {}))
        for key, description in one.get("data_keys", {}).items():
            if description.get("units"):
                units[key] = str(description["units"])
    return values, units


def points_of(description: Mapping[str, Any]) -> int:
    """Number of points one event holds under a data key: 1 for a scalar; 0 when it is not 1-D data."""
    shape = [int(n) for n in description.get("shape", []) if n is not None]
    if description.get("dtype") in ("string", "boolean"):
        return 0
    long = [n for n in shape if n != 1]
    return 1 if not long else long[0] if len(long) == 1 else 0


def find_keys(run: RunData, keys: DataKeys | None = None) -> Found:
    """Which data keys are the pattern: those given, else those whose names say so.

    2-theta is a key that ends in two_theta, tth, ttheta or 2theta; the intensity is the key that ends in
    intensity or counts, else the hinted one, else the only other one of the same shape. A plan may name
    both in its metadata, `eg_keys={"two_theta": ..., "intensity": ...}`. Nothing else is guessed: a scan
    of another motor is not a powder pattern. Raises NotAPattern with what to do.
    """
    keys = _said(run, keys)
    known = {k: points_of(v) for k, v in run.data_keys.items()}
    axes = [keys.two_theta] if keys.two_theta else [k for k in known if _TWO_THETA.search(k)]
    traces = [k for k in axes if known.get(k, 0) > 1]
    constants = [k for k in (axes if keys.two_theta else run.configuration) if _is_axis(run, k, keys)]
    scalars = [k for k in axes if known.get(k, 0) == 1]
    listed = ", ".join(sorted(known)) or "nothing"
    if not (traces or constants or scalars):
        wanted = f"no data key {keys.two_theta!r}" if keys.two_theta else "no 2-theta among its data keys"
        raise NotAPattern(
            f"run {_short(run)} has {wanted} (it has {listed}): "
            "name the keys, keys=DataKeys(two_theta=..., intensity=...), if it is a powder pattern."
        )
    if traces or constants:
        axis = (traces or constants)[0]
        n = known[axis] if traces else np.size(run.configuration[axis])
        intensity = _pick_intensity(run, keys, [k for k, m in known.items() if m == n and k != axis], listed)
        time = keys.counting_time or _first(k for k, m in known.items() if m == n and _TIME.search(k))
        return Found(axis, intensity, time, True, not traces)
    axis = _scanned(run, scalars)
    candidates = [k for k, m in known.items() if m == 1 and k not in axes and not k.endswith("_setpoint")]
    intensity = _pick_intensity(run, keys, candidates, listed)
    time = keys.counting_time or _first(k for k, m in known.items() if m == 1 and _TIME.search(k))
    return Found(axis, intensity, time, False, False)


def _said(run: RunData, keys: DataKeys | None) -> DataKeys:
    """The keys asked for; where nothing is, those that the plan wrote into its metadata (`eg_keys`)."""
    keys = keys or DataKeys()
    said = run.start.get("eg_keys")
    if keys.two_theta or keys.intensity or not isinstance(said, Mapping):
        return keys
    return replace(keys, two_theta=said.get("two_theta"), intensity=said.get("intensity"))


def _is_axis(run: RunData, key: str, keys: DataKeys) -> bool:
    if key in run.data_keys or key not in run.configuration:
        return False
    if key != keys.two_theta and not _TWO_THETA.search(key):
        return False
    value = run.configuration[key]
    return isinstance(value, list | tuple | np.ndarray) and np.size(value) > 1


def _scanned(run: RunData, scalars: list[str]) -> str:
    """Of several scalar 2-theta keys, the one that the plan says it scanned."""
    dimensions = run.start.get("hints", {}).get("dimensions", [])
    hinted = [name for fields, _ in dimensions for name in fields]
    return _first(k for k in scalars if k in hinted) or scalars[0]


def _pick_intensity(run: RunData, keys: DataKeys, candidates: list[str], listed: str) -> str:
    if keys.intensity:
        if keys.intensity not in run.data_keys:
            raise NotAPattern(
                f"run {_short(run)} has no data key {keys.intensity!r} (it has {listed}): "
                "give the name that `describe()` of the detector shows."
            )
        return keys.intensity
    candidates = [k for k in candidates if not _TIME.search(k)]
    named = [k for k in candidates if _INTENSITY.search(k)]
    detectors = set(run.start.get("detectors", ()))
    hinted = [
        k
        for k in candidates
        if any(
            k in run.hints.get(d, {}).get("fields", ()) for d in run.hints if not detectors or d in detectors
        )
    ]
    for choice in (named, hinted, candidates):
        if len(choice) == 1:
            return choice[0]
        both = [k for k in choice if k in hinted]
        if len(both) == 1:
            return both[0]
    if not candidates:
        raise NotAPattern(f"run {_short(run)} has a 2-theta axis and nothing measured along it ({listed}).")
    raise NotAPattern(
        f"run {_short(run)} has several keys that may be the intensity ({', '.join(candidates)}): "
        "name one, keys=DataKeys(intensity=...)."
    )


def _first(found: Iterable[str]) -> str | None:
    return next(iter(found), None)


def _short(run: RunData) -> str:
    return str(run.start.get("uid", "?"))[:8]


class RunDocuments:
    """Collects the documents of one run in memory, up to a bound, into `RunData`.

    Arrays are kept as they came; external data (stream resources) are not read here: those runs are
    read from Tiled. `overflow` says that the bound was passed and events were let go.
    """

    def __init__(self, max_bytes: int = 256_000_000) -> None:
        self.start: dict[str, Any] = {}
        self.stop: dict[str, Any] = {}
        self.external = False
        self.overflow = False
        self._left = max_bytes
        self._descriptors: dict[str, dict[str, Any]] = {}
        self._events: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}

    def add(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take one document."""
        if name == "start":
            self.start = dict(doc)
        elif name == "stop":
            self.stop = dict(doc)
        elif name == "descriptor":
            self._descriptors[doc["uid"]] = dict(doc)
            self._events.setdefault(doc.get("name", "primary"), [])
        elif name == "event":
            self._event(doc["descriptor"], doc["seq_num"], doc["data"])
        elif name == "event_page":
            for i, seq_num in enumerate(doc["seq_num"]):
                self._event(doc["descriptor"], seq_num, {k: v[i] for k, v in doc["data"].items()})
        elif name in ("stream_resource", "resource"):
            self.external = True

    def _event(self, descriptor: str, seq_num: int, data: Mapping[str, Any]) -> None:
        if descriptor not in self._descriptors:
            return
        size = sum(v.nbytes if isinstance(v, np.ndarray) else 8 * np.size(v) for v in data.values())
        self._left -= size
        if self._left < 0:
            self.overflow = True
            return
        stream = self._descriptors[descriptor].get("name", "primary")
        self._events[stream].append((seq_num, data))

    def data(self, stream: str = "primary") -> RunData:
        """The run so far. Raises NotAPattern when the stream has no events here, or not all of them."""
        described = [d for d in self._descriptors.values() if d.get("name", "primary") == stream]
        events = sorted(self._events.get(stream, []), key=lambda e: e[0])
        if not described or not events:
            raise NotAPattern(f"run {self.start.get('uid', '?')[:8]} recorded no event in {stream!r}.")
        if self.overflow:
            raise NotAPattern(
                f"run {self.start.get('uid', '?')[:8]} is too large to be kept in memory: read it from Tiled."
            )
        data_keys: dict[str, Mapping[str, Any]] = {}
        configuration: dict[str, Any] = {}
        units: dict[str, str] = {}
        hints: dict[str, Any] = {}
        for descriptor in described:
            data_keys.update(descriptor.get("data_keys", {}))
            values, found = flat_configuration(descriptor.get("configuration", {}))
            configuration.update(values)
            units.update(found)
            hints.update(descriptor.get("hints", {}))
        columns: dict[str, npt.NDArray[Any]] = {}
        for key in data_keys:
            if points_of(data_keys[key]) == 0 or any(key not in data for _, data in events):
                continue
            rows = [np.asarray(data[key]) for _, data in events]
            if len({row.shape for row in rows}) == 1:
                columns[key] = np.stack(rows)
        return RunData(self.start, self.stop, stream, data_keys, configuration, units, hints, columns)
