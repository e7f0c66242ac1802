"""Chemical formulas as people write them: "Ca3Al2(SiO4)3", "C12 H22 O11", "CaSO4·2H2O", "Fe3+2O3"."""

from __future__ import annotations

import re

import gemmi

from eg_agent.errors import BadInput

#: An element or a bracket with what may follow: a charge ("Fe3+"), then an amount.
_TOKEN = re.compile(r"([A-Z][a-z]?|[()\[\]])(?:[1-9]?\+|[1-9]-(?!\d))?(\d+(?:\.\d+)?)?")
#: The dot of a hydrate, with its multiplier; a full stop is one only before water.
_HYDRATE = re.compile(
    r"(?:[·•*]\s*(?=[\d.\s]*[A-Z(\[])|\.\s*(?=\d*\.?\d*\s*\(?(?:H2O|D2O)))(\d+(?:\.\d+)?)?\s*"
)
#: Digits as they are printed below the line.
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")

EXAMPLE = 'write it as "Ca3Al2Si3O12"'


def amounts_of(text: str) -> dict[str, float]:
    """Element -> amount in a formula; deuterium counts as hydrogen.

    Brackets, hydrates and charges are read. BadInput says what cannot be: an empty text, an unknown
    element, an amount that is not above zero, a bracket without its partner, or a list of alternatives
    ("(Mg,Fe)2SiO4"), which is no one composition.
    """
    stripped = text.strip().translate(_SUBSCRIPTS)
    if not stripped:
        raise BadInput(f"the composition is empty: {EXAMPLE}, or leave it out.")
    amounts: dict[str, float] = {}
    parts = _HYDRATE.split(stripped)
    # split() gives part, multiplier, part, ...: the first part has no multiplier
    for multiplier, part in zip([None, *parts[1::2]], parts[::2], strict=True):
        for element, amount in _part(part.strip(), text).items():
            amounts[element] = amounts.get(element, 0.0) + amount * float(multiplier or 1)
    absent = [element for element, amount in amounts.items() if not amount > 0.0]
    if absent or not amounts:
        what = f"no {absent[0]}" if absent else "no element"
        raise BadInput(f"composition {text!r} has {what} in it: every amount must be above 0.")
    return amounts


def _part(part: str, text: str) -> dict[str, float]:
    """Element -> amount of one part without hydrates."""
    stack: list[dict[str, float]] = [{}]
    position = 0
    part = re.sub(r"[\s_^]+", "", part)
    while position < len(part):
        token = _TOKEN.match(part, position)
        if token is None:
            raise BadInput(f"composition {text!r} cannot be read at {part[position:][:12]!r}: {EXAMPLE}.")
        symbol, amount = token.group(1), float(token.group(2) or 1)
        if symbol in "([":
            if token.group(2):
                raise BadInput(
                    f"composition {text!r} has an amount behind an opening bracket: "
                    "write it behind the closing one."
                )
            stack.append({})
        elif symbol in ")]":
            if len(stack) == 1:
                raise BadInput(f"composition {text!r} closes a bracket that was not opened: {EXAMPLE}.")
            for element, inside in stack.pop().items():
                stack[-1][element] = stack[-1].get(element, 0.0) + inside * amount
        else:
            symbol = known_element(symbol, text)
            stack[-1][symbol] = stack[-1].get(symbol, 0.0) + amount
        position = token.end()
    if len(stack) != 1:
        raise BadInput(f"composition {text!r} opens a bracket and does not close it: {EXAMPLE}.")
    return stack[0]


def known_element(symbol: str, text: str) -> str:
    """The element's symbol, hydrogen for deuterium; BadInput where there is no such element."""
    if symbol in ("D", "T"):
        return "H"
    element = gemmi.Element(symbol)
    if element.atomic_number == 0 or element.name != symbol:  # gemmi reads "ca" and "CA" too
        raise BadInput(f"composition {text!r} names {symbol!r}, which is no element: check its spelling.")
    return symbol
