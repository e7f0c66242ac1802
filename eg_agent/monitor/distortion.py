"""How much a lattice is distorted, frame by frame, where its cell is known.

Each way in which a lattice can lose symmetry (tetragonal to orthorhombic along its axes or its diagonals,
and so on) is a set of axes, a parent metric and a child metric in them. A frame is fitted by Pawley's
method in both, with the lines that the parent group allows; thermal expansion moves the metrics, from
frame to frame, as each allows. What remains is the evidence of the child
against the parent, and the splitting itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from eg_agent.errors import BadInput
from eg_agent.monitor.evidence import log_evidence
from eg_agent.patterns.pattern import Pattern
from eg_agent.symmetry import Setting, standard
from eg_agent.verify.data import FitData, prepare
from eg_agent.verify.fitting import NotFitted, beam_of, fit_pattern
from eg_agent.verify.lines import Lines, lattice_lines
from eg_agent.verify.metric import Cell, MetricSystem, cell_of, metric_system, reciprocal, symmetrized
from eg_agent.verify.pawley import N_SHARED, SHARED, Fit, Parameters, Tolerance, problem_for, refine
from eg_agent.verify.settings import VerifySettings

Floats = npt.NDArray[np.float64]

#: The first fit of a frame sees it blurred by this many FWHM (standard deviation).
BLUR = 1.5

#: A second wavelength whose intensity is known no better than this (prior width of the ratio) is refined.
HIDDEN = 0.1

_IDENTITY = np.eye(3, dtype=np.int64)
_DIAGONAL = np.array([[1, 1, 0], [-1, 1, 0], [0, 0, 1]])
_ORTHOHEXAGONAL = np.array([[1, 0, 0], [1, 2, 0], [0, 0, 1]])


def _system(name: str, axis: int | None = None) -> MetricSystem:
    letter = {"cubic": "c", "tetragonal": "t", "orthorhombic": "o", "hexagonal": "h", "monoclinic": "m"}
    primitive = letter.get(name, "a") + "P"
    return MetricSystem(name, primitive, (primitive,), axis)


class _Rhombohedral(MetricSystem):
    """A cubic lattice drawn out along a diagonal, in the cubic axes: equal lengths, equal angles."""

    @property
    def basis(self) -> Floats:
        basis = np.zeros((6, 2))
        basis[:3, 0] = 1.0
        basis[3:, 1] = 1.0
        return basis


class _Hexagonal(MetricSystem):
    """A hexagonal lattice in orthohexagonal axes: b is the root of three times a, all angles are right."""

    @property
    def basis(self) -> Floats:
        basis = np.zeros((6, 2))
        basis[:2, 0] = 1.0, 1.0 / 3.0
        basis[2, 1] = 1.0
        return basis


@dataclass(frozen=True, eq=False, slots=True)
class Way:
    """A way to lose symmetry: axes [3, 3], rows the child's axes in the parent's; the child's metric.

    parent: the parent's metric in the child's axes, where it is not that of its own axes.
    """

    name: str
    axes: npt.NDArray[np.int64]
    child: MetricSystem
    parent: MetricSystem | None = None


def ways(system: MetricSystem) -> tuple[Way, ...]:
    """The minimal distortions of a lattice of this metric."""
    mono = [Way(f"monoclinic, unique axis {'abc'[i]}", _IDENTITY, _system("monoclinic", i)) for i in range(3)]
    ortho = Way("orthorhombic along the axes", _IDENTITY, _system("orthorhombic"))
    found: dict[str, tuple[Way, ...]] = {
        "cubic": (
            Way("tetragonal", _IDENTITY, _system("tetragonal")),
            # its orbits are those of a triclinic lattice; lines that coincide are one all the same
            Way("rhombohedral", _IDENTITY, _Rhombohedral("triclinic", "aP", ("aP",))),
        ),
        "tetragonal": (ortho, Way("orthorhombic along the diagonals", _DIAGONAL, _system("orthorhombic"))),
        "hexagonal": (
            Way(
                "orthorhombic",
                _ORTHOHEXAGONAL,
                _system("orthorhombic"),
                # lines that coincide are one, whatever orbits they have in these axes
                _Hexagonal("orthorhombic", "oP", ("oP",)),
            ),
        ),
        "orthorhombic": tuple(mono),
        "monoclinic": (Way("triclinic", _IDENTITY, _system("triclinic")),),
    }
    return found.get(system.name, ())


@dataclass(frozen=True, slots=True)
class Distortion:
    """One way in one frame.

    log_evidence: nats of the distorted lattice against the undistorted (`evidence.log_evidence`);
    strain: largest relative difference of the child's metric from the parent's, with no sign.
    """

    way: str
    log_evidence: float
    strain: float
    cell: Cell


class LatticeWatch:
    """Follows the ways in which one lattice may distort, through the frames of a series.

    cell: of the undistorted lattice, its conventional axes; setting: its extinction symbol there, whose
    allowed lines are fitted. range_: degrees, None for the whole pattern; max_lines: the first so many.
    """

    def __init__(
        self,
        cell: Sequence[float],
        setting: Setting,
        *,
        max_lines: int = 60,
        seconds: float = 20.0,
    ) -> None:
        self.system = metric_system(tuple(float(v) for v in cell))  # type: ignore[arg-type]
        self.ways = ways(self.system)
        if not self.ways:
            raise BadInput(f"a {self.system.name} lattice has no lower one: there is nothing to watch for.")
        self.setting, self.max_lines, self.seconds = setting, max_lines, seconds
        self._start = symmetrized(tuple(float(v) for v in cell), self.system)  # type: ignore[arg-type]
        self._begin(self._start)

    def _begin(self, start: Cell) -> None:
        self._cells = {way.name: (self._in(way, start), self._in(way, start)) for way in self.ways}
        self._shapes: dict[str, tuple[Parameters | None, Parameters | None]] = {}
        self._frames = 0

    @staticmethod
    def _in(way: Way, cell: Cell) -> Cell:
        """The cell in the axes of a way."""
        a, b, c, al, be, ga = cell
        cosines = np.cos(np.radians([al, be, ga]))
        g = np.array(
            [
                [a * a, a * b * cosines[2], a * c * cosines[1]],
                [a * b * cosines[2], b * b, b * c * cosines[0]],
                [a * c * cosines[1], b * c * cosines[0], c * c],
            ]
        )
        moved = np.linalg.inv(way.axes @ g @ way.axes.T)
        return cell_of(
            np.array([moved[0, 0], moved[1, 1], moved[2, 2], moved[1, 2], moved[0, 2], moved[0, 1]])
        )

    def frame(self, pattern: Pattern) -> tuple[Distortion, ...]:
        """The evidence of each way in a pattern; the next frame starts from its cells."""
        data, _ = prepare(pattern)
        if self._frames == 0:  # the cell may be that of another temperature: it is searched for once
            self._begin(self._searched(pattern))
        self._frames += 1
        return tuple(self._weighed(way, data, pattern) for way in self.ways)

    def _searched(self, pattern: Pattern) -> Cell:
        """The undistorted cell of the first frame, within two per cent of the given one."""
        try:
            limit = time.perf_counter() + self.seconds
            fit = fit_pattern(
                pattern, self._start, self.system, VerifySettings(max_lines=self.max_lines), limit
            )
        except (NotFitted, np.linalg.LinAlgError):
            return self._start
        return _cell(fit)

    def _lines(self, way: Way, cell: Cell, system: MetricSystem, data: FitData, wavelength: float) -> Lines:
        """Lines of the child's axes that the parent group allows."""
        top = min(float(data.grid[-1]), 170.0)
        d_min = 0.5 * wavelength / math.sin(math.radians(0.5 * top))
        lines = lattice_lines(cell, system, d_min)
        # indices in the parent's axes: h_child = axes h_parent
        inverse = np.linalg.inv(way.axes)
        parent = lines.members @ inverse.T
        whole = np.rint(parent).astype(np.int64)
        allowed = np.all(np.abs(parent - whole) < 1e-6, axis=1)
        allowed &= ~self.setting.absent(whole)
        keep = np.zeros(len(lines), dtype=bool)
        keep[lines.line[allowed]] = True
        return picked(lines, keep)

    def _weighed(self, way: Way, data: FitData, pattern: Pattern) -> Distortion:
        beam = beam_of(pattern.radiation)
        high, low = self._cells[way.name]
        parent_system = way.parent or self.system
        shapes = self._shapes.get(way.name, (None, None))
        upper = self._lines(way, high, parent_system, data, beam.wavelengths[0]).head(self.max_lines)
        # both fits see the same range: to the foot of the parent's last line
        last = float(_angles(upper, reciprocal(high), beam.wavelengths[0])[-1])
        first = float(_angles(upper, reciprocal(high), beam.wavelengths[0])[0])
        window = data.window(first - max(0.3, 8 * data.width), last - 3 * data.width)
        upper_fit = self._fit(window, upper, parent_system, high, beam, shapes[0])
        # at the undistorted cell itself the lines that split coincide, and would be taken for one
        apart = nudged(high, way.child, 1e-3)
        split = self._lines(way, apart, way.child, data, beam.wavelengths[0])
        groups = parent_lines(split, upper)
        split, groups = picked(split, groups >= 0), groups[groups >= 0]
        lower_fit = self._fit(window, split, way.child, low, beam, shapes[1] or upper_fit.parameters)
        # each of the two is a start for the other: a distortion may have gone, or the parent gone astray
        back = symmetrized(_cell(lower_fit), parent_system)
        again = self._fit(window, upper, parent_system, back, beam, lower_fit.parameters, near=True)
        upper_fit = min((upper_fit, again), key=lambda fit: fit.solution.misfit)
        refined = _cell(upper_fit)
        for sign in (1.0, -1.0):
            start = nudged(refined, way.child, sign * 5e-4)
            fresh = self._fit(window, split, way.child, start, beam, upper_fit.parameters, near=True)
            lower_fit = min((lower_fit, fresh), key=lambda fit: fit.solution.misfit)
        cell = _cell(lower_fit)
        self._cells[way.name] = (refined, cell)
        self._shapes[way.name] = (upper_fit.parameters, lower_fit.parameters)
        nats = log_evidence(upper_fit, lower_fit, groups)
        return Distortion(way.name, nats, strain_between(refined, cell), cell)

    def _fit(
        self,
        data: FitData,
        lines: Lines,
        system: MetricSystem,
        cell: Cell,
        beam: object,
        shape: Parameters | None,
        *,
        near: bool = False,
    ) -> Fit:
        """A fit from a cell; `near`: its lines lie on their peaks already."""
        wavelengths = beam.wavelengths  # type: ignore[attr-defined]
        problem = problem_for(data, lines, system, reciprocal(cell), wavelengths, 4.0)
        parameters = _parameters(system, data.width, shape, beam, data.step)
        fixed = {"displacement", "v", "axial"}
        # one stated wavelength at K-alpha1 may hide a second: then its intensity is refined
        if beam.ratio_width < HIDDEN:  # type: ignore[attr-defined]
            fixed.add("ratio")
        vary = np.array([name not in fixed and not name.startswith("broad") for name in parameters.names])
        deadline = time.perf_counter() + self.seconds
        fine = Tolerance(0.03, 0.003)
        if near:
            return refine(problem, parameters, vary, max_steps=12, deadline=deadline, tolerance=fine)
        # blurred first: a line that moved by more than its width would not be found
        blur = BLUR * data.width
        soft = replace(problem, data=replace(data, y=gaussian_filter1d(data.y, blur / data.step)))
        wide = parameters.value.copy()
        wide[parameters.names.index("w")] = min(wide[parameters.names.index("w")] + 5.545 * blur**2, 1e9)
        moving = np.array([name == "zero" or name.startswith("strain") for name in parameters.names])
        loose = replace(parameters, value=wide, high=np.maximum(parameters.high, wide))
        rough = refine(soft, loose, moving, max_steps=8, deadline=deadline, tolerance=Tolerance(0.1, 0.02))
        start = np.where(moving, rough.parameters.value, parameters.value)
        moved = parameters.with_value(start)
        fits = [
            refine(problem, at, vary, max_steps=12, deadline=deadline, tolerance=fine)
            for at in ((moved,) if np.allclose(start, parameters.value) else (moved, parameters))
        ]
        return min(fits, key=lambda fit: fit.solution.misfit)


