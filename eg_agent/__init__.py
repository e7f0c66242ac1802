"""Identify the symmetry of a powder sample while it is being measured, and decide what to measure next.

Importing this package is cheap: torch, ray, bluesky, tiled and matplotlib are loaded by the
subpackages that use them, when they are used.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("eg-agent")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
