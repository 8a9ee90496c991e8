"""Asking an index as if some of its rows were not there, without touching it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from itertools import compress

from ragwright.answering import Retrieved, Retriever
from ragwright.documents import Match
from ragwright.evaluation.metrics import normalise
from ragwright.terms import CorpusStatistics, terms

_HIDDEN: ContextVar[frozenset[str]] = ContextVar("hidden rows", default=frozenset())


@contextmanager
def hiding(rows: Iterable[str]) -> Iterator[None]:
    """Hide rows, each named by its question or its key, from every `WithoutHidden` that this thread asks meanwhile."""
    token = _HIDDEN.set(named(rows))
    try:
        yield
    finally:
        _HIDDEN.reset(token)


class WithoutHidden:
    """A retriever that leaves out what `hiding` hides: other rows move up, and the rows' words no longer count.

    Args:
        retriever: What is searched.
    """

    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever

    def search(self, question: str, k: int) -> Retrieved:
        """The k best matches that are not hidden, fewer if there are fewer; what was found beyond k stays beyond."""
        hidden = _HIDDEN.get()
        if not hidden:
            return self._retriever.search(question, k)
        wanted = k + len(hidden)
        while True:
            found = self._retriever.search(question, wanted)
            shown = [not is_named(hidden, match.row_key, match.question) for match in found.matches]
            kept = list(compress(found.matches[:wanted], shown))
            if len(kept) >= k or len(found.matches) < wanted:
                break
            wanted *= 2
        beyond = compress(found.matches[wanted:], shown[wanted:])
        gone = [match for match, is_shown in zip(found.matches, shown, strict=True) if not is_shown]
        return replace(found, matches=(*kept[:k], *beyond), statistics=_without(found.statistics, gone))


def named(rows: Iterable[str]) -> frozenset[str]:
    """What `is_named` looks rows up in: their questions or keys, as a question set writes them."""
    return frozenset(filter(None, map(normalise, rows)))


def is_named(rows: frozenset[str], row_key: str, question: str) -> bool:
    """Whether a row is among those named."""
    return bool(rows) and (normalise(row_key) in rows or normalise(question) in rows)


def _without(statistics: CorpusStatistics, gone: Sequence[Match]) -> CorpusStatistics:
    """The corpus's terms as they would be counted without these rows, as far as their sections were found."""
    rows: dict[str, set[str]] = {}
    for match in gone:
        rows.setdefault(match.row_key, set()).update(terms(f"{match.question}\n{match.text}"))
    if not rows:
        return statistics
    lost = Counter(term for row in rows.values() for term in row)
    left = dict(statistics.frequencies)
    for term, count in lost.items():
        left[term] = left.get(term, 0) - count
        if left[term] <= 0:
            del left[term]
    return replace(statistics, documents=max(0, statistics.documents - len(rows)), frequencies=left)