def setting_for(group: int, system: MetricSystem) -> Setting:
    """The standard setting of a group; raises BadInput when its lattice is not of this metric."""
    setting = standard(group)
    family = {"cubic": "c", "tetragonal": "t", "orthorhombic": "o", "hexagonal": "h", "monoclinic": "m"}
    if setting.lattice[0] != family.get(system.name, "a"):
        raise BadInput(
            f"group {group} ({setting.symbol}) has a lattice {setting.lattice}, the cell's metric is "
            f"{system.name}: give the cell in the group's own axes, or leave the group out."
        )
    return setting


def picked(lines: Lines, keep: npt.NDArray[np.bool_]) -> Lines:
    """Some of the lines, numbered anew."""
    number = np.cumsum(keep) - 1
    member = keep[lines.line]
    return Lines(
        lines.members[member],
        number[lines.line[member]],
        lines.tensor[keep],
        lines.multiplicity[keep],
        lines.representative[keep],
    )


def parent_lines(split: Lines, whole: Lines) -> npt.NDArray[np.int64]:
    """[n] number of the line of `whole` that each line of `split` is part of, in the same axes; -1: none."""
    of = {tuple(sign * hkl): int(line) for hkl, line in zip(whole.members, whole.line) for sign in (1, -1)}
    found = np.full(len(split), -1, dtype=np.int64)
    for hkl, line in zip(split.members, split.line):
        found[line] = max(found[line], of.get(tuple(hkl), -1))
    return found


