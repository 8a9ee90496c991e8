"""Reading past typing errors: an unknown word, one slip away from a word of the retrieved sections, is that word."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from ragwright.terms import CorpusStatistics, content_words, stem

_WORD = re.compile(r"[^\W\d_]{4,}")
_LONG = 8  # letters from which two slips are forgiven


def correct(
    question: str,
    offered: Iterable[str],
    statistics: CorpusStatistics,
    pieces: Callable[[Sequence[str]], Sequence[int]],
) -> str:
    """The question with its typing errors put right, or as it is.

    Only a word that the corpus has never seen and that the embedder's tokenizer has no token for is taken for an
    error, and only a word of the texts in `offered` that begins with the same letter is taken for what was meant: a
    name that the FAQ does not have must stay that name.

    Args:
        question: As asked.
        offered: Texts of the retrieved sections.
        statistics: Of the corpus; empty ones correct nothing.
        pieces: Tokens of each of some words, special tokens not counted.
    """
    unknown = [word for word in dict.fromkeys(_WORD.findall(question)) if not statistics.knows(stem(word.lower()))]
    if not unknown or not statistics.documents:
        return question
    unknown = [word for word, count in zip(unknown, pieces(unknown), strict=True) if count > 1]
    if not unknown:
        return question
    candidates = {word for text in offered for word in content_words(text) if len(word) >= 4}
    for word in unknown:
        meant = _nearest(word.lower(), candidates)
        if meant is not None:
            question = re.sub(rf"\b{word}\b", meant, question)
    return question


def _nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate with the fewest slips, if there are few enough and no second one has as few."""
    limit = 2 if len(word) >= _LONG else 1
    slips = sorted(
        (distance, candidate)
        for candidate in candidates
        if candidate[0] == word[0]
        and abs(len(candidate) - len(word)) <= limit
        and (distance := _slips(word, candidate)) <= limit
    )
    if not slips or (len(slips) > 1 and slips[1][0] == slips[0][0]):
        return None
    return slips[0][1]


def _slips(one: str, other: str) -> int:
    """Letters left out, added, changed or swapped with their neighbour: the optimal string alignment distance."""
    before: list[int] = []
    previous = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        current = [i]
        for j, wanted in enumerate(other, start=1):
            cost = min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, before[j - 2] + 1)
            current.append(cost)
        before, previous = previous, current
    return previous[-1]
