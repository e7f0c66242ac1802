"""What is known of a sample's chemistry: a composition, or only the elements in it."""

from eg_agent.chemistry.composition import MAX_ELEMENTS, Composition
from eg_agent.chemistry.formula import amounts_of

__all__ = ["MAX_ELEMENTS", "Composition", "amounts_of"]
