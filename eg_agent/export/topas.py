"""Input for TOPAS: an hkl_Is phase (Pawley) with cell, space group, profile and intensities to start from.

Keywords and macros are those of the TOPAS Technical Reference. TCHZ_Peak_Type takes U, V, W, Z of
FWHM(Gauss)^2 = U tan^2 + V tan + W + Z/cos^2 and X, Y of FWHM(Lorentz) = X tan + Y/cos, in degrees: its X
is Y of `eg_agent.verify.profile.Shape`, and its Y is X.
"""

from __future__ import annotations

from collections import defaultdict

from eg_agent import __version__
from eg_agent.export.fitted import FittedPattern
from eg_agent.export.gsas2 import axial

_AXES = {"a": 0, "b": 1, "c": 2, "al": 3, "be": 4, "ga": 5}
_RADIUS = 217.5


def topas_input(fitted: FittedPattern, name: str) -> str:
    """The text of the .inp file; name: of the .xye file beside it, without ending."""
    low, high = fitted.fitted_range
    shape = fitted.shape
    # R groups are on hexagonal axes here, which TOPAS marks
    symbol = fitted.space_group.symbol.replace(" ", "_") + (":H" if fitted.on_hexagonal_axes else "")
    left_out = "' widths also vary with direction in the fit; that is left out here"
    x_ray = fitted.pattern.radiation.kind == "x-ray"
    lines = [
        f"' Pawley fit of {name}.xye, from eg-agent {__version__}; extinction symbol {fitted.symbol}",
        *([left_out] if fitted.anisotropic else []),
        f'xdd "{name}.xye"',
        f"  start_X {low:.4f}",
        f"  finish_X {high:.4f}",
        "  x_calculation_step = Yobs_dx_at(Xo);",
        f"  bkg @ {' '.join(['0'] * 12)}",
        f"  Zero_Error(@, {fitted.zero:.5f})",
        f"  prm displacement {fitted.displacement:.5f} min -0.5 max 0.5",
        "  th2_offset = displacement Cos(Th);",
        f"  Rp {_RADIUS}",
        f"  Rs {_RADIUS}",
        *_wavelengths(fitted),
        *(["  LP_Factor(!monochromator, 0)"] if x_ray else []),
        "  hkl_Is",
        f'    phase_name "{name}"',
        f'    space_group "{symbol}"',
        *_cell(fitted),
        f"    TCHZ_Peak_Type(@, {shape.u:.6f}, @, {shape.v:.6f}, @, {shape.w:.6f}, !pkz, 0,"
        f" @, {shape.y:.6f}, @, {shape.x:.6f})",
        f"    Simple_Axial_Model(@, {_RADIUS * axial(fitted):.4f})",
        *_reflections(fitted),
    ]
    return "\n".join(lines) + "\n"


def _wavelengths(fitted: FittedPattern) -> list[str]:
    """Emission lines without a width of their own: the profile was refined with none."""
    areas = [1.0] if len(fitted.wavelengths) == 1 else [1.0, fitted.shape.ratio or 0.0]
    return [
        "  lam",
        "    ymin_on_ymax 0.0001",
        *(
            f"    la {area:.5f} lo {w:.6f} lh 0.001"
            for area, w in zip(areas, fitted.wavelengths, strict=True)
        ),
    ]


def _cell(fitted: FittedPattern) -> list[str]:
    """Free cell parameters refined (@), equal ones tied, fixed ones as numbers."""
    cell, errors = fitted.cell, fitted.cell_error
    found: list[str] = []
    for name, i in _AXES.items():
        twins = [n for n, j in _AXES.items() if j < i < 3 and abs(cell[j] / cell[i] - 1) < 1e-9]
        if twins:
            found.append(f"    {name} = Get({twins[0]});")
        elif errors[i] > 0:
            found.append(f"    {name} @ {cell[i]:.6f}")
        else:
            found.append(f"    {name} {cell[i]:.6f}")
    return found


def _reflections(fitted: FittedPattern) -> list[str]:
    """h k l multiplicity d 2-theta intensity; reflections of one peak share it by multiplicity."""
    total: defaultdict[int, int] = defaultdict(int)
    for reflection in fitted.reflections:
        total[reflection.peak] += reflection.multiplicity
    peaks = {peak.number: peak for peak in fitted.peaks}
    strongest = max((peak.intensity for peak in fitted.peaks), default=1.0)
    rows = []
    for r in fitted.reflections:
        peak = peaks[r.peak]
        # an intensity of zero has no slope to start along
        intensity = max(peak.intensity * r.multiplicity / total[r.peak], 1e-6 * strongest)
        h, k, m = r.hkl
        rows.append(f"      {h} {k} {m} {r.multiplicity} {r.d:.5f} {peak.two_theta:.5f} @ {intensity:.5f}")
    return ["    load hkl_m_d_th2 I", "    {", *rows, "    }"]
