"""Whether a text states a number, however it is written and rounded."""

from __future__ import annotations

import math
import re

MOST_RELATIVE_ERROR = 1e-3
"""A rounded number must still be this near: "18.4" is no answer where 18.379 is right, "18.38" is."""

_NUMBER = re.compile(
    r"(?<![\w.])[-\u2212]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?<=\d)"
    r"(?:\s*(?:[x\u00d7*]\s*10\s*(?:\^|\*\*)\s*|[eE])([-+\u2212]?\d+))?(?![\w^])"
)


def numbers_in(text: str) -> list[tuple[float, float]]:
    """Every number of a text with the value of its last written digit; thousands separators and exponents are read."""
    return [_read(found) for found in _NUMBER.finditer(text)]


def _read(found: re.Match[str]) -> tuple[float, float]:
    exponent = int((found[1] or "0").replace("\u2212", "-"))
    mantissa = re.split(r"[eEx\u00d7*]", found[0])[0].strip().replace(",", "").replace("\u2212", "-")
    decimals = len(mantissa.partition(".")[2])
    try:
        return float(f"{mantissa}e{exponent}"), float(f"1e{exponent - decimals}")
    except (OverflowError, ValueError):
        return math.inf, math.inf


def states(text: str, expected: float) -> bool:
    """Whether a number of the text is the expected one, exactly or rounded or cut to the digits it is written with."""
    return any(_is(value, digit, expected) for value, digit in numbers_in(text))


def _is(value: float, digit: float, expected: float) -> bool:
    away = abs(value - expected)
    if not math.isfinite(away):
        return False
    if away <= 1e-9 * max(1.0, abs(expected)):
        return True
    # A whole number is not a rounded form of another whole number.
    rounded = not float(expected).is_integer() or abs(expected) >= 2**53
    return rounded and away <= digit and away <= MOST_RELATIVE_ERROR * abs(expected)
