"""Chemistry of a sample as a run's metadata or a table of samples says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eg_agent.chemistry.composition import Composition
from eg_agent.errors import BadInput


def told(metadata: Mapping[str, Any]) -> Composition | None:
    """What `composition` ("Ca3Al2Si3O12", or element -> amount) or `elements` ("Ca,Al,Si,O", or a list) say.

    A composition goes before elements; empty text, an empty list and anything of another type is somebody
    else's key, and says nothing. Raises BadInput where one is meant and cannot be.
    """
    composition = metadata.get("composition")
    if isinstance(composition, str) and composition.strip():
        return Composition.of_formula(composition)
    if isinstance(composition, Mapping) and composition:
        return Composition.of_amounts(_amounts(composition))
    elements = metadata.get("elements")
    if isinstance(elements, str) and elements.strip():
        return Composition.of_elements(elements)
    if isinstance(elements, Sequence) and not isinstance(elements, (str, bytes)) and elements:
        if not all(isinstance(symbol, str) for symbol in elements):
            raise BadInput('elements are symbols: write them as ["Ca", "Al", "Si", "O"].')
        return Composition.of_elements(",".join(elements))
    return None


def _amounts(composition: Mapping[Any, Any]) -> dict[str, float]:
    try:
        return {str(symbol): float(amount) for symbol, amount in composition.items()}
    except (TypeError, ValueError):
        raise BadInput("the amounts of a composition are numbers: {'Ca': 3, 'Al': 2, ...}.") from None