def nudged(cell: Cell, system: MetricSystem, strain: float = 5e-4) -> Cell:
    """A cell a little distorted: exactly at the parent's metric, no fit feels which way to go."""
    a, b, c, *angles = cell
    if system.name == "monoclinic" and system.unique_axis is not None:
        angles[system.unique_axis] += math.degrees(strain)
    if isinstance(system, _Rhombohedral):
        alpha, beta, gamma = (angle + math.degrees(strain) for angle in angles)
        return (a, b, c, alpha, beta, gamma)
    if system.name == "triclinic":
        angles = [angle + math.degrees(part * strain) for angle, part in zip(angles, (1.0, 0.3, 0.7))]
    alpha, beta, gamma = angles
    if system.name == "tetragonal":
        lengths = (a * (1 + strain), b * (1 + strain), c * (1 - strain))
    else:
        lengths = (a * (1 + strain), b * (1 - strain), c)
    return symmetrized((*lengths, alpha, beta, gamma), system)


def strain_between(first: Cell, second: Cell) -> float:
    """Largest relative difference of two cells in the same axes (angles in radians)."""
    lengths = np.abs(np.array(second[:3]) / np.array(first[:3]) - 1.0)
    angles = np.abs(np.radians(np.array(second[3:]) - np.array(first[3:])))
    return float(max(lengths.max(), angles.max()))


