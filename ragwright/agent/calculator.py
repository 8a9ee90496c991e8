"""Arithmetic without `eval`: a whitelist over Python's syntax tree, bounded in size and time by construction.

What is computed is Python's own numbers: whole numbers exactly, others as doubles. Beyond Python's notation it reads
`^` as power (nothing here works on bits), `×`, `÷`, `−`, `·`, `²`, `³`, `√`, `π`, separators of thousands as in
`1,234,567` (not between the brackets of a function, where a comma separates arguments), and percent: `15%` is 0.15 and
`20% of 50` is 10, whereas `%` before a number or bracket is the remainder, as in Python. `5!` is a factorial, `2(3+4)`
and `2π` are products.
"""

# ruff: noqa: RUF001, RUF002 - signs that look like others are what this module reads

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence

from ragwright.errors import RequestRejected

Number = int | float

MAX_CHARS = 1_000
MAX_DEPTH = 60
# Bits of a whole number on the way and in the end: about 1,200 digits.
MAX_BITS = 4_096
_MAX_N = 1_000  # of what factorials and the like count up to

_HINT = "Write one expression of numbers, + - * / ** and functions such as sqrt(2)."
_SIGNS = str.maketrans(
    {
        "×": "*", "✕": "*", "·": "*", "∙": "*", "⋅": "*", "÷": "/", "∕": "/", "⁄": "/", "−": "-", "–": "-", "—": "-",
        "＋": "+", "＊": "*", "／": "/", "（": "(", "）": ")", "[": "(", "]": ")", "{": "(", "}": ")",
        "\u00a0": " ", "\u202f": " ", "\u2009": " ",
    }
)  # fmt: skip
_SUPERSCRIPT = re.compile("[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_PLAIN_DIGITS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_THOUSANDS = re.compile(r"(?<![\w.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_PERCENT_OF = re.compile(r"%\s*of\b", re.IGNORECASE)
# A percent sign that nothing to compute with follows.
_PERCENT = re.compile(r"([\d.)])\s*%(?!\s*[\w.(√π])")
_ROOT = re.compile(r"√\s*(\d+(?:\.\d+)?|\()")
_FACTORIAL = re.compile(r"(?<![\w.])(\d+)\s*!")
# A number right before a bracket or a name is a factor of it.
_FACTOR = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)\s?(?=\(|(?:pi|tau|sqrt)\b)")
_GLUED = re.compile(r"(?<![\w.])\d[\d.]*(?![eE][+-]?\d)[A-Za-z]")
_LEADING_ZEROS = re.compile(r"(?<![\w.])0+(?=\d)")
_ALLOWED = re.compile(r"[\w\s.,+*/%()-]*", re.ASCII)


def calculate(expression: str) -> Number:
    """The value of an arithmetic expression.

    Raises:
        RequestRejected: It is no arithmetic, too large, or has no real value; the message is short and says which.
    """
    if len(expression) > MAX_CHARS:
        raise _refused(f"the expression has {len(expression)} characters; {MAX_CHARS} are read")
    source = _as_python(expression)
    if not _ALLOWED.fullmatch(source):
        strange = next(c for c in source if not _ALLOWED.fullmatch(c))
        raise _refused(f"{strange!r} is no part of arithmetic")
    if not source:
        raise _refused("the expression is empty")
    if glued := _GLUED.search(source):
        raise _refused(f"{glued.group()[:40]!r} is no number")
    try:
        tree = ast.parse(source, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refused(f"{expression.strip()[:60]!r} is no arithmetic expression") from error
    return _checked(_value(tree.body, 0))


def write_number(value: Number) -> str:
    """A number as the agent writes it: every digit of a double that matters, no point in a whole one."""
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return repr(int(value) if whole else value)


def _as_python(expression: str) -> str:
    text = expression.translate(_SIGNS).strip().rstrip("=?").strip()
    text = _SUPERSCRIPT.sub(lambda found: f"**({found.group().translate(_PLAIN_DIGITS)})", text)
    text = _ROOT.sub(lambda found: "sqrt(" if found[1] == "(" else f"sqrt({found[1]})", text)
    text = _FACTORIAL.sub(r"factorial(\1)", text)
    text = text.replace("π", "pi").replace("^", "**").strip()
    text = _without_thousands(text)
    text = _PERCENT_OF.sub("/100*", text)
    text = _PERCENT.sub(r"\1/100", text)
    text = _FACTOR.sub(r"\1*", text)
    return _LEADING_ZEROS.sub("", text)


def is_arithmetic(expression: str) -> bool:
    """Whether something is written as arithmetic; its value may still be refused, as that of `1/0` is."""
    source = _as_python(expression) if len(expression) <= MAX_CHARS else ""
    if not source or not _ALLOWED.fullmatch(source) or _GLUED.search(source):
        return False
    try:
        ast.parse(source, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _without_thousands(text: str) -> str:
    """Drop separators of thousands outside function calls."""
    if "," not in text:
        return text
    calls, opened, inside = 0, [], []
    for at, sign in enumerate(text):
        if sign == "(":
            before = text[:at].rstrip() if at < 1 else text[at - 1 :: -1].lstrip()[:1]
            opened.append(before[:1].isalnum() or before[:1] == "_")
            calls += opened[-1]
        elif sign == ")" and opened:
            calls -= opened.pop()
        inside.append(calls > 0)
    return _THOUSANDS.sub(lambda n: n.group() if inside[n.start()] else n.group().replace(",", ""), text)


def _value(node: ast.expr, depth: int) -> Number:
    if depth > MAX_DEPTH:
        raise _refused("the expression is nested too deeply")
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float() as number):
            return _checked(number)
        case ast.Name(id=name) if name in _NAMES:
            return _NAMES[name]
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, depth + 1)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, depth + 1)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _apply(_OPERATORS[type(op)], [_value(left, depth + 1), _value(right, depth + 1)])
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _apply(_FUNCTIONS[name], [_value(argument, depth + 1) for argument in arguments], name)
        case ast.Name(id=name) | ast.Call(func=ast.Name(id=name)):
            raise _refused(f"{name[:40]!r} is unknown here")
        case _:
            pass
    raise _refused(f"{type(node).__name__} is no part of arithmetic")


def _apply(function: Callable[..., Number], operands: Sequence[Number], name: str = "") -> Number:
    try:
        return _checked(function(*operands))
    except ZeroDivisionError as error:
        raise _refused("division by zero") from error
    except OverflowError as error:
        raise _refused("the number is too large") from error
    except (ValueError, TypeError) as error:
        shown = f"{name}({', '.join(repr(value)[:20] for value in operands)})" if name else "this operation"
        raise _refused(f"{shown[:80]} has no real value") from error


def _checked(value: object) -> Number:
    """Refuse what is no real number, or too large to go on with."""
    if isinstance(value, complex):
        raise _refused("the result is no real number")
    if not isinstance(value, (int, float)) or (isinstance(value, float) and not math.isfinite(value)):
        raise _refused("the result is no finite number")
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise _refused("the number is too large")
    return value


def _power(base: Number, exponent: Number) -> Number:
    """Estimate before computing: `9**9**9` would fill the memory."""
    if isinstance(base, int) and isinstance(exponent, int) and exponent >= 0 and abs(base) > 1:
        # base**exponent has more than exponent * (bits of base - 1) bits.
        if exponent * (base.bit_length() - 1) > MAX_BITS:
            raise OverflowError
        return int(base**exponent)
    power: Number = base**exponent
    return power


def _counting(function: Callable[..., int]) -> Callable[..., int]:
    """Bound what a function counts up to."""

    def bounded(*numbers: Number) -> int:
        whole = [int(number) for number in numbers]
        if whole != list(numbers):
            raise ValueError
        if any(number > _MAX_N for number in whole):
            raise OverflowError
        return function(*whole)

    return bounded


def _round(number: Number, digits: Number = 0) -> Number:
    if not isinstance(digits, int) or abs(digits) > MAX_CHARS:
        raise ValueError
    return round(number, digits) if digits else round(number)


def _mean(*numbers: Number) -> Number:
    return sum(numbers) / len(numbers)


_OPERATORS: Mapping[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_FROM_MATH = (
    "acos acosh asin asinh atan atan2 atanh cbrt ceil cos cosh degrees erf exp expm1 floor fmod gamma gcd hypot isqrt "
    "lcm log log10 log1p log2 radians sin sinh sqrt tan tanh trunc"
)
# Factors are bounded, so that the largest product has twice MAX_BITS bits before it is refused.
_FUNCTIONS: Mapping[str, Callable[..., Number]] = {
    "abs": abs,
    "pow": _power,
    "round": _round,
    "min": lambda *numbers: min(numbers),
    "max": lambda *numbers: max(numbers),
    "sum": lambda *numbers: sum(numbers),
    "mean": _mean,
    "factorial": _counting(math.factorial),
    "comb": _counting(math.comb),
    "perm": _counting(math.perm),
    "ln": math.log,
    **{name: getattr(math, name) for name in _FROM_MATH.split()},
}
_NAMES: Mapping[str, float] = {"pi": math.pi, "e": math.e, "tau": math.tau}
FUNCTION_NAMES = frozenset(_FUNCTIONS)


def _refused(what: str) -> RequestRejected:
    return RequestRejected(what, hint=_HINT)
