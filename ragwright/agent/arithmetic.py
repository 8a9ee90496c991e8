"""Arithmetic in a user's own words: "what is 4 to the power of 2.1?" is `4 ** 2.1`.

A small rewriting of English, general but shallow: number words, operators in words or signs, the usual prefix forms
("multiply A by B", "the sum of A and B", "15 percent of A"), and "that" or "the result" for the last number of the
conversation. Of word problems only those about prices are read (`ragwright.agent.prices`); others ("I have 3 boxes of
4 apples each") are left to the model.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ragwright.agent.calculator import FUNCTION_NAMES, is_arithmetic
from ragwright.agent.prices import read_prices

_READ_CHARS = 600

_BELOW_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_UNITS = {word: value for value, word in enumerate(_BELOW_TWENTY.split())}
_TEN_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = {word: 10 * value for value, word in enumerate(_TEN_WORDS.split(), start=2)}
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_NUMBER_WORD = "|".join((*_UNITS, *_TENS, *_SCALES))
_NUMBER_WORDS = re.compile(
    rf"\b(?:{_NUMBER_WORD})(?:(?:[ -]|(?:(?<=hundred)|(?<=thousand)|(?<=million)) and )(?:{_NUMBER_WORD}))*"
    rf"(?: point(?: (?:{_NUMBER_WORD}))+)?\b"
)
_SCALED = re.compile(r"(\d[\d,]*(?:\.\d+)?) ?(hundred|thousand|million|billion|trillion)\b")
_LAST = re.compile(
    r"\b(?:(?:the|your|this|that) (?:(?:last|previous|above|same) )?"
    r"(?:result|answer|number|value|sum|total|product)(?! of\b)|"
    r"(?:the )?(?:last|previous) (?:result|answer|number|value|one)|that|this|it|ans)\b"
)

# An operand: the last number, a part that was read already, or a number.
_N = r"(@|§\d+§|-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?)"
_LIST = rf"({_N}(?:(?:, and |, | and | & ){_N})+)"
_GAP = r" ?(?:of |the )*"
_PARTS = "half third quarter fifth sixth seventh eighth ninth tenth eleventh twelfth"
_PART_OF = {word: number for number, word in enumerate(_PARTS.split(), start=2)} | {"fourth": 4, "hundredth": 100}
_FRACTIONS = tuple(
    form
    for word, number in _PART_OF.items()
    for form in (
        (rf"{_N}[ -]{word}s? of (?:the )?{_N}", f"{{0}} * {{1}} / {number}"),
        (rf"\b{word} of (?:the )?{_N}", f"{{0}} / {number}"),
    )
)
_FORMS: tuple[tuple[str, str], ...] = (
    *_FRACTIONS,
    (rf"(?:what|which) (?:percentage|percent|per cent|%) of {_N} (?:is|are) {_N}", "{1} / {0} * 100"),
    (rf"{_N} (?:is|are) (?:what|which) (?:percentage|percent|per cent|%) of {_N}", "{0} / {1} * 100"),
    (rf"{_N} as an? (?:percentage|percent) of {_N}", "{0} / {1} * 100"),
    (rf"{_N} ?(?:%|percent|per cent) of {_N}", "{0} / 100 * {1}"),
    (rf"(?:increase|raise) {_N} by {_N} ?(?:%|percent)", "{0} * (1 + {1} / 100)"),
    (rf"(?:decrease|reduce|lower) {_N} by {_N} ?(?:%|percent)", "{0} * (1 - {1} / 100)"),
    (rf"{_N} ?(?:percent|per cent)\b", "{0} / 100"),
    (rf"(?:multiply|times) {_N} (?:by|with|and|times) {_N}", "{0} * {1}"),
    (rf"divide {_N} by {_N}", "{0} / {1}"),
    (rf"add {_N} (?:and|to|with|plus) {_N}", "{0} + {1}"),
    (rf"(?:subtract|deduct|take(?: away)?) {_N} (?:away )?from {_N}", "{1} - {0}"),
    (rf"subtract {_N} and {_N}", "{0} - {1}"),
    (rf"raise {_N} to {_GAP}(?:power {_GAP})?{_N}(?:st|nd|rd|th)?(?: power)?", "{0} ** {1}"),
    (rf"remainder {_GAP}(?:when |if |dividing )?{_N} (?:is )?(?:divided )?by {_N}", "{0} % {1}"),
    (rf"difference (?:between|of) {_N} and {_N}", "{0} - {1}"),
    (rf"(?:quotient of|ratio of) {_N} (?:and|to) {_N}", "{0} / {1}"),
    (rf"square root {_GAP}{_N}", "sqrt({0})"),
    (rf"(?:cube|cubic) root {_GAP}{_N}", "cbrt({0})"),
    (rf"(?:factorial {_GAP}{_N})", "factorial({0})"),
    (rf"{_N} factorial", "factorial({0})"),
    (rf"natural log(?:arithm)? {_GAP}{_N}", "log({0})"),
    (rf"(?:log|logarithm) base {_N} {_GAP}{_N}", "log({1}, {0})"),
    (rf"\b(sqrt|log10|log2|log|ln|sin|cos|tan|exp|sine|cosine|tangent|logarithm) {_GAP}{_N}", "{0}({1})"),
    (rf"{_N}(?:,)? squared", "{0} ** 2"),
    (rf"{_N}(?:,)? cubed", "{0} ** 3"),
    (rf"square {_GAP}{_N}", "{0} ** 2"),
    (rf"cube {_GAP}{_N}", "{0} ** 3"),
    (rf"(?:double|twice) {_GAP}{_N}", "2 * {0}"),
    (rf"(?:triple|thrice) {_GAP}{_N}", "3 * {0}"),
    (rf"(?:halve|half) {_GAP}{_N}", "{0} / 2"),
    (rf"{_N} (?:raised )?to (?:the )?(?:power of|power) ?{_N}", "{0} ** {1}"),
    (rf"{_N} raised to (?:the )?{_N}", "{0} ** {1}"),
    (rf"{_N} to the {_N}(?:st|nd|rd|th)?(?: power)?", "{0} ** {1}"),
    # What goes on from there, once all of the above is read.
    (rf"{_N},? (?:and |then )+(?:multiply|times) (?:@ |the @ )?(?:by )?{_N}", "{0} * {1}"),
    (rf"{_N},? (?:and |then )+divide (?:@ )?by {_N}", "{0} / {1}"),
    (rf"{_N},? (?:and |then )+(?:add|plus) {_N}", "{0} + {1}"),
    (rf"{_N},? (?:and |then )+(?:subtract|minus) {_N}", "{0} - {1}"),
)
_PREFIX = tuple((re.compile(pattern), form) for pattern, form in _FORMS)
_SUMS = (
    (re.compile(rf"(?:sum of|add up|add together|add|total of) {_LIST}"), " + "),
    (re.compile(rf"(?:product of|multiply) {_LIST}"), " * "),
    (re.compile(rf"(?:average|mean) of {_LIST}"), ", "),
)
# What is done to the last number without naming it: "now add 5", "divided by 4?", "plus 3".
_ONWARD = re.compile(
    rf"^(?:and |now |then |ok |okay |please |can you |could you |what (?:about|if|is it) )*"
    rf"(plus|add|minus|subtract|times|multiply by|multiplied by|divide by|divided by|over|to the power of) {_N}\W*$"
)
_INFIX = (
    (re.compile(r"\b(?:plus|added to)\b"), "+"),
    (re.compile(r"\b(?:minus|less)\b"), "-"),
    (re.compile(r"\b(?:times|multiplied (?:by|with))\b|(?<=[\d@§]) ?x ?(?=[\d@§])"), "*"),
    (re.compile(r"\b(?:divided by|over)\b"), "/"),
    (re.compile(r"\b(?:modulo|modulus|mod)\b"), "%"),
)
_SIGN_OF = {
    "plus": "+", "add": "+", "minus": "-", "subtract": "-", "times": "*", "multiply by": "*", "multiplied by": "*",
    "divide by": "/", "divided by": "/", "over": "/", "to the power of": "**",
}  # fmt: skip
_SPELLED = {"sine": "sin", "cosine": "cos", "tangent": "tan", "logarithm": "log"}
_NAME = "|".join(sorted({*FUNCTION_NAMES, "pi", "tau"}, key=len, reverse=True))
_RUN = re.compile(
    rf"(?:(?<![\w.])(?:{_NAME})(?![a-z])|§\d+§|@|(?<![a-z])\d[\d,_]*(?:\.\d+)?(?:e[+-]?\d+)?(?![a-z])|\.\d+"
    rf"|[-+*/%^()!,√π²³\u00d7\u00f7\u2212\u00b7]|\s)+"
)
_OPERATION = re.compile(r"[+*/^!√²³\u00d7\u00f7\u2212\u00b7§]|%|(?<=[\d)@§ ])-|[a-z]\(")
# Words that may stand around arithmetic without being about anything else.
_FILLER = re.compile(
    r"\b(?:what|whats|what's|is|are|was|the|of|please|pls|can|could|would|will|you|to|compute|computes?|calculat(?:e|ing)|"
    r"evaluat(?:e|ing)|work|out|solve|find|determine|result|answer|value|tell|me|give|show|how|much|many|does|do|equals?|and|"
    r"then|now|next|so|ok|okay|hey|hi|hello|thanks|thank|i|need|want|know|get|if|we|let's|lets|just|for|my|take|when|a|an|quick|"
    r"quickly|exactly|make|be|use|using|calculator|with|by|maths?|problem|this|number|sum|expression|following|"
    r"instead|again|first|also|about|question|help|number|power|great|cool|nice|got|s)\b|[@\s?.!,:;=\"'`\u2019\u201c\u201d()-]"
)


def read_arithmetic(text: str, last: str | None = None) -> str | None:
    """The expression that a turn asks to compute, in the Calculator's notation.

    Args:
        text: What the user said, the words of others taken out.
        last: The last number of the conversation, for "that"; None if there is none.

    Returns:
        None where the turn asks for something else, or for arithmetic that this cannot read.
    """
    if len(text) > _READ_CHARS or not text.strip():
        return None
    parts: list[str] = []
    said = plain = _numbers(re.sub(r"[$€£]\s?(?=\d)", "", " ".join(text.lower().split())))
    if last is not None:
        said = _LAST.sub("@", said)
        if onward := _ONWARD.match(said):
            said = f"@ {_SIGN_OF[onward[1]]} {onward[2]}"
    said = _reduce(said, parts)
    for pattern, sign in _INFIX:
        said = pattern.sub(sign, said)
    runs = [run for run in _RUN.finditer(said) if _OPERATION.search(run.group())]
    for run in sorted(runs, key=lambda run: -len(run.group())):
        found = run.group().strip(" ,.")
        rest = f"{said[: run.start()]} {said[run.end() :]}"
        expression = _expanded(found, parts, last)
        if expression and re.search(r"\d", expression) and is_arithmetic(expression) and not _FILLER.sub("", rest):
            return expression
    return read_prices(plain)


_WITH_DIGITS = re.compile(r"(?<![\w.-])[a-z][a-z_.-]*\d[\w.-]*")


def wants_arithmetic(text: str) -> bool:
    """Whether a turn might need a calculator at all: numbers, and a word or sign that works on them.

    Digits of a name ("H100", "ml.p4d.24xlarge", "us-east-1") are no numbers, and a lone "one" ("how many fit into one
    account?") counts nothing.
    """
    plain = _WITH_DIGITS.sub(" ", " ".join(text[:_READ_CHARS].lower().split()))
    said = _numbers(plain)
    if re.search(r"\bcalculat(?:e|or)\b", said):
        return True
    numbers = re.findall(r"\d+(?:\.\d+)?", said)
    words = re.search(
        r"[+*/^\u00d7\u00f7√]|\d ?- ?\d|\b(?:plus|minus|times|multipl\w+|divid\w+|power|square|cube|root|sum|product|"
        r"difference|percent|average|mean|total|double|triple|half|twice|add|subtract|how many|how much|left|each|"
        r"altogether|per)\b|%",
        said,
    )
    lone = numbers == ["1"] and re.search(r"\bone\b", plain)
    return bool(numbers and words and not lone)


def _numbers(text: str) -> str:
    text = _SCALED.sub(lambda found: _times(found[1], _SCALES[found[2]]), text)
    return _NUMBER_WORDS.sub(lambda found: _number(found.group()), text)


def _number(words: str) -> str:
    whole, _, fraction = words.replace("-", " ").replace(" and ", " ").partition(" point ")
    total = group = 0
    for word in whole.split():
        if word in ("thousand", "million", "billion", "trillion"):
            total, group = total + max(group, 1) * _SCALES[word], 0
        elif word == "hundred":
            group = max(group, 1) * 100
        else:
            group += _UNITS.get(word, 0) + _TENS.get(word, 0)
    digits = "".join(str(_UNITS.get(word, 0)) for word in fraction.split())
    return f"{total + group}.{digits}" if digits else str(total + group)


def _times(number: str, scale: int) -> str:
    value = float(number.replace(",", "")) * scale
    return str(int(value)) if value.is_integer() else repr(value)


def _reduce(said: str, parts: list[str]) -> str:
    """Replace what is read, inner forms first, by marks that stand for it."""

    def keep(expression: str) -> str:
        parts.append(expression)
        return f"§{len(parts) - 1}§"

    def form_of(form: str) -> Callable[[re.Match[str]], str]:
        return lambda found: keep(form.format(*(_SPELLED.get(group, group) for group in found.groups())))

    def list_of(sign: str) -> Callable[[re.Match[str]], str]:
        return lambda found: keep(_joined(found[1], sign))

    for _ in range(4):
        before = said
        for pattern, form in _PREFIX:
            said = pattern.sub(form_of(form), said)
        for pattern, sign in _SUMS:
            said = pattern.sub(list_of(sign), said)
        if said == before:
            break
    return said


def _joined(listed: str, sign: str) -> str:
    items = re.split(r", and |, | and | & ", listed)
    return f"mean({', '.join(items)})" if sign == ", " else sign.join(items)


def _expanded(expression: str, parts: list[str], last: str | None) -> str:
    alone = re.fullmatch(r"§(\d+)§", expression)
    if alone:
        expression = parts[int(alone[1])]
    for _ in range(8):
        if "§" not in expression or len(expression) > _READ_CHARS:
            break
        expression = re.sub(r"§(\d+)§", lambda found: f"({parts[int(found[1])]})", expression)
    if "@" in expression:
        if last is None:
            return ""
        number = f"({last})" if last.startswith("-") else last
        expression = expression.replace("@", number)
    return expression
