"""Whether a reply states a number."""

from __future__ import annotations

import re
from decimal import Decimal

_NUMBER = re.compile(r"-?\d[\d,]{0,1500}(?:\.\d{1,400})?(?:[eE][+-]?\d{1,4})?")
_ENOUGH_DIGITS = 3


def states(reply: str, number: str) -> bool:
    """Whether a number, whole or rounded to at least three digits, is what a reply comes to: its last number."""
    found = _NUMBER.findall(reply)
    return bool(found) and _rounds_to(found[-1].rstrip(",").replace(",", ""), number)


def state_result(reply: str, observation: str) -> str:
    """The reply if it states the result that was computed, else the result: small models miscopy digits."""
    return reply if states(reply, observation) else f"The result is {observation}."


def is_number(text: str) -> bool:
    """Whether a text is one number."""
    return bool(_NUMBER.fullmatch(text))


def _rounds_to(said: str, number: str) -> bool:
    if said == number:
        return True
    if not is_number(number):
        return False
    exact, rounded = Decimal(number), Decimal(said)
    if exact == rounded:
        return True
    enough = len(rounded.as_tuple().digits) >= _ENOUGH_DIGITS or rounded == exact.to_integral_value()
    unit = Decimal(1).scaleb(int(rounded.as_tuple().exponent))
    return enough and abs(exact - rounded) <= unit / 2 and "e" not in said.lower()
