"""Searching the live generation: readers see one whole generation or the one before it, never a mix."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ragwright.answering import Retrieved
from ragwright.documents import Fingerprint, Match
from ragwright.embedding import Embedder
from ragwright.errors import FingerprintMismatch, RagwrightError
from ragwright.index.attempt import calibration_of, same_vectors
from ragwright.index.catalog import HEAD_TTL, Catalog, Entry, Head, folder, nothing_published
from ragwright.index.lines import row_numbers
from ragwright.stores import BatchSearcher, Holder, VectorStore, nearest
from ragwright.terms import CorpusStatistics

log = logging.getLogger(__name__)

_BEHIND = 60.0
"""Seconds after which a generation that is not in force any more answers no question, however long the next takes."""


class IndexReader:
    """Searches an index as of its live generation, or of one that is named. Safe to share between threads.

    Questions do not wait for the next generation: while it is read ahead they are answered from the one before it, for
    a minute at most and only while that can be rolled back to. It is read at the first question after its publish: a
    reader that nobody asks reads nothing.

    Args:
        catalog: Of the index.
        store: Where its records are.
        embedder: Must be the one the index was made with.
        generation: To read instead of the live one; it needs no publishing, so that a candidate can be evaluated.
        lexical: Sections that a search looks for by their words, beside those it looks for by meaning; 0: none.
    """

    def __init__(
        self,
        catalog: Catalog,
        store: VectorStore,
        embedder: Embedder,
        *,
        generation: int | None = None,
        lexical: int = 0,
    ) -> None:
        self._catalog, self._store, self._embedder, self._pinned = catalog, store, embedder, generation
        self._lexical = lexical
        self._lock = threading.Lock()
        self._head: Head | None = None
        self._head_read_at = self._in_force_at = float("-inf")
        self._view: _View | None = None
        self._ahead: _Ahead | None = None

    def search(self, question: str, k: int) -> Retrieved:
        """The k sections nearest to a question, then those that only its words find; scores are cosines throughout.

        Raises:
            CatalogError: Nothing is published yet.
            FingerprintMismatch: The index was made with another embedder.
        """
        started = time.perf_counter()
        view = self._current()
        vector = self._embedder.embed([question], kind="query")[0]
        embedded = time.perf_counter()
        matches = self._store.query(view.space, vector, k=k, as_of=view.generation)
        if self._lexical:
            sharing = self._store.search_text(view.space, question, k=self._lexical, as_of=view.generation)
            if far := _without(sharing, matches):
                matches = [*matches, *_nearest_first(far, self._vectors(view, far), vector)]
        found = view.retrieved(matches, vector)
        return replace(found, embed_ms=(embedded - started) * 1000, search_ms=(time.perf_counter() - embedded) * 1000)

    def search_many(self, questions: Sequence[tuple[str, int]]) -> list[Retrieved]:
        """For each question and k what `search` gives, with one reading of a space too large to hold in memory.

        Raises:
            CatalogError: Nothing is published yet.
            FingerprintMismatch: The index was made with another embedder.
        """
        store, view = self._store, self._current()
        if not isinstance(store, BatchSearcher) or not questions:
            return [self.search(question, k) for question, k in questions]
        texts, most = [question for question, _ in questions], max(k for _, k in questions)
        vectors = self._embedder.embed(texts, kind="query")
        found = store.query_many(view.space, vectors, k=most, as_of=view.generation)
        near = [matches[:k] for matches, (_, k) in zip(found, questions, strict=True)]
        if self._lexical:
            sharing = store.search_text_many(view.space, texts, k=self._lexical, as_of=view.generation)
            far = [_without(found, matches) for found, matches in zip(sharing, near, strict=True)]
            stored = self._vectors(view, [match for matches in far for match in matches])
            near = [
                [*matches, *_nearest_first(more, stored, vector)]
                for matches, more, vector in zip(near, far, vectors, strict=True)
            ]
        return [view.retrieved(matches, vector) for matches, vector in zip(near, vectors, strict=True)]

    def _vectors(self, view: _View, matches: Sequence[Match]) -> pa.Table:
        """Id and vector of the records that were matched."""
        ids = list(dict.fromkeys(match.record_id for match in matches))
        return self._store.fetch(view.space, ids, columns=("record_id", "vector"))

    @property
    def generation(self) -> int:
        """The generation that the next search reads."""
        return self._current().generation

    def _current(self) -> _View:
        with self._lock:
            if self._pinned is not None:
                self._view = self._view or self._open_pinned(self._pinned)
                return self._view
            if time.monotonic() - self._head_read_at > HEAD_TTL:
                asked = time.monotonic()
                self._head = self._catalog.head(self._head)
                self._head_read_at = asked
            head = self._head
            if head is None or head.last is None:
                raise nothing_published(self._catalog.index)
            if self._view is None or not self._view.shows(head.last):
                self._view = self._next_view(head, head.last)
            if self._view.shows(head.last):
                self._in_force_at = self._head_read_at
            return self._view

    def _next_view(self, head: Head, entry: Entry) -> _View:
        """The generation in force or, while that is read ahead, the one before it, if that may still be read.

        A generation that a rollback gave up, or a vacuum, may not: its records may change any moment.
        """
        if (
            self._view is None
            or time.monotonic() - self._in_force_at > _BEHIND
            or not any(self._view.shows(one) for one in head.published())
        ):
            self._ahead = None
            return self._open(entry)
        if self._ahead is None or self._ahead.entry != entry:
            self._ahead = _Ahead(entry, self._open)
        if not self._ahead.ended.is_set():
            return self._view
        ahead, self._ahead = self._ahead, None
        return ahead.view or self._open(entry)  # what went wrong goes wrong again, before whoever asks

    def _open(self, entry: Entry) -> _View:
        refuse_other_embedder(self._embedder, entry.fingerprint)
        view = _View(self._catalog, entry.space, entry.generation)
        if isinstance(self._store, Holder):
            self._store.hold(entry.space, entry.generation)
        return view

    def _open_pinned(self, generation: int) -> _View:
        begin = self._catalog.begin_of(generation)
        refuse_other_embedder(self._embedder, begin.fingerprint)
        return _View(self._catalog, begin.space, generation)


def refuse_other_embedder(embedder: Embedder, index: Fingerprint) -> None:
    """Refuse vectors that cannot be compared with an index's.

    Raises:
        FingerprintMismatch: With both fingerprints.
    """
    if not same_vectors(embedder.fingerprint, index):
        raise FingerprintMismatch(
            f"the index was made with {index}, the query would be embedded with {embedder.fingerprint}",
            hint="Name the index's model in RAGWRIGHT_EMBEDDING__MODEL, or re-index with the new one.",
        )


class _Ahead:
    """The next generation, read while questions are answered from the one before it.

    Attributes:
        entry: That puts it in force.
        ended: Set once it was read, or could not be.
        view: What was read.
    """

    def __init__(self, entry: Entry, read: Callable[[Entry], _View]) -> None:
        self.entry, self._read = entry, read
        self.ended = threading.Event()
        self.view: _View | None = None
        # Not a daemon: a process that ends in the middle of a read waits for it.
        threading.Thread(target=self._run, name="next-generation").start()

    def _run(self) -> None:
        try:
            self.view = self._read(self.entry)
        except RagwrightError as error:
            log.warning("generation %d cannot be read ahead: %s", self.entry.generation, error)
        finally:
            self.ended.set()


class _View:
    """One generation as readers see it; everything heavy is read at first use and kept."""

    def __init__(self, catalog: Catalog, space: str, generation: int) -> None:
        self.space, self.generation = space, generation
        self._ids, self._rows = row_numbers(catalog, generation)
        stored = catalog.read_table(f"{folder(generation)}/statistics.parquet")
        self.calibration = calibration_of(catalog, generation)
        self.statistics = CorpusStatistics() if stored is None else CorpusStatistics.from_table(stored)

    def shows(self, entry: Entry) -> bool:
        """Whether this is the generation that a line of the log puts in force."""
        return (self.space, self.generation) == (entry.space, entry.generation)

    def retrieved(self, matches: Sequence[Match], vector: npt.NDArray[np.float32]) -> Retrieved:
        """What was found, with what answering needs to know of the generation."""
        return Retrieved(
            generation=self.generation,
            matches=self.renumber(matches),
            query_vector=vector,
            statistics=self.statistics,
            calibration=self.calibration,
        )

    def renumber(self, matches: Sequence[Match]) -> tuple[Match, ...]:
        """Put the row numbers of this generation's source in place; a record keeps the number it was written with."""
        found = []
        for match in matches:
            at = int(np.searchsorted(self._ids, match.record_id.encode()))
            if at < len(self._ids) and self._ids[at] == match.record_id.encode():
                found.append(replace(match, row=int(self._rows[at])))
        return tuple(found)


def _without(found: Sequence[Match], known: Sequence[Match]) -> list[Match]:
    ids = {match.record_id for match in known}
    return [match for match in found if match.record_id not in ids]


def _nearest_first(matches: Sequence[Match], stored: pa.Table, vector: npt.NDArray[np.float32]) -> list[Match]:
    """Matches that were found by their words, with cosines as scores; those that have gone meanwhile are left out."""
    by_id = {match.record_id: match for match in matches}
    mine = stored.filter(pc.is_in(stored["record_id"], pa.array(list(by_id), pa.string())))
    cosines = nearest.cosines(mine["vector"], vector).tolist()
    scored = [replace(by_id[name], score=s) for name, s in zip(mine["record_id"].to_pylist(), cosines, strict=True)]
    return sorted(scored, key=lambda match: (-match.score, match.record_id))
