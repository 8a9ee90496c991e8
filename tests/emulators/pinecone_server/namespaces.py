"""What a Pinecone index holds: records that a write changes at once and reads see later."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .filters import Condition, Metadata

Reader = Literal["query", "fetch", "counts"]
READERS: tuple[Reader, ...] = ("query", "fetch", "counts")


@dataclass
class Visibility:
    """How long after a write was acknowledged each kind of read shows it, in seconds.

    Attributes:
        query: For query, list and fetch by metadata; `math.inf` means not before `PineconeServer.settle`.
        fetch: For fetch by ids: Pinecone says that it need not agree with queries.
        counts: For the counts of describe_index_stats and of namespaces.
        jitter: Up to this much more, at random for every record and kind of read.
        seed: Of that chance.
    """

    query: float = 0.0
    fetch: float = 0.0
    counts: float = 0.0
    jitter: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    def moments(self) -> dict[Reader, float]:
        """When a record written now is seen, by kind of read, in `time.monotonic` seconds."""
        now = time.monotonic()
        return {reader: now + getattr(self, reader) + self._chance.uniform(0, self.jitter) for reader in READERS}


@dataclass(frozen=True)
class Stored:
    """A record: `values` is float32 [dimension], `metadata` as `pinecone_filters.stored` leaves it."""

    id: str
    values: npt.NDArray[np.float32]
    metadata: Metadata

    def size(self) -> int:
        """Bytes, as Pinecone counts them: id, 4 a dimension, 8 a number, 1 a boolean, the characters of strings."""
        texts = sum(
            len(key) + (8 if isinstance(value, float) else 1 if isinstance(value, bool) else len("".join(value)))
            for key, value in self.metadata.items()
        )
        return len(self.id) + 4 * len(self.values) + texts


@dataclass
class _Version:
    lsn: int
    record: Stored | None
    seen: dict[Reader, float]


@dataclass
class Namespace:
    """Records by id, each as the versions that some read may still show.

    Attributes:
        named: Whether it was created by name; then it is there without records.
        schema: As given when it was created by name.
    """

    visibility: Visibility
    named: bool = False
    schema: dict[str, Any] | None = None
    _versions: dict[str, list[_Version]] = field(default_factory=dict)
    _lsn: int = 0
    _change: int = 0
    _last_seen: float = -math.inf  # when queries show the last of the writes
    _matrix: tuple[int, list[Stored], npt.NDArray[np.float32]] | None = None

    def commit(self, changes: Sequence[tuple[str, Stored | None]]) -> int:
        """Write records, or remove those given as None; the log sequence number of the write."""
        self._lsn += 1
        for record_id, record in changes:
            moments = self.visibility.moments()
            self._versions.setdefault(record_id, []).append(_Version(self._lsn, record, moments))
            self._last_seen = max(self._last_seen, moments["query"])
        self._change += 1
        return self._lsn

    def latest(self, record_id: str) -> Stored | None:
        """The record as the last write left it, seen or not."""
        versions = self._versions.get(record_id)
        return versions[-1].record if versions else None

    def all_latest(self) -> list[Stored]:
        """Every record as the last write left it."""
        return [v[-1].record for v in self._versions.values() if v[-1].record is not None]

    def seen(self, reader: Reader) -> list[Stored]:
        """What a kind of read shows now, in the order of first writes."""
        now, shown = time.monotonic(), []
        for record_id in list(self._versions):
            record = self._seen_version(record_id, reader, now)
            if record is not None:
                shown.append(record)
        return shown

    def seen_one(self, record_id: str, reader: Reader) -> Stored | None:
        """What a kind of read shows of one id now."""
        return self._seen_version(record_id, reader, time.monotonic()) if record_id in self._versions else None

    def indexed_lsn(self) -> int:
        """The highest sequence number up to which queries show every write."""
        now = time.monotonic()
        late = [v.lsn for versions in self._versions.values() for v in versions if v.seen["query"] > now]
        return min(late) - 1 if late else self._lsn

    def settle(self) -> None:
        """Show every write to every read."""
        for versions in self._versions.values():
            for version in versions:
                version.seen = dict.fromkeys(READERS, -math.inf)
        self._last_seen = -math.inf
        self._change += 1

    def exists(self) -> bool:
        """Whether a write would find it: it was created by name, or some record is in it."""
        return self.named or any(v[-1].record is not None for v in self._versions.values())

    def nearest(
        self, vector: npt.NDArray[np.float32], k: int, metric: str, condition: Condition
    ) -> list[tuple[Stored, float]]:
        """The k records nearest to float32 [dimension] among those queries show, best first, with their scores."""
        records, matrix = self._queryable()
        chosen = np.array([i for i, record in enumerate(records) if condition(record.metadata)], dtype=np.intp)
        if not len(chosen):
            return []
        scores = _SCORES[metric](matrix[chosen], vector)
        order = np.argsort(scores if metric == "euclidean" else -scores, kind="stable")[:k]
        return [(records[chosen[i]], float(scores[i])) for i in order]

    def size(self) -> int:
        """Bytes of what queries show, near enough: records weigh about the same."""
        records, _ = self._queryable()
        sample = records[:: max(1, len(records) // 100)]
        return sum(record.size() for record in sample) * len(records) // max(1, len(sample))

    def _queryable(self) -> tuple[list[Stored], npt.NDArray[np.float32]]:
        if self._matrix is not None and self._matrix[0] == self._change:
            return self._matrix[1:]
        settled = time.monotonic() >= self._last_seen
        records = self.seen("query")
        matrix = np.stack([r.values for r in records]) if records else np.zeros((0, 0), dtype=np.float32)
        self._matrix = (self._change, records, matrix) if settled else None
        return records, matrix

    def _seen_version(self, record_id: str, reader: Reader, now: float) -> Stored | None:
        versions = self._versions[record_id]
        # What every read has seen a successor of can go; a removal that every read has seen leaves nothing at all.
        while len(versions) > 1 and all(versions[1].seen[r] <= now for r in READERS):
            versions.pop(0)
        for version in reversed(versions):
            if version.seen[reader] <= now:
                if len(versions) == 1 and version.record is None and all(s <= now for s in version.seen.values()):
                    del self._versions[record_id]
                return version.record
        return None


def _cosine(matrix: npt.NDArray[np.float32], vector: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(matrix, axis=1) * np.linalg.norm(vector)
    return ((matrix @ vector) / np.where(lengths == 0, 1, lengths)).astype(np.float32)


_SCORES: dict[str, Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32]], npt.NDArray[np.float32]]] = {
    "cosine": _cosine,
    "dotproduct": lambda matrix, vector: matrix @ vector,
    # Pinecone gives the square of the distance, smallest first.
    "euclidean": lambda matrix, vector: np.square(matrix - vector).sum(axis=1),
}
