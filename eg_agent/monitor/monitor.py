"""`SymmetryMonitor`: a series of patterns, frame by frame, and an alarm when its symmetry changes.

A window-limited generalised likelihood ratio (Lai, IEEE Trans. Inf. Theory 44 (1998) 2917): the last 1, 2, 4
or 8 frames are held against the trend of those before, in the widths of all lines and in a scan for lines
that came or went; the largest score of each kind is compared with a threshold for the stated rate of
false alarms. What expansion, intensities and line widths in general do is taken out first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.monitor.change import KINDS, Cause, Change, ChangedLine, FrameReport, Kind
from eg_agent.monitor.frames import Aligned, Anchor, Axis, Frame
from eg_agent.monitor.lattice_score import cumulative
from eg_agent.monitor.scores import Scan, changed_lines, scan
from eg_agent.monitor.settings import MonitorSettings
from eg_agent.monitor.thresholds import thresholds
from eg_agent.monitor.trend import innovations
from eg_agent.patterns import check
from eg_agent.patterns.pattern import Pattern

if TYPE_CHECKING:
    from eg_agent.monitor.distortion import Distortion, LatticeWatch

Floats = npt.NDArray[np.float64]

#: The anchor is made anew of all frames of a phase when it has so many, and of the last ones every so often.
ANCHORS = (1, 2, 4, 8)
RENEW = 24
#: Lines that are named in an alarm.
NAMED = 8
#: What every alarm says that rests on single lines and not on the cell.
ON_LINES = (
    "This rests on single lines, not on the cell: lines that move past each other (strongly anisotropic "
    "expansion, a foreign phase) look alike."
)


class SymmetryMonitor:
    """Takes the patterns of a series in order: `ingest` says of each what it saw.

    cell: a b c (angstrom) alpha beta gamma (degrees) of the first phase, group: its extinction group 1-99;
        with them an alarm tells a change of symmetry from a foreign phase, and what may have happened.
    After an alarm it goes on with the new phase, whose cell it does not know.
    """

    def __init__(
        self,
        settings: MonitorSettings | None = None,
        *,
        cell: Sequence[float] | None = None,
        group: int | None = None,
    ) -> None:
        self.settings = settings or MonitorSettings()
        self.cell = None if cell is None else tuple(float(v) for v in cell)
        self.group = group
        self._watch = self._lattice_watch()
        kinds: tuple[Kind, ...] = tuple(
            k for k in self.settings.kinds if k != "lattice" or self._watch is not None
        )
        if not kinds:
            raise BadInput("to watch for a change of the lattice alone, give its cell and group.")
        self.thresholds = thresholds(self.settings.frames_between_false_alarms, kinds)
        self.changes: list[Change] = []
        self._axis: Axis | None = None
        self._count = 0
        self._wavelength = 0.0
        self._evidence: list[tuple[Distortion, ...]] = []
        self._begin([])

    def _lattice_watch(self) -> LatticeWatch | None:
        """The watch over the lattice, where cell and group are known and there is a lower lattice."""
        if self.cell is None or self.group is None or "lattice" not in self.settings.kinds:
            return None
        from eg_agent.monitor.distortion import LatticeWatch, setting_for, ways
        from eg_agent.verify.metric import check_cell, metric_system

        system = metric_system(check_cell(self.cell))
        if not ways(system):
            return None
        return LatticeWatch(self.cell, setting_for(self.group, system))

    @property
    def frames(self) -> int:
        """Frames taken so far."""
        return self._count

    @property
    def caveat(self) -> str:
        """What its alarms cannot tell, in a sentence; empty where the lattice alone is watched."""
        return "" if set(self.thresholds) == {"lattice"} else ON_LINES

    @property
    def distortions(self) -> list[tuple[Distortion, ...]]:
        """Evidence of each way in which the lattice may be distorted, by frame; empty without a cell."""
        return list(self._evidence)

    def ingest(self, pattern: Pattern, at: float | None = None) -> FrameReport:
        """The next frame of the series; at: its temperature, time, ... (default: its number).

        Raises BadPattern or BadInput for a pattern that cannot be a frame of it; the monitor is then as
        before, and the next frame may come.
        """
        check(pattern)
        at = float(self._count if at is None else at)
        if not np.isfinite(at):
            raise BadInput("the frame's coordinate is not a finite number: give its temperature or time.")
        if self._frames and at == self._frames[-1].at:
            at = float(np.nextafter(at, np.inf))
        axis = self._axis or Axis.of(pattern)
        frame = axis.frame(pattern, at, self._count)
        self._axis, self._wavelength = axis, pattern.radiation.wavelength
        self._count += 1
        note = self._add(frame)
        if self._watch is not None:
            self._evidence.append(self._watch.frame(pattern))
        scores, change = self._judged()
        report = FrameReport(
            frame=frame.index,
            at=at,
            segment=len(self._frames),
            scores=scores,
            thresholds=self.thresholds,
            expansion=self._expansion(),
            change=change,
            note=note,
        )
        if change is not None:
            self.changes.append(change)
            self._restart(change.since)
        return report

    # the present phase

    def _begin(self, frames: list[Frame]) -> None:
        self._frames: list[Frame] = []
        self._aligned: list[Aligned] = []
        self._anchor: Anchor | None = None
        self._since_anchor = 0
        for frame in frames:
            self._add(frame)

    def _restart(self, since: int) -> None:
        kept = [frame for frame in self._frames if frame.index >= since]
        if self._watch is not None:  # the watch goes on from the state of the new phase
            self._evidence = self._evidence[len(self._evidence) - len(kept) :]
        self._begin(kept)

    def _add(self, frame: Frame) -> str:
        """Take a frame into the phase; the anchor is made anew where it is time."""
        assert self._axis is not None
        self._frames.append(frame)
        keep = self.settings.before + self.settings.windows[-1]
        self._since_anchor += 1
        if self._anchor is not None:
            start = self._aligned[-1].shift
            self._aligned.append(self._anchor.aligned(frame, start))
        if self._anchor is None or len(self._frames) in ANCHORS:
            self._renew(self._frames)
        elif self._since_anchor >= RENEW:
            self._renew(self._frames[-8:])
        self._frames, self._aligned = self._frames[-keep:], self._aligned[-keep:]
        fitted = np.isfinite(self._aligned[-1].error).mean()
        return "" if fitted > 0.5 else f"only {fitted:.0%} of the lines could be followed"

    def _renew(self, frames: list[Frame]) -> None:
        """A new anchor of these last frames, and all kept frames against it."""
        assert self._axis is not None
        shifts = None
        if self._anchor is not None:
            found = self._aligned[-len(frames) :]
            shifts = [self._anchor.shifts(a.shift - found[-1].shift) for a in found]
        self._anchor = Anchor(self._axis, frames, shifts)
        self._since_anchor = len(frames)
        self._aligned = []
        # from the frames that the anchor is made of, backwards and forwards
        start = None
        for frame in reversed(self._frames):
            found_frame = self._anchor.aligned(frame, start)
            start = found_frame.shift
            self._aligned.insert(0, found_frame)

    def _expansion(self) -> float:
        """Relative expansion of the last frame against the anchor: the median over the lines."""
        assert self._anchor is not None
        tangent = np.tan(np.radians(0.5 * self._anchor.centre))
        return float(np.median(-np.radians(self._aligned[-1].shift) / (2.0 * tangent)))

    # judging

    def _judged(self) -> tuple[dict[str, float], Change | None]:
        settings = self.settings
        best: dict[Kind, tuple[float, int]] = {}
        if len(self._evidence) > settings.least_before:
            best["lattice"] = cumulative(self._evidence, settings.least_before)[:2]
        for after in settings.windows:
            before = len(self._frames) - after
            if before < settings.least_before:
                break
            for kind, score in self._scores(after).items():
                if kind in self.thresholds and (kind not in best or score > best[kind][0]):
                    best[kind] = (score, after)
        scores: dict[str, float] = {kind: float(score) for kind, (score, _) in best.items()}
        over = {kind: score - self.thresholds[kind] for kind, score in scores.items()}
        raised: list[Kind] = [kind for kind in KINDS if kind in over and over[kind] > 0.0]
        if not raised:
            return scores, None
        kind = max(raised, key=lambda k: over[k])
        return scores, self._change(kind, best[kind][0], min(best[kind][1], len(self._frames) - 1))

    def _scores(self, after: int) -> dict[Kind, float]:
        found: dict[Kind, float] = {
            "widths": changed_lines(self._widths(after), self.settings.share_of_lines)
        }
        found["new lines"] = self._scan(after, lost=False).nats
        found["lost lines"] = self._scan(after, lost=True).nats
        return found

    def _widths(self, after: int) -> Floats:
        """[j] innovations of the windows' widths, less what all lines have in common."""
        assert self._anchor is not None
        rows = self._aligned[-(self.settings.before + after) :]
        error = np.array([np.hypot(row.error, self.settings.width_drift) for row in rows])
        value = np.array([self._own(row.width, e) for row, e in zip(rows, error, strict=True)])
        return innovations(np.array([row.at for row in rows]), value, error, after)

    def _own(self, width: Floats, error: Floats) -> Floats:
        """[j] changes of width less strain (tan^2) and size (1/cos^2) that broaden every line."""
        assert self._anchor is not None
        theta = np.radians(0.5 * self._anchor.centre)
        design = np.stack([np.tan(theta) ** 2, 1.0 / np.cos(theta) ** 2], axis=1)
        known = np.isfinite(error)
        if known.sum() < 4:
            return width
        out, fitted = width.copy(), np.zeros(int(known.sum()))
        weight = 1.0 / np.square(error[known])
        for _ in range(8):
            part = design[known] * weight[:, None]
            # a little ridge, so that lines at one angle only do not run away
            normal = part.T @ design[known] + 1e-6 * np.eye(2) * float(weight.sum())
            fitted = design[known] @ np.linalg.solve(normal, part.T @ width[known])
            pull = np.abs(width[known] - fitted) / error[known]
            weight = 1.0 / np.square(error[known]) / np.maximum(1.0, pull / 1.5) ** 2
        out[known] = width[known] - fitted
        return out

    def _scan(self, after: int, *, lost: bool) -> Scan:
        """Lines that came or went in the last `after` frames against those before."""
        assert self._anchor is not None
        assert self._axis is not None
        new = self._aligned[-after:]
        # few frames before, so that what drifts slowly is small against what came at once
        old = self._aligned[-(max(4, 2 * after) + after) : -after]
        difference = np.mean([a.rest for a in new], axis=0) - np.mean([a.rest for a in old], axis=0)
        variance = np.sum([a.variance for a in new], axis=0) / after**2
        variance = variance + np.sum([a.variance for a in old], axis=0) / len(old) ** 2
        return scan(
            difference,
            variance,
            self._anchor.net,
            self._axis.width / self._axis.step,
            self.settings.intensity_drift,
            lost=lost,
        )

    def _change(self, kind: Kind, score: float, after: int) -> Change:
        lines = () if kind == "lattice" else self._lines(kind, after)
        first = self._frames[-after]
        last = self._frames[-after - 1]
        rate = 1.0 / self.settings.frames_between_false_alarms
        cause, explained = self._cause(kind, lines)
        named = ", ".join(f"{line.two_theta:.2f}" for line in lines[:4])
        what = {
            "lattice": " ".join(explained),
            "widths": f"lines broadened, narrowed, split or merged, most at {named} degrees",
            "new lines": f"lines came that were not there, at {named} degrees",
            "lost lines": f"lines went, at {named} degrees",
        }[kind]
        reason = (
            f"Between {last.at:g} and {first.at:g} {what}: {score:.1f} nats, {self.thresholds[kind]:.1f} are "
            f"exceeded once in {1 / rate:g} frames without a change."
        )
        if kind != "lattice":
            reason += f" {ON_LINES}"
        return Change(
            frame=self._frames[-1].index,
            since=first.index,
            between=(last.at, first.at),
            kind=kind,
            score=score,
            threshold=self.thresholds[kind],
            false_alarm_rate=rate,
            cause=cause,
            reason=reason,
            lines=lines,
            explained=explained,
        )

    def _cause(self, kind: Kind, lines: tuple[ChangedLine, ...]) -> tuple[Cause, tuple[str, ...]]:
        """What an alarm of this kind means, and in words how the symmetry may have changed."""
        if kind == "lattice":
            _, _, number, down = cumulative(self._evidence, self.settings.least_before)
            last = self._evidence[-1][number]
            verb = "the lattice became" if down else "the lattice is no longer"
            size = f" (strain {last.strain:.2%})" if down else ""
            return "symmetry", (f"{verb} {last.way}{size}",)
        if self.cell is None or kind != "new lines":
            return "undetermined", ()
        from eg_agent.monitor.cause import explained_by

        assert self._anchor is not None
        return explained_by(
            np.array([line.two_theta for line in lines]),
            self.cell,
            self.group,
            self._wavelength,
            self._expansion(),
            self._axis.width if self._axis else 0.1,
        )

    def _lines(self, kind: Kind, after: int) -> tuple[ChangedLine, ...]:
        """The lines that speak loudest, at their places in the last frame."""
        assert self._anchor is not None
        assert self._axis is not None
        shift = self._aligned[-1].shift
        if kind == "widths":
            z = self._widths(after)
            order = np.argsort(-np.abs(z))[:NAMED]
            return tuple(
                ChangedLine(
                    float(self._anchor.centre[j] + shift[j]),
                    float(z[j]),
                    "broader or split" if z[j] > 0 else "narrower or merged",
                )
                for j in order
                if abs(z[j]) > 2.0
            )
        found = self._scan(after, lost=kind == "lost lines")
        moved = self._axis.grid + self._anchor.shifts(shift)
        return tuple(
            ChangedLine(float(moved[i]), float(z), "new" if z > 0 else "gone")
            for i, z in list(zip(found.index, found.z, strict=True))[:NAMED]
        )
