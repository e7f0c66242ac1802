"""The word of warning before kernels are compiled that a first answer waits for."""

from __future__ import annotations


def say_if_compiling(*, indexing: bool, library: bool) -> None:
    """Print one line to stderr where kernels that will be used are not compiled for this machine yet.

    indexing: those that look for a cell; library: those that compare a pattern with known structures.
    """
    from eg_agent.compiling import notice

    kernels = []
    if indexing:
        from eg_agent.verify.index_refine import refine
        from eg_agent.verify.index_screen import screen
        from eg_agent.verify.index_triclinic import screen_axes

        kernels += [refine, screen, screen_axes]
    if library:
        from eg_agent.library.kernels import refine as refine_match
        from eg_agent.library.kernels import scan

        kernels += [refine_match, scan]
    notice(*kernels)
