"""Input for GSAS-II: data (.xye), instrument parameters (.instprm) and a script that starts a Le Bail fit.

GSAS-II counts Gaussian variances in centidegrees^2 and Lorentzian FWHM in centidegrees (Toby & Von
Dreele, J. Appl. Cryst. 46 (2013) 544; GSASIIpwd.getgamFW): U, V, W here are FWHM^2 in degrees^2, so they
are multiplied by 10^4 / (8 ln 2), X and Y by 100. SH/L is S/L + H/L.
"""

from __future__ import annotations

import math

import numpy as np

from eg_agent import __version__
from eg_agent.export.fitted import FittedPattern

GAUSS = 1e4 / (8.0 * math.log(2.0))


def xye(fitted: FittedPattern) -> str:
    """2-theta (degrees), intensity and its standard error, a line a point; also what TOPAS reads."""
    columns = (fitted.pattern.two_theta, fitted.pattern.intensity, fitted.sigma)
    rows = np.column_stack(columns)[np.isfinite(fitted.pattern.intensity)]
    return "".join(f"{x:.5f} {y:.10g} {e:.6g}\n" for x, y, e in rows.tolist())


def axial(fitted: FittedPattern) -> float:
    """S/L + H/L, the axial divergence of sample and slit over the radius (Finger, Cox & Jephcoat 1994)."""
    return math.sqrt(2.0 * math.radians(max(fitted.shape.axial, 0.0)))


def instrument_parameters(fitted: FittedPattern) -> str:
    """The text of the .instprm file."""
    shape = fitted.shape
    kind = "PNC" if fitted.pattern.radiation.kind == "neutron" else "PXC"
    if len(fitted.wavelengths) == 1:
        wavelength = [f"Lam:{fitted.wavelengths[0]:.6f}"]
    else:
        first, second = fitted.wavelengths
        wavelength = [f"Lam1:{first:.6f}", f"Lam2:{second:.6f}", f"I(L2)/I(L1):{shape.ratio or 0.0:.4f}"]
    lines = [
        "#GSAS-II instrument parameter file; do not add/delete items!",
        f"Type:{kind}",
        "Bank:1.0",
        *wavelength,
        f"Zero:{fitted.zero:.5f}",
        f"Polariz.:{0.0 if kind == 'PNC' else 0.5:.1f}",
        "Azimuth:0.0",
        f"U:{GAUSS * shape.u:.4f}",
        f"V:{GAUSS * shape.v:.4f}",
        f"W:{GAUSS * shape.w:.4f}",
        f"X:{100.0 * shape.x:.4f}",
        f"Y:{100.0 * shape.y:.4f}",
        "Z:0.0",
        f"SH/L:{max(axial(fitted), 0.0005):.5f}",
    ]
    return "\n".join(lines) + "\n"


def script(fitted: FittedPattern, name: str) -> str:
    """A script for GSASIIscriptable: the phase without atoms, and a Le Bail fit in three steps.

    name: of the data files beside it, without ending.
    """
    low, high = fitted.fitted_range
    cell = ", ".join(f"{v:.6f}" for v in fitted.cell)
    # GSAS-II: position -= 0.36 / (pi R) * shift * cos(theta), shift in micrometres, R in mm
    radius = 200.0
    shift = -fitted.displacement * math.pi * radius / 0.36
    return f'''"""Le Bail fit of {name}.xye in {fitted.space_group.symbol} with GSAS-II.

Written by eg-agent {__version__}.

Run it with the Python of a GSAS-II installation: python {name}_gsas2.py
It writes {name}.gpx beside itself; open that in GSAS-II to go on.
Extinction symbol {fitted.symbol}; reflections from {low:.2f} to {high:.2f} degrees were fitted.
"""

from pathlib import Path

from GSASII import GSASIIscriptable as G2sc

here = Path(__file__).resolve().parent
project = G2sc.G2Project(newgpx=str(here / "{name}.gpx"))
histogram = project.add_powder_histogram(str(here / "{name}.xye"), str(here / "{name}.instprm"))
phase = project.add_phase(
    phasename="{name}",
    histograms=[histogram],
    spacegroup="{fitted.space_group.symbol}",
    cell=[{cell}],
)
sample = histogram.data["Sample Parameters"]
sample["Gonio. radius"] = {radius:.1f}  # mm: put yours
sample["Shift"] = [{shift:.2f}, False]  # micrometres, for that radius
histogram.set_refinements(
    {{
        "Limits": [{low:.4f}, {high:.4f}],
        "Background": {{"type": "chebyschev-1", "no. coeffs": 12, "refine": True}},
    }}
)
phase.set_HAP_refinements({{"LeBail": True}})
project.do_refinements([{{}}])
phase.set_refinements({{"Cell": True}})
histogram.set_refinements({{"Instrument Parameters": ["Zero"]}})
project.do_refinements([{{}}])
histogram.set_refinements({{"Instrument Parameters": ["W", "X", "Y"]}})
project.do_refinements([{{}}])
project.save()
'''
