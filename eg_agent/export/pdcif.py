"""A fit as a powder CIF: cell, symmetry, profile, the measured and calculated pattern, peaks and reflections.

Data names are those of the core and powder dictionaries (cif_core.dic, cif_pow.dic of the IUCr). The
peaks' intensities are those of the fit: structure factor squared, multiplicity, Lorentz and polarisation
factors together; reflections that overlap share a peak (`_pd_refln_peak_id`).
"""

from __future__ import annotations

import math

import gemmi
import numpy as np

from eg_agent import __version__
from eg_agent.export.fitted import FittedPattern

_CELL = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")


def cif(fitted: FittedPattern) -> str:
    """The text of the CIF."""
    document = gemmi.cif.Document()
    block = document.add_new_block("".join(c if c.isalnum() or c in "-_." else "_" for c in fitted.name))
    _say(block, "_audit_creation_method", f"eg-agent {__version__}")
    _say(block, "_pd_block_id", f"eg-agent|{fitted.pattern.uid}")
    _say(block, "_pd_phase_name", fitted.name)
    _symmetry(block, fitted)
    _fit(block, fitted)
    _points(block, fitted)
    _peaks(block, fitted)
    options = gemmi.cif.WriteOptions()
    options.align_pairs = 34
    return document.as_string(options)


def with_error(value: float, error: float, digits: int = 6) -> str:
    """A number with its standard error in the last places, as CIF writes it: 8.8842(13)."""
    if not math.isfinite(error) or error <= 0.0:
        return f"{value:.{digits}f}".rstrip("0").rstrip(".")
    exponent = math.floor(math.log10(error))
    # errors of two digits up to 19, as the IUCr recommends
    places = min(max(0, -exponent + (1 if error < 1.95 * 10.0**exponent else 0)), 8)
    last = round(error * 10**places)
    return f"{value:.{places}f}({max(last, 1)})"


def _say(block: gemmi.cif.Block, name: str, value: str | float | int) -> None:
    block.set_pair(name, gemmi.cif.quote(str(value)))


def _symmetry(block: gemmi.cif.Block, fitted: FittedPattern) -> None:
    for name, value, error in zip(_CELL, fitted.cell, fitted.cell_error, strict=True):
        block.set_pair(f"_cell_{name}", with_error(value, error))
    block.set_pair("_cell_volume", f"{gemmi.UnitCell(*fitted.cell).volume:.3f}")
    choice = fitted.space_group
    _say(block, "_space_group_IT_number", choice.number)
    _say(block, "_space_group_name_H-M_alt", choice.symbol + (" :H" if fitted.on_hexagonal_axes else ""))
    _say(block, "_space_group_name_Hall", choice.hall)
    loop = block.init_loop("_space_group_symop_", ["id", "operation_xyz"])
    for i, operation in enumerate(gemmi.symops_from_hall(choice.hall), start=1):
        loop.add_row([str(i), gemmi.cif.quote(operation.triplet())])


