"""`CounterRandom.uniform` for compiled kernels: the same numbers, one at a time, from a key.

`CounterRandom.key(purpose)` gives the keys; tests/simulators/test_counter_random.py holds both equal.
"""

from __future__ import annotations

import numba
import numpy as np

_GOLDEN = np.uint32(0x9E3779B9)
_FIRST, _SECOND = np.uint32(0x7FEB352D), np.uint32(0x846CA68B)
_SIXTEEN, _FIFTEEN, _NINE = np.uint32(16), np.uint32(15), np.uint32(9)
_HALF, _UNIT = np.float32(0.5), np.float32(2.0**-23)


@numba.njit(cache=True)
def _mixed(x):  # type: ignore[no-untyped-def]
    x = np.uint32(x ^ (x >> _SIXTEEN))
    x = np.uint32(x * _FIRST)
    x = np.uint32(x ^ (x >> _FIFTEEN))
    x = np.uint32(x * _SECOND)
    return np.uint32(x ^ (x >> _SIXTEEN))


@numba.njit(cache=True)
def uniform(key, element):  # type: ignore[no-untyped-def]
    """float32 strictly between 0 and 1: number `element` of a pattern. key: int64, of `CounterRandom.key`."""
    low, high = np.uint32(key & 0xFFFFFFFF), np.uint32((key >> 32) & 0xFFFFFFFF)
    x = np.uint32(np.uint32(np.uint32(element) * _GOLDEN) + low)
    x = _mixed(np.uint32(_mixed(x) ^ high))
    return (np.float32(np.int32(x >> _NINE)) + _HALF) * _UNIT
