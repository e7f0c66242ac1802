"""Whether kernels that numba compiles at first use are compiled yet, so that nobody waits in silence."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

#: What is said to a person who waits.
NOTICE = "compiling the kernels for this machine, once: about 20 s"


def is_compiled(kernel: Any) -> bool:
    """Whether numba's cache holds a kernel (`numba.njit(cache=True)`) of the source as it stands.

    numba writes an index file when it has compiled; one that is older than the source is not used.
    """
    function = kernel.py_func
    source = Path(inspect.getfile(function))
    name = f"{source.stem}.{function.__qualname__}-{function.__code__.co_firstlineno}.*.nbi"
    indices = Path(kernel.stats.cache_path).glob(name)
    return any(path.stat().st_mtime >= source.stat().st_mtime for path in indices)


def notice(*kernels: Any) -> None:
    """Print one line to stderr where one of the kernels is not compiled yet."""
    if not all(is_compiled(kernel) for kernel in kernels):
        sys.stderr.write(f"{NOTICE}\n")
        sys.stderr.flush()
