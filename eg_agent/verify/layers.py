"""Small dense networks in numpy: for what the package asks of every fit, without waiting for torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
#: Weights [out, in] and biases [out].
Layer = tuple[Floats, Floats]


def layers_of(tensors: Mapping[str, Any], prefix: str, count: int) -> list[Layer]:
    """Layers `prefix`.0 to `prefix`.(count - 1) of named arrays, each with ".weight" and ".bias"."""
    return [
        (
            np.asarray(tensors[f"{prefix}.{i}.weight"], dtype=np.float64),
            np.asarray(tensors[f"{prefix}.{i}.bias"], dtype=np.float64),
        )
        for i in range(count)
    ]


def through(layers: Sequence[Layer], x: Floats) -> Floats:
    """[..., out] of [..., in], SiLU between the layers."""
    for place, (weight, bias) in enumerate(layers):
        x = x @ weight.T + bias
        if place + 1 < len(layers):
            x = x / (1.0 + np.exp(-np.clip(x, -60.0, 60.0)))
    return x
