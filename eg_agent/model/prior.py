"""Named priors over the 99 extinction groups. Numpy only; the shipped values are in priors.json."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput

N_GROUPS = 99
FloatArray = npt.NDArray[np.float64]


@cache
def _shipped() -> dict[str, Any]:
    return json.loads(resources.files("eg_agent.model").joinpath("priors.json").read_text("utf-8"))["priors"]


def prior_names() -> tuple[str, ...]:
    """Names that `log_prior` knows without a file."""
    return (*_shipped(), "uniform")


def normalised(log_weight: npt.ArrayLike) -> FloatArray:
    """`log_weight` shifted along its last axis so that the exponentials sum to 1."""
    value = np.asarray(log_weight, dtype=np.float64)
    peak = value.max(axis=-1, keepdims=True)
    return value - peak - np.log(np.exp(value - peak).sum(axis=-1, keepdims=True))


def smoothed(counts: npt.ArrayLike, uniform_share: float = 0.05) -> FloatArray:
    """Log-prior [99] from class counts [99], with a share of the uniform mixed in.

    Adding one to each count leaves rare groups at 1e-4 and so impossible in practice (29 of them for
    the published prior); a 5 % share keeps every group above 1 in 2,000 at a cost of 0.07 bits.
    """
    count = np.asarray(counts, dtype=np.float64)
    return np.log((1.0 - uniform_share) * count / count.sum() + uniform_share / N_GROUPS)


def log_prior(name_or_path: str | Path) -> FloatArray:
    """Log-probabilities [99] (nats, index = group number - 1), normalised.

    name_or_path: "mineral", "inorganic", "organic", "uniform", or a file: JSON with a list of 99 positive
    weights (or {"weights": [...]}), or text with 99 numbers separated by spaces, commas or lines.
    Raises BadInput for an unknown name, an unreadable file, or weights that are not 99 positive numbers.
    """
    name = str(name_or_path)
    if name == "uniform":
        return np.full(N_GROUPS, -np.log(N_GROUPS))
    if name in _shipped():
        return normalised(_shipped()[name]["log_probability"])
    path = Path(name_or_path)
    if not path.is_file():
        raise BadInput(
            f"unknown prior {name!r}: give {', '.join(prior_names())}, or a file with 99 positive weights."
        )
    try:
        text = path.read_text("utf-8")
        if text.lstrip().startswith(("[", "{")):
            data = json.loads(text)
            values = data["weights"] if isinstance(data, dict) else data
        else:
            values = text.replace(",", " ").split()
        weight = np.array(values, dtype=np.float64)
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise BadInput(
            f"prior file {path} is not readable ({error}): it must hold 99 positive weights."
        ) from error
    if weight.shape != (N_GROUPS,) or not np.all(np.isfinite(weight)) or np.any(weight <= 0):
        raise BadInput(
            f"prior file {path} must hold 99 positive weights, one a group in order; "
            f"it has {weight.size}, {int(np.sum(~(weight > 0)))} of them not positive. "
            "A group of weight 0 could never be answered: give it a small one."
        )
    return normalised(np.log(weight))
