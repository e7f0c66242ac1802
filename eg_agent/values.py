"""Array types and JSON for the values that flow between layers.

Every value type is a frozen dataclass, defined once in the package that owns it. This module gives
them JSON in and out and a JSON schema, by pydantic, so that the schema is never written by hand.
Non-finite floats are written as null and read back as NaN (JSON has no NaN).
"""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Annotated, Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, ConfigDict, PlainSerializer, TypeAdapter, WithJsonSchema

T = TypeVar("T")

#: Configuration shared by all value dataclasses (`__pydantic_config__`).
VALUE_CONFIG = ConfigDict(arbitrary_types_allowed=True, extra="forbid")


def _to_array(value: Any) -> npt.NDArray[np.float64]:
    if isinstance(value, np.ndarray):
        array = value.astype(np.float64, copy=False)
    else:
        array = np.array([math.nan if v is None else v for v in value], dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"expected a 1-D array, got shape {array.shape}")
    array = array.view()
    array.flags.writeable = False
    return array


def _from_array(value: npt.NDArray[np.float64]) -> list[float | None]:
    return [v if math.isfinite(v) else None for v in value.tolist()]


#: A 1-D float64 array, read-only once it is inside a value.
FloatArray = Annotated[
    npt.NDArray[np.float64],
    BeforeValidator(_to_array),
    PlainSerializer(_from_array, return_type=list),
    WithJsonSchema({"type": "array", "items": {"anyOf": [{"type": "number"}, {"type": "null"}]}}),
]


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


def to_dict(value: Any) -> dict[str, Any]:
    """A value as plain JSON types (dicts, lists, str, float, int, bool, None)."""
    return json.loads(to_json(value))


def to_json(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON text, on one line unless `indent` is given."""
    return _adapter(type(value)).dump_json(value, indent=indent).decode()


def from_json(cls: type[T], text: str | bytes) -> T:
    """Read a value of type `cls` from JSON text; raises pydantic.ValidationError."""
    return _adapter(cls).validate_json(text)


def from_dict(cls: type[T], data: dict[str, Any]) -> T:
    """Read a value of type `cls` from plain JSON types; raises pydantic.ValidationError."""
    return _adapter(cls).validate_json(json.dumps(data))


def schema(cls: type[Any]) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) that values of type `cls` are written by."""
    found = _adapter(cls).json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}
