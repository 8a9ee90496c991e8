"""Comparing what came back with what is known: words with accepted ones, rows with gold, answers with sources."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence

from ragwright.terms import numbers, terms

SUPPORTED_SHARE = 0.8
"""Least share of an answer's content words that its cited sections must have."""


def satisfies(text: str, groups: Iterable[Iterable[str]]) -> bool:
    """Whether every group has an alternative among the words of the text, in order; an English plural is forgiven."""
    normal = normalise(text)
    return all(any(_says(normal, normalise(alternative)) for alternative in group) for group in groups)


def _says(normal: str, wanted: str) -> bool:
    # Neither "10" in "100" nor "10" in "10.5"; scripts without spaces have no word ends to look for.
    if any("\u3040" <= character <= "\u9fff" for character in wanted):
        return wanted in normal
    return re.search(rf"(?<![\w.]){re.escape(wanted)}(?:(?<=[a-z])e?s)?(?![\w]|\.\w)", normal) is not None


def normalise(text: str) -> str:
    """Words only: compatibility forms, lower case, no thousands separators, other punctuation as single spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    folded = re.sub(r"(?<=\d),(?=\d{3}\b)", "", folded)
    # A point stays only between digits, as in "3.5".
    return " ".join(re.sub(r"(?!(?<=\d)\.(?=\d))[\W_]", " ", folded).split())


def gold_places(gold: Iterable[str], found: Sequence[tuple[str, str]]) -> tuple[tuple[int, ...], int]:
    """Where the rows that gold names stand among what was found, rows counted once.

    A name counts at the first row that bears it, as its key or its question: a second row with the same question is not
    asked for. Two names of one row are one.

    Args:
        gold: Keys or questions of rows.
        found: (row key, question) pairs, most relevant first.

    Returns:
        1-based places, ascending, and how many rows gold asks for.
    """
    missing = {normalise(name) for name in gold}
    places: list[int] = []
    for place, (row_key, question) in enumerate(_rows(found), start=1):
        named = missing & {normalise(row_key), normalise(question)} - {""}
        if named:
            places.append(place)
            missing -= named
    return tuple(places), len(places) + len(missing)


def _rows(found: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    rows: dict[str, str] = {}
    for row_key, question in found:
        rows.setdefault(row_key, question)
    return list(rows.items())


def ndcg(places: Sequence[int], relevant: int, at: int = 10) -> float:
    """Normalised discounted cumulative gain with binary gains; 0 if nothing is relevant.

    Jarvelin and Kekalainen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20 (2002), with the discount
    `log2(place + 1)` that trec_eval uses.

    Args:
        places: 1-based places of the relevant rows that were found.
        relevant: How many relevant rows there are.
        at: Places that count.
    """
    ideal = sum(1 / math.log2(place + 1) for place in range(1, min(relevant, at) + 1))
    gained = sum(1 / math.log2(place + 1) for place in places if place <= at)
    return gained / ideal if ideal else 0.0


def support(answer: str, sources: Sequence[str]) -> tuple[bool, float]:
    """Whether an answer rests on its sources, judged by its words alone.

    It does if it stands in one of them as it is, or if every number in it is in one of them and most of its content
    words are (`SUPPORTED_SHARE`). This is no part of how answers are made, so that it can find fault with it; the order
    of words and what they deny are not its business.

    Args:
        answer: What was said.
        sources: The cited sections, question and text.

    Returns:
        The verdict, and the share of content words that the sources have (0 if the answer has none).
    """
    quoted = normalise(answer)
    if quoted and any(f" {quoted} " in f" {normalise(source)} " for source in sources):
        return True, 1.0
    said, known = set(terms(answer)), {term for source in sources for term in terms(source)}
    share = len(said & known) / len(said) if said else 0.0
    numbers_known = {number for source in sources for number in numbers(source)}
    return share >= SUPPORTED_SHARE and numbers(answer) <= numbers_known, share
