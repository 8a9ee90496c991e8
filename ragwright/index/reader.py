"""Searching the live generation: readers see one whole generation or the one before it, never a mix."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ragwright.answering import Retrieved
from ragwright.documents import Fingerprint, Match
from ragwright.embedding import Embedder
from ragwright.errors import FingerprintMismatch
from ragwright.index.attempt import calibration_of, manifest_of, same_vectors
from ragwright.index.catalog import HEAD_TTL, Catalog, Entry, Head, folder, nothing_published
from ragwright.stores import VectorStore, nearest
from ragwright.terms import CorpusStatistics


class IndexReader:
    """Searches an index as of its live generation, or of one that is named. Safe to share between threads.

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
        self._head_read_at = float("-inf")
        self._view: _View | None = None

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
            matches = [*matches, *self._by_words(view, question, vector, matches)]
        return Retrieved(
            generation=view.generation,
            matches=view.renumber(matches),
            query_vector=vector,
            statistics=view.statistics,
            calibration=view.calibration,
            embed_ms=(embedded - started) * 1000,
            search_ms=(time.perf_counter() - embedded) * 1000,
        )

    def _by_words(
        self, view: _View, question: str, vector: npt.NDArray[np.float32], near: Sequence[Match]
    ) -> list[Match]:
        """Sections that share most words with a question and are not among the near ones; nearest first."""
        known = {match.record_id for match in near}
        found = self._store.search_text(view.space, question, k=self._lexical, as_of=view.generation)
        far = {match.record_id: match for match in found if match.record_id not in known}
        if not far:
            return []
        stored = self._store.fetch(view.space, list(far), columns=("record_id", "vector"))
        cosines = nearest.cosines(stored["vector"], vector).tolist()
        scored = [replace(far[name], score=s) for name, s in zip(stored["record_id"].to_pylist(), cosines, strict=True)]
        return sorted(scored, key=lambda match: (-match.score, match.record_id))

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
            entry = self._head.last if self._head else None
            if entry is None:
                raise nothing_published(self._catalog.index)
            if self._view is None or (self._view.space, self._view.generation) != (entry.space, entry.generation):
                self._view = self._open(entry)
            return self._view

    def _open(self, entry: Entry) -> _View:
        refuse_other_embedder(self._embedder, entry.fingerprint)
        return _View(self._catalog, entry.space, entry.generation)

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


class _View:
    """One generation as readers see it; everything heavy is read at first use and kept."""

    def __init__(self, catalog: Catalog, space: str, generation: int) -> None:
        self.space, self.generation = space, generation
        manifest = manifest_of(catalog, generation)
        ids = np.array(manifest["record_id"].to_pylist(), dtype=np.bytes_)
        order = np.argsort(ids)
        self._ids: npt.NDArray[np.bytes_] = ids[order]
        self._rows: npt.NDArray[np.int64] = manifest["row"].to_numpy()[order]
        stored = catalog.read_table(f"{folder(generation)}/statistics.parquet")
        self.calibration = calibration_of(catalog, generation)
        self.statistics = CorpusStatistics() if stored is None else CorpusStatistics.from_table(stored)

    def renumber(self, matches: Sequence[Match]) -> tuple[Match, ...]:
        """Put the row numbers of this generation's source in place; a record keeps the number it was written with."""
        found = []
        for match in matches:
            at = int(np.searchsorted(self._ids, match.record_id.encode()))
            if at < len(self._ids) and self._ids[at] == match.record_id.encode():
                found.append(replace(match, row=int(self._rows[at])))
        return tuple(found)
