"""Reduced formulas as text: the same composition always gives the same text."""

from __future__ import annotations

import math
import re

import gemmi

#: An element or a bracket with what may follow: a charge ("Fe3+"), then an amount.
_TOKEN = re.compile(r"([A-Z][a-z]?|[()\[\]])(?:\d*\+|\d+-)?(\d+(?:\.\d+)?)?")
#: The dot of a hydrate, with its multiplier; a full stop is one only before water.
_HYDRATE = re.compile(
    r"(?:[·•*]\s*(?=[\d.\s]*[A-Z(\[])|\.\s*(?=\d*\.?\d*\s*\(?(?:H2O|D2O)))(\d+(?:\.\d+)?)?\s*"
)


def reduced_formula(text: str) -> str | None:
    """Reduced formula of a written one ("Mg(OH)2", "C12 H22 O11", "CaSO4·2H2O"), e.g. "H2Mg1O2".

    Elements in alphabetical order, amounts divided by their greatest common divisor (by the smallest one,
    to 2 digits, when they are no integers); deuterium counts as hydrogen. None where the text names no
    one composition ("(Mg,Fe)2SiO4", "KCl-NaCl", an unknown element).
    """
    amounts: dict[str, float] = {}
    parts = _HYDRATE.split(text.strip())
    # split() gives part, multiplier, part, ...: the first part has no multiplier
    for multiplier, part in zip([None, *parts[1::2]], parts[::2]):
        found = _amounts(part.strip())
        if found is None:
            return None
        for element, amount in found.items():
            amounts[element] = amounts.get(element, 0.0) + amount * float(multiplier or 1)
    if not amounts or min(amounts.values()) <= 0.0:
        return None
    smallest = min(amounts.values())
    rounded = [round(v) for v in amounts.values()]
    if all(abs(v - r) < 0.01 and r > 0 for v, r in zip(amounts.values(), rounded)):
        divisor = float(math.gcd(*rounded))
    else:
        divisor = smallest
    return "".join(f"{e}{amounts[e] / divisor:.2f}".rstrip("0").rstrip(".") for e in sorted(amounts))


def _amounts(part: str) -> dict[str, float] | None:
    """Element -> amount of one part without hydrates; None where it cannot be read."""
    stack: list[dict[str, float]] = [{}]
    position = 0
    part = re.sub(r"[\s_^]+", "", part)
    while position < len(part):
        token = _TOKEN.match(part, position)
        if token is None:
            return None
        symbol, amount = token.group(1), float(token.group(2) or 1)
        if symbol in "([":
            if token.group(2):
                return None
            stack.append({})
        elif symbol in ")]":
            if len(stack) == 1:
                return None
            for element, inside in stack.pop().items():
                stack[-1][element] = stack[-1].get(element, 0.0) + inside * amount
        else:
            symbol = "H" if symbol == "D" else symbol
            if gemmi.Element(symbol).atomic_number == 0:
                return None
            stack[-1][symbol] = stack[-1].get(symbol, 0.0) + amount
        position = token.end()
    return stack[0] if len(stack) == 1 else None
