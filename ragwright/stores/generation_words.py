"""The words of whole generations, for stores that cannot search them: read once, kept while they are asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ragwright.documents import Match
from ragwright.errors import Unavailable
from ragwright.stores import words

_KEPT = 2  # the live generation, and the candidate that is compared with it
_ATTEMPTS = 3


@dataclass(frozen=True)
class _Held:
    ids: list[str]
    postings: words.Postings


class GenerationWords:
    """Searches the words of generations; threads may share one.

    What a published generation shows never changes, so its words are read once. Whoever writes to a space says so by
    `forget`. In memory: two generations, the ids and the words of each record.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[str, int], _Held] = {}
        self._forgotten: dict[str, int] = {}
        self._lock = threading.Lock()
        self._reading = threading.Lock()

    def forget(self, space: str) -> None:
        """Somebody writes to the space."""
        with self._lock:
            self._forgotten[space] = self._forgotten.get(space, 0) + 1
            for key in [key for key in self._held if key[0] == space]:
                del self._held[key]

    def search(
        self,
        key: tuple[str, int],
        wanted: Sequence[str],
        k: int,
        *,
        read: Callable[[], Iterator[pa.RecordBatch]],
        fetch: Callable[[Sequence[str]], pa.Table],
    ) -> list[Match]:
        """The k records that share most of the terms `wanted`, best first, ties by record id.

        Args:
            key: Space and generation.
            wanted: Terms, as `words.asked` gives them.
            k: At most so many.
            read: Batches of the generation's records with `record_id` and `words.FIELDS`.
            fetch: Whole records, without vectors, by their ids.

        Raises:
            Unavailable: Records vanish while they are read.
        """
        for _ in range(_ATTEMPTS):
            held = self._words(key, read)
            scores = words.scores([held.postings], np.ones(len(held.ids), dtype=bool), wanted)
            sharing = words.candidates(scores, k)
            best = sorted((-scores[at], held.ids[at]) for at in sharing)[:k]
            if not best:
                return []
            found = fetch([record_id for _, record_id in best])
            if len(found) == len(best):
                place = pc.index_in(found["record_id"], value_set=pa.array([record_id for _, record_id in best]))
                return words.ranked(found, -np.array([score for score, _ in best])[place.to_numpy()], k)
            self.forget(key[0])
        raise Unavailable(
            f"records of generation {key[1]} vanished {_ATTEMPTS} times while they were read.",
            place=f"space {key[0]!r}",
            hint="Ask again as of the live generation.",
        )

    def _words(self, key: tuple[str, int], read: Callable[[], Iterator[pa.RecordBatch]]) -> _Held:
        with self._reading:  # two readers at once would read the same
            with self._lock:
                held = self._held.pop(key, None)
                before = self._forgotten.get(key[0], 0)
            if held is None:
                held = _read(read)
            with self._lock:
                if self._forgotten.get(key[0], 0) == before:
                    self._held[key] = held  # last: the one used most recently
                    while len(self._held) > _KEPT:
                        del self._held[next(iter(self._held))]
            return held


def _read(read: Callable[[], Iterator[pa.RecordBatch]]) -> _Held:
    ids: list[str] = []

    def texts() -> Iterator[str | None]:
        for batch in read():
            ids.extend(batch["record_id"].to_pylist())
            yield from words.texts(batch)

    postings = words.Postings.of(texts())
    return _Held(ids, postings)