def _angles(lines: Lines, metric: Floats, wavelength: float) -> Floats:
    sine = 0.5 * wavelength * np.sqrt(np.maximum(lines.tensor @ metric, 1e-12))
    return 2.0 * np.degrees(np.arcsin(np.minimum(sine, 1.0)))


def _cell(fit: Fit) -> Cell:
    return cell_of(fit.problem.metric(fit.parameters.value[: fit.parameters.n_free]))


def _parameters(
    system: MetricSystem, fwhm: float, shape: Parameters | None, beam: object, step: float
) -> Parameters:
    n = system.basis.shape[1]
    ratio, ratio_width = beam.ratio, beam.ratio_width  # type: ignore[attr-defined]
    w, x, least = (0.7 * fwhm) ** 2, 0.4 * fwhm, max(0.3 * step, 0.1 * fwhm)
    shared = [
        (0.0, -0.3, 0.3, 0.0, 0.03),
        (0.0, -0.3, 0.3, 0.0, 0.03),
        (0.0, 0.0, 4.0 * fwhm**2, 0.0, fwhm**2),
        (0.0, -(fwhm**2), fwhm**2, 0.0, 0.3 * fwhm**2),
        (w, least**2, 4.0 * fwhm**2, w, fwhm**2),
        (x, 0.0, 2.0 * fwhm, x, fwhm),
        (0.0, 0.0, 4.0 * fwhm, 0.0, fwhm),
        (0.005 * fwhm / 0.1, 0.0, 0.15, 0.005, 0.02),
        (ratio, 0.0, 0.55, ratio, ratio_width),
    ]
    value, low, high, mean, width = (np.array(column) for column in zip(*shared, strict=True))
    ones = np.ones(n)
    made = Parameters(
        tuple(f"strain{i + 1}" for i in range(n)) + SHARED + tuple(f"broadening{i + 1}" for i in range(n)),
        np.concatenate([0.0 * ones, value, 0.0 * ones]),
        np.concatenate([-0.05 * ones, low, -2.0 * ones]),
        np.concatenate([0.05 * ones, high, 2.0 * ones]),
        np.concatenate([0.0 * ones, mean, 0.0 * ones]),
        np.concatenate([0.02 * ones, width, 0.3 * ones]),
        np.full(2 * n + N_SHARED, np.nan),
    )
    if shape is None:
        return made
    told = made.value.copy()
    told[n : n + N_SHARED] = shape.value[shape.n_free : shape.n_free + N_SHARED]
    return replace(made, value=np.clip(told, made.low, made.high))
