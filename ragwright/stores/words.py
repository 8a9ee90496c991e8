"""BM25 over the words of records, the same to the last tie in every store that searches in this process."""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ragwright.documents import Match
from ragwright.stores import nearest
from ragwright.terms import Vocabulary, terms

FIELDS = ("question", "text")
"""Columns whose words count, as one text."""

# The values most implementations start from; Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009).
_SATURATION = 1.2  # k1: how soon more of the same word adds nothing
_LENGTH = 0.75  # b: how much a long text has to make up for

_DIGITS = 9  # scores equal to so many decimals are a tie, whatever order the terms were summed in

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int32]


def asked(text: str) -> list[str]:
    """The different terms of a text that is searched for, in order; may be none."""
    return list(dict.fromkeys(terms(text)))


def texts(records: pa.Table | pa.RecordBatch) -> list[str | None]:
    """What is searched of each record; None where it is null."""
    joined = pc.binary_join_element_wise(*(records[name] for name in FIELDS), "\n")
    found: list[str | None] = joined.to_pylist()
    return found


class Run(Protocol):
    """Texts in a row whose words were counted."""

    @property
    def lengths(self) -> Integers:
        """Terms of each text, repeats counted, int32 [n]; -1 where the text is not known."""

    def having(self, term: str) -> tuple[Integers, Integers]:
        """Positions of the texts that have a term, and how often they have it."""


@dataclass(frozen=True)
class Postings:
    """Which of a run of texts have which terms, and how often.

    Attributes:
        lengths: Terms of each text, repeats counted, int32 [n]; -1 where the text is not known.
        places: Term to its place in `starts`.
        starts: Where each term's entries begin, and where the last one's end, int64 [terms + 1].
        holders: Positions of the texts that have the term, int32 [entries].
        counts: How often they have it, int32 [entries].
    """

    lengths: Integers
    places: dict[str, int]
    starts: npt.NDArray[np.int64]
    holders: Integers
    counts: Integers

    @classmethod
    def of(cls, run: Iterable[str | None], *, only: Collection[str] | None = None) -> Postings:
        """Count the terms of texts, or only those given: then memory is bounded by what is found of them."""
        vocabulary = Vocabulary()
        places = {} if only is None else {term: place for place, term in enumerate(only)}
        lengths, kept, entries = array("i"), array("i"), array("i")
        for text in run:
            found = [] if text is None else vocabulary.listed(text)
            lengths.append(-1 if text is None else len(found))
            if only is None:
                entries.extend([places.setdefault(term, len(places)) for term in found])
            else:
                entries.extend([places[term] for term in found if term in places])
            kept.append(len(entries))
        ends = np.frombuffer(kept, np.int32)
        holders = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
        pairs, counts = np.unique(np.frombuffer(entries, np.int32) * np.int64(len(ends)) + holders, return_counts=True)
        term, holder = np.divmod(pairs, max(len(ends), 1))
        return cls(
            lengths=np.frombuffer(lengths, np.int32),
            places=places,
            starts=np.searchsorted(term, np.arange(len(places) + 1)),
            holders=holder.astype(np.int32),
            counts=counts.astype(np.int32),
        )

    def having(self, term: str) -> tuple[Integers, Integers]:
        """Positions of the texts that have a term, and how often they have it."""
        place = self.places.get(term)
        here = slice(0, 0) if place is None else slice(self.starts[place], self.starts[place + 1])
        return self.holders[here], self.counts[here]


def scores(runs: Sequence[Run], visible: npt.NDArray[np.bool_], wanted: Sequence[str]) -> Floats:
    """BM25 of each text of several runs in a row, float64 [n]; 0 for those that share nothing or are not visible.

    Texts that are not visible count nowhere: a generation's scores do not depend on what else the space holds. The
    weight of a term is Lucene's, `log(1 + (N - n + 0.5) / (n + 0.5))`, which is above 0 for a term that all texts have.

    Args:
        runs: Postings, n texts altogether.
        visible: Which texts are there, bool [n].
        wanted: Terms, as `asked` gives them.
    """
    total = np.zeros(len(visible))
    lengths = np.concatenate([run.lengths for run in runs]) if runs else np.zeros(0, np.int32)
    there = int(visible.sum())
    mean = int(lengths[visible].sum(dtype=np.int64)) / there if there else 0.0
    for term in wanted:
        found = list(_having(runs, term))
        if not found:
            continue
        positions, counts = (np.concatenate(column) for column in zip(*found, strict=True))
        seen = visible[positions]
        positions, counts = positions[seen], counts[seen]
        weight = math.log(1 + (there - len(positions) + 0.5) / (len(positions) + 0.5))
        dampened = _SATURATION * (1 - _LENGTH + _LENGTH * (lengths[positions] / mean))
        total[positions] += weight * (counts * (_SATURATION + 1) / (counts + dampened))
    rounded: Floats = np.round(total, _DIGITS)
    return rounded


def candidates(total: Floats, k: int) -> npt.NDArray[np.int64]:
    """Positions of the k texts that share most and of every tie with the last of them; none that shares nothing."""
    sharing = np.flatnonzero(total > 0)
    if k >= len(sharing):
        return sharing
    edge = np.partition(total[sharing], len(sharing) - k)[len(sharing) - k]
    chosen: npt.NDArray[np.int64] = sharing[total[sharing] >= edge]
    return chosen


def ranked(records: pa.Table, total: Floats, k: int) -> list[Match]:
    """The k best of few candidate records, whose scores are given: by score, then by record id."""
    return nearest.by_score(records, total, k)


def _having(runs: Sequence[Run], term: str) -> Iterator[tuple[npt.NDArray[np.int64], Integers]]:
    start = 0
    for run in runs:
        holders, counts = run.having(term)
        if len(holders):
            yield holders.astype(np.int64) + start, counts
        start += len(run.lengths)
