"""The word of warning before the simulators' kernels are compiled."""

from __future__ import annotations


def say_if_compiling() -> None:
    """Print one line to stderr where the kernels that make patterns are not compiled for this machine yet."""
    from eg_agent.compiling import notice
    from simulators.profile_kernels import convolve
    from simulators.wyckoff.factor_kernels import peaks
    from simulators.wyckoff.placing_kernels import place

    notice(convolve, peaks, place)
