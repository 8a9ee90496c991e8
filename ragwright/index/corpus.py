"""What the answering side needs to know of the whole corpus: in how many rows each term occurs.

Counted while the source is read; where a live generation was counted by the same rules, only what came and what went.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ragwright.errors import CatalogError, PermanentError
from ragwright.index import tables
from ragwright.index.attempt import Attempt
from ragwright.index.catalog import Catalog, folder
from ragwright.index.earlier_texts import earlier_texts
from ragwright.index.lines import ShownRows
from ragwright.terms import CorpusStatistics, Vocabulary

log = logging.getLogger(__name__)

_COUNTED = pa.schema([("term", pa.string()), ("documents", pa.int64())])
# Terms counted as Python objects before they are put away, at a sixth of the room.
_OPEN_TERMS = 100_000
# Share of the live rows up to which what they said is read back: beyond it counting all rows costs no more.
_GONE = 0.1
# To find the place of a term takes as long as to sort so many.
_FEW = 64


class TermCounter:
    """Counts in how many rows each term occurs; memory is bounded by the vocabulary, about 30 bytes a term.

    Args:
        alike: One whose rows say much the same, so that what is known of its words is known.
    """

    def __init__(self, alike: TermCounter | None = None) -> None:
        self.rows = 0
        self._open = Counter[str]()
        self._vocabulary: Vocabulary = alike._vocabulary if alike else Vocabulary()
        self._counted = [_COUNTED.empty_table()]

    def add(self, rows: pa.Table) -> None:
        """Count rows (with `question` and `answer`)."""
        for question, answer in zip(rows["question"].to_pylist(), rows["answer"].to_pylist(), strict=True):
            self._open.update(self._vocabulary.terms(f"{question}\n{answer}"))
        self.rows += len(rows)
        if len(self._open) > _OPEN_TERMS or len(self._vocabulary) > _OPEN_TERMS:
            self._put_away()

    def counted(self) -> pa.Table:
        """Each term once (`term`, `documents`)."""
        self._put_away()
        return _summed(self._counted)

    def table(self) -> pa.Table:
        """What was counted so far, as `CorpusStatistics.to_table` writes it."""
        return _statistics(self.counted(), self.rows)

    def _put_away(self) -> None:
        terms = pa.array(list(self._open), pa.string())
        counts = pa.array(list(self._open.values()), pa.int64())
        self._counted.append(pa.table([terms, counts], schema=_COUNTED))
        # Like sizes are summed together, so that no term is moved more often than the number of its doublings.
        while len(self._counted) > 1 and 2 * len(self._counted[-1]) > len(self._counted[-2]):
            self._counted.append(_summed([self._counted.pop(), self._counted.pop()]))
        self._open, self._vocabulary = Counter(), Vocabulary()


class CorpusCount:
    """Counts the rows of a source that a generation shows; the same, to the byte, however much of it was known before.

    Args:
        attempt: Begun.
        live: The rows that its live generation shows.
    """

    def __init__(self, attempt: Attempt, live: ShownRows) -> None:
        self._attempt, self._generation = attempt, attempt.begin.live
        self._new = TermCounter()
        self._stays = np.zeros(len(live), bool)
        # Those who embed everything again, or repair, have some reason not to rely on what is there.
        relied_on = len(live) and not attempt.begin.full and not attempt.damage
        self._carries_over = bool(relied_on) and counted_rows(attempt.catalog, self._generation) == len(live)

    def add(self, rows: pa.Table, live: npt.NDArray[np.int64]) -> None:
        """Take in rows that are shown, and the number of each in the live generation: `NEVER` if it is not there."""
        there = live >= 0
        self._stays[live[there]] = True
        self._new.add(rows.filter(pa.array(~there)) if self._carries_over else rows)

    def table(self, again: Callable[[], Iterable[pa.Table]]) -> pa.Table:
        """As `CorpusStatistics.to_table` writes it.

        Args:
            again: Reads all rows that were added once more, for a count from nothing: much of the live generation has
                gone, or it cannot be told what the rows said that have.

        Raises:
            TransientError: The store cannot be read now.
            SourceError: The source cannot be read again.
        """
        if not self._carries_over:
            return self._new.table()
        gone = ~self._stays
        if gone.sum() <= _GONE * len(gone):
            try:
                return self._carried_over(gone)
            except PermanentError as error:
                log.warning("the words of all rows are counted anew: %s", error)
        counter = TermCounter()
        for rows in again():
            counter.add(rows)
        return counter.table()

    def _carried_over(self, gone: npt.NDArray[np.bool_]) -> pa.Table:
        """The live generation's counts, less those of the rows that have gone, and those of new ones.

        Raises:
            PermanentError: What has gone cannot be told, or is not in the counts.
        """
        old, place = TermCounter(self._new), f"{folder(self._generation)}/statistics.parquet"
        if gone.any():
            for texts in earlier_texts(self._attempt, self._generation, gone):
                old.add(texts)
        before = tables.table_of(tables.batches(self._attempt.catalog, place, _COUNTED.names), _COUNTED)
        less = old.counted()
        less = less.set_column(1, "documents", pc.negate(less["documents"])).cast(_COUNTED)
        total = _moved(before, _summed([self._new.counted(), less]))
        if (pc.min(total["documents"]).as_py() or 0) < 0:
            raise CatalogError("words of rows that are gone were not counted", place=place)
        kept = total.filter(pc.greater(total["documents"], 0)).combine_chunks()
        return _noted(kept, len(gone) - old.rows + self._new.rows)


def counted_rows(catalog: Catalog, generation: int) -> int | None:
    """How many rows a generation's statistics are of; None where today's rules would count other terms in them."""
    try:
        found = tables.facts(catalog, f"{folder(generation)}/statistics.parquet")
    except CatalogError as error:
        log.warning("%s", error)
        return None
    today = CorpusStatistics().to_table().schema.metadata[b"rules"].decode()
    if found is None or found.metadata.get("rules") != today:
        return None
    return int(found.metadata["documents"])


def _statistics(counted: pa.Table, rows: int) -> pa.Table:
    return _noted(counted.sort_by("term").combine_chunks(), rows)


def _noted(sorted_counts: pa.Table, rows: int) -> pa.Table:
    return sorted_counts.replace_schema_metadata(CorpusStatistics(rows).to_table().schema.metadata)


def _moved(before: pa.Table, by: pa.Table) -> pa.Table:
    """Sorted counts with others, of each term once, added to them; sorted, but not all over again."""
    at = pc.index_in(before["term"], by["term"].combine_chunks())
    more = pc.fill_null(pc.take(by["documents"], at), 0)
    counted = before.set_column(1, "documents", pc.add(before["documents"], more)).cast(_COUNTED)
    new = by.filter(pc.invert(pc.is_in(by["term"], before["term"].combine_chunks()))).sort_by("term")
    if len(new) * _FEW > len(counted):
        return pa.concat_tables([counted, new]).sort_by("term")
    terms = before["term"].combine_chunks()
    # Arrow sorts by UTF-8 and Python by code points, which is the same order.
    places = [bisect_left(terms, term, key=lambda found: found.as_py()) for term in new["term"].to_pylist()]
    order = np.insert(np.arange(len(counted)), places, np.arange(len(counted), len(counted) + len(new)))
    return pa.concat_tables([counted, new]).take(pa.array(order))


def _summed(parts: list[pa.Table]) -> pa.Table:
    found = pa.concat_tables(parts).group_by("term").aggregate([("documents", "sum")])
    return pa.table([found["term"], found["documents_sum"]], schema=_COUNTED).combine_chunks()