def _fit(block: gemmi.cif.Block, fitted: FittedPattern) -> None:
    radiation, shape = fitted.pattern.radiation, fitted.shape
    _say(block, "_diffrn_radiation_probe", radiation.kind)
    weights = [1.0] if len(fitted.wavelengths) == 1 else [1.0, shape.ratio or 0.0]
    loop = block.init_loop("_diffrn_radiation_", ["wavelength_id", "wavelength", "wavelength_wt"])
    for i, (wavelength, weight) in enumerate(zip(fitted.wavelengths, weights, strict=True), start=1):
        loop.add_row([str(i), f"{wavelength:.6f}", f"{weight:.4f}"])
    low, high = fitted.fitted_range
    _say(block, "_pd_proc_2theta_range_min", f"{low:.4f}")
    _say(block, "_pd_proc_2theta_range_max", f"{high:.4f}")
    block.set_pair("_pd_calib_2theta_offset", with_error(fitted.zero, fitted.zero_error))
    _say(block, "_pd_proc_ls_prof_wR_factor", f"{fitted.rwp / 100:.5f}")
    _say(block, "_pd_proc_ls_prof_wR_expected", f"{fitted.rexp / 100:.5f}")
    _say(block, "_refine_ls_goodness_of_fit_all", f"{fitted.rwp / max(fitted.rexp, 1e-9):.3f}")
    ratio = "" if shape.ratio is None else f"; I(2)/I(1) {shape.ratio:.4f}"
    _text(
        block,
        "_pd_proc_ls_profile_function",
        f"Pseudo-Voigt of Thompson, Cox and Hastings (1987), FWHM in degrees 2-theta:\n"
        f"Gauss^2 = U tan^2 + V tan + W: U {shape.u:.6f}, V {shape.v:.6f}, W {shape.w:.6f}\n"
        f"Lorentz = X/cos + Y tan: X {shape.x:.6f}, Y {shape.y:.6f}\n"
        f"axial divergence (S/L + H/L) {math.sqrt(2 * math.radians(max(shape.axial, 0.0))):.5f}{ratio}\n"
        f"specimen displacement {fitted.displacement:.5f} degrees times cos(theta)"
        + ("\nwidths also vary with direction (an ellipsoid)" if fitted.anisotropic else ""),
    )
    _text(
        block, "_pd_proc_ls_background_function", "Lower envelope plus cubic B-splines, given point by point."
    )
    same = ", ".join(f"{g.symbol} ({g.number})" for g in fitted.others) or "none"
    _text(
        block,
        "_pd_proc_info_special_details",
        f"Pawley fit without atoms. Extinction symbol: {fitted.symbol}. A powder pattern cannot tell its\n"
        f"space groups apart by absences; this file is written in {fitted.space_group.symbol}.\n"
        f"The others: {same}.",
    )


def _text(block: gemmi.cif.Block, name: str, value: str) -> None:
    block.set_pair(name, f";{value}\n;")


def _points(block: gemmi.cif.Block, fitted: FittedPattern) -> None:
    pattern, curve = fitted.pattern, fitted.predicted.curve
    measured = "_pd_meas_counts_total" if pattern.raw_counts else "_pd_meas_intensity_total"
    tags = [
        "_pd_meas_2theta_scan",
        measured,
        "_pd_proc_ls_weight",
        "_pd_calc_intensity_total",
        "_pd_proc_intensity_bkg_calc",
    ]
    loop = block.init_loop("", tags)
    spelled = [
        [f"{v:.6g}" if math.isfinite(v) else "." for v in column.tolist()]
        for column in (curve.calculated, curve.background)
    ]
    inside = np.isfinite(curve.calculated)
    weight = np.where(inside, 1.0 / np.square(fitted.sigma), 0.0)
    fields = zip(
        pattern.two_theta.tolist(), pattern.intensity.tolist(), weight.tolist(), *spelled, strict=True
    )
    for two_theta, intensity, w, calculated, background in fields:
        loop.add_row([f"{two_theta:.5f}", f"{intensity:.10g}", f"{w:.6g}", calculated, background])


def _peaks(block: gemmi.cif.Block, fitted: FittedPattern) -> None:
    loop = block.init_loop("_pd_peak_", ["id", "d_spacing", "2theta_centroid", "intensity", "width_2theta"])
    for peak in fitted.peaks:
        intensity = with_error(peak.intensity, peak.sigma)
        row = [str(peak.number), f"{peak.d:.6f}", f"{peak.two_theta:.5f}", intensity, f"{peak.fwhm:.5f}"]
        loop.add_row(row)
    tags = ["_refln_index_h", "_refln_index_k", "_refln_index_l", "_refln_d_spacing"]
    tags += ["_refln_symmetry_multiplicity", "_pd_refln_peak_id"]
    loop = block.init_loop("", tags)
    for reflection in fitted.reflections:
        h, k, m = reflection.hkl
        numbers = [f"{reflection.d:.6f}", str(reflection.multiplicity), str(reflection.peak)]
        loop.add_row([str(h), str(k), str(m), *numbers])
