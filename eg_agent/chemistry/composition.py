"""`Composition`: elements and, where they are known, their amounts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import gemmi
import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from eg_agent.chemistry.formula import amounts_of, known_element
from eg_agent.errors import BadInput
from eg_agent.values import VALUE_CONFIG

#: Elements that a composition may have: more are no one phase.
MAX_ELEMENTS = 20


@dataclass(frozen=True, slots=True)
class Composition:
    """What is known of a sample's chemistry.

    amounts: (symbol, amount) in alphabetical order, amounts above 0; any common factor means the same.
    exact: the amounts are known; False where only the elements are, each with the amount 1.

    Make one with `Composition.of_formula`, `of_elements` or `of_amounts`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    amounts: tuple[tuple[str, float], ...]
    exact: bool = True

    def __post_init__(self) -> None:
        if not self.amounts:
            raise BadInput("a composition needs at least one element, or is left out.")
        if len(self.amounts) > MAX_ELEMENTS:
            raise BadInput(
                f"{len(self.amounts)} elements are more than the {MAX_ELEMENTS} of any one phase: "
                "name those of the main phase."
            )
        for symbol, amount in self.amounts:
            if gemmi.Element(symbol).atomic_number == 0:
                raise BadInput(f"{symbol!r} is no element: check its spelling.")
            if not (math.isfinite(amount) and amount > 0.0):
                raise BadInput(f"the amount of {symbol} is {amount:g}: it must be above 0.")
        symbols = [symbol for symbol, _ in self.amounts]
        if symbols != sorted(set(symbols)):
            raise BadInput("the elements of a composition stand in alphabetical order, each once.")

    @classmethod
    def of_formula(cls, text: str) -> Composition:
        """From a formula such as "Ca3Al2(SiO4)3" or "CaSO4·2H2O"; BadInput where it names no composition."""
        return cls.of_amounts(amounts_of(text))

    @classmethod
    def of_elements(cls, text: str) -> Composition:
        """From elements such as "Ca, Al, Si, O" whose amounts are not known; BadInput for anything else."""
        symbols = text.replace(",", " ").replace(";", " ").replace("-", " ").split()
        if not symbols:
            raise BadInput('no element is named: write them as "Ca,Al,Si,O", or leave them out.')
        for symbol in symbols:
            if not symbol.isalpha():
                raise BadInput(
                    f"{symbol!r} is no element: name the elements alone (Ca,Al,Si,O); "
                    "what has amounts is a composition."
                )
        known = {known_element(symbol, text) for symbol in symbols}
        return cls(tuple((symbol, 1.0) for symbol in sorted(known)), exact=False)

    @classmethod
    def of_amounts(cls, amounts: Mapping[str, float]) -> Composition:
        """From element -> amount."""
        return cls(tuple(sorted((str(s), float(a)) for s, a in amounts.items())))

    def without_amounts(self) -> Composition:
        """The elements alone."""
        return Composition(tuple((symbol, 1.0) for symbol, _ in self.amounts), exact=False)

    @property
    def elements(self) -> tuple[str, ...]:
        """Symbols, in alphabetical order."""
        return tuple(symbol for symbol, _ in self.amounts)

    @property
    def atomic_numbers(self) -> npt.NDArray[np.int64]:
        """[n] atomic number of each element."""
        return np.array([gemmi.Element(symbol).atomic_number for symbol in self.elements])

    @property
    def fractions(self) -> npt.NDArray[np.float64]:
        """[n] share of the atoms, sums to 1; of elements alone, what equal amounts would be."""
        amounts = np.array([amount for _, amount in self.amounts])
        return amounts / amounts.sum()

    def __str__(self) -> str:
        if not self.exact:
            return ", ".join(self.elements)
        smallest = min(amount for _, amount in self.amounts)
        rounded = [round(amount) for _, amount in self.amounts]
        whole = all(abs(a - r) < 0.01 and r > 0 for (_, a), r in zip(self.amounts, rounded, strict=True))
        divisor = float(math.gcd(*rounded)) if whole else smallest
        parts = []
        for symbol, amount in self.amounts:
            written = f"{amount / divisor:.2f}".rstrip("0").rstrip(".")
            parts.append(symbol + ("" if written == "1" else written))
        return "".join(parts)
