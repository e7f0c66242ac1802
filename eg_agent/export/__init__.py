"""A verified fit as files for other programs: CIF with the pattern, GSAS-II and TOPAS input."""

from eg_agent.export.files import export
from eg_agent.export.fitted import FittedPattern, Peak, Reflection, fitted_pattern

__all__ = ["FittedPattern", "Peak", "Reflection", "export", "fitted_pattern"]
