"""Prices in a user's own words: "one notebook costs 2.35, how much are 12 of them?" is `2.35 * 12`.

Word problems are many; these four shapes are read, each only where it explains every number of the turn:

- what one thing costs, and the question what several cost;
- what several cost, and the question what one costs;
- a price and a percentage: a discount, or a tax, tip or rise, and the question what it comes to, or what the part is;
- things bought at prices, and the question for the sum.
"""

from __future__ import annotations

import re

_N = r"\d+(?:,\d{3})*(?:\.\d+)?"
_NUMBER = re.compile(rf"(?<![\w.,-]){_N}(?![\w]|[.,]\d)")
_MONEY = r"(?: ?(?:dollars?|euros?|pounds?|cents?|francs?|bucks|usd|eur|gbp))?"
_COSTS = r"(?:costs?|is|are|sells? for|is priced at|goes? for|cost me)"
# One thing: not "a week" in "what do 3 hours a week cost?", because its price has to follow.
_ONE = re.compile(
    rf"\b(?:an?|each|every|1|the price of an?|the price of 1) [a-z -]{{1,40}}? {_COSTS} (?P<a>{_N})"
    rf"|\b{_COSTS} (?P<b>{_N}){_MONEY} (?:an?|per|each|every|apiece)\b"
    rf"|\bat (?P<c>{_N}){_MONEY} (?:each|apiece|per|an?)\b"
)
_SEVERAL = re.compile(
    rf"\b(?:how much|what) (?:do|does|would|will|is|are|must i pay for|do i pay for|would i pay for) (?:it cost for )?"
    rf"(?:the price of )?(?P<n>{_N})\b"
)
_ALL = re.compile(rf"\b(?P<n>{_N}) [a-z -]{{1,40}}? (?:costs?|cost me|sell for|are|go for) (?P<p>{_N})")
_ONE_ASKED = re.compile(
    r"\b(?:how much|what) (?:do|does|would|will|is|are) (?:the price of )?(?:1|an?|each|every|a single)\b"
)
_PERCENT = re.compile(rf"(?P<r>{_N}) ?(?:%|percent|per cent)")
_LESS = re.compile(
    r"\b(?:reduced|discount\w*|off|cheaper|lowered|marked down|rebate|drops?|dropped|falls?|fell|sale)\b"
)
_MORE = re.compile(
    r"\b(?:vat|tax(?:es)?|tip|surcharge|service charge|fee|interest|increased?|raised?|rises?|rose|goes up|went up"
    r"|dearer|more expensive)\b"
)
_COMES_TO = re.compile(
    r"\b(?:total|altogether|in all|now|new price|final price|afterwards|after that|what do i (?:have to )?pay"
    r"|how much do i (?:have to )?pay|(?:what|how much) (?:does|will|would) (?:it|that) cost)\b"
)
_PART = re.compile(r"\bhow much (?:is the|do i save|is that off|are the|tax|tip|vat)\b")
_BOUGHT = re.compile(r"\b(?:bought|buy|buys|ordered|order|purchased|got)\b")
_ITEM = re.compile(
    rf"\b(?P<n>{_N}|an?) [a-z -]{{1,40}}? (?P<how>at|for) (?P<p>{_N}){_MONEY}(?P<each> (?:each|apiece))?"
)
_UNPRICED = re.compile(r"(?:\band|,|bought|ordered) (?:an?|some|the|two|another) ")
_SUM_ASKED = re.compile(
    r"\b(?:how much (?:did|do|have|must|will)|what (?:did|do|is) .{0,20}(?:spend|pay|total|cost))\b"
)


def read_prices(said: str) -> str | None:
    """The expression that answers a question about prices.

    Args:
        said: A user's own words, in lower case, with numbers in digits and without signs of currency.

    Returns:
        None where the turn has another shape.
    """
    numbers = [found.group() for found in _NUMBER.finditer(said)]
    if not numbers or len(re.findall(r"\d+(?:[.,]\d+)*", said)) != len(numbers):
        return None
    counted = sorted(number for number in numbers if number != "1")
    if _BOUGHT.search(said) and _SUM_ASKED.search(said):
        return _bought(said, counted)
    if percent := _PERCENT.search(said):
        return _changed(said, percent["r"], counted)
    one, several = _ONE.search(said), _SEVERAL.search(said)
    if one and several and several.start() > one.start():
        price = next(group for group in one.groups() if group)
        return f"{price} * {several['n']}" if sorted((price, several["n"])) == counted else None
    together = _ALL.search(said)
    if together and _ONE_ASKED.search(said, together.end()) and sorted(together.groups()) == counted:
        return f"{together['p']} / {together['n']}"
    return None


def _changed(said: str, rate: str, counted: list[str]) -> str | None:
    less, more = _LESS.search(said), _MORE.search(said)
    if len(counted) != 2 or bool(less) == bool(more):
        return None
    price = counted[1 - counted.index(rate)]
    if _PART.search(said):
        return f"{price} * {rate} / 100"
    return f"{price} * (1 {'-' if less else '+'} {rate} / 100)" if _COMES_TO.search(said) else None


def _bought(said: str, counted: list[str]) -> str | None:
    terms, used = [], []
    if _UNPRICED.search(_ITEM.sub(" ", said)):
        return None
    for item in _ITEM.finditer(said):
        one = item["n"] in ("a", "an", "1")
        used += [item["p"]] if one else [item["p"], item["n"]]
        by_piece = not one and (item["how"] == "at" or item["each"])
        terms.append(f"{item['n']} * {item['p']}" if by_piece else item["p"])
    return " + ".join(terms) if terms and sorted(used) == counted else None
