"""A source's records with their hashes, as often as they are asked for; few enough of them are read only once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from ragwright.digests import content_hashes
from ragwright.documents import ROWS, Rejected
from ragwright.errors import SourceError
from ragwright.progress import Progress, silent
from ragwright.sources import Source

STAGED = ROWS.append(pa.field("row_hash", pa.string()))

KEPT_BYTES = 2**26
"""A source up to this size stays in memory from its first reading to its last."""

# What `documents.row_hash` is the hash of.
_SAID = ("question", "answer", "metadata")
# What a rejected record takes at the most: its texts are shortened.
_REJECTED_BYTES = 1_024


@dataclass(frozen=True)
class Hashed:
    """Consecutive records of a source: the readable ones (`STAGED`), and the malformed ones."""

    rows: pa.Table
    rejected: tuple[Rejected, ...]

    @property
    def nbytes(self) -> int:
        """About what it takes of memory."""
        return int(self.rows.nbytes) + _REJECTED_BYTES * len(self.rejected)

    @property
    def records(self) -> int:
        """How many records of the source this is."""
        return len(self.rows) + len(self.rejected)


class Readings:
    """One source, all of whose readings find the same, or fail.

    Args:
        source: Open.
        keep_bytes: What may stay in memory after the first reading; with 0, each reading reads the file.

    Attributes:
        file: Digest of the file's bytes.
        digest: Of every record, in order; empty before a reading has ended.
        records: How many records there are; 0 before a reading has ended.
    """

    def __init__(self, source: Source, *, keep_bytes: int = 0) -> None:
        self._source, self._keep_bytes = source, keep_bytes
        self._kept: list[Hashed] | None = None
        self.file = source.digest()
        self.digest, self.records = "", 0

    def through(self, progress: Progress = silent) -> Iterator[Hashed]:
        """Every record, in order. To be read to its end.

        Raises:
            SourceError: It cannot be read, or changes meanwhile.
        """
        if self._kept is not None:
            yield from self._kept
            return
        digest, kept, size = _Digest(), list[Hashed](), 0
        for partition in self._source.partitions():
            rows = partition.rows
            rows = rows.append_column("row_hash", pa.array(content_hashes([rows[name] for name in _SAID]), pa.string()))
            found = Hashed(rows.cast(STAGED), partition.rejected)
            digest.add(found)
            size += found.nbytes
            if size <= self._keep_bytes:
                kept.append(found)
            else:
                kept.clear()
            progress("reading rows", digest.records, None)
            yield found
        self._confirm(digest)
        if size <= self._keep_bytes:
            self._kept = kept

    def _confirm(self, found: _Digest) -> None:
        """Refuse what another reading found otherwise, and what may not be the bytes that `file` stands for."""
        again = found.value if self.digest else self._source.digest()
        if again != (self.digest or self.file):
            raise SourceError(
                "the source changed while it was read",
                place=self._source.place,
                hint="Run again once nobody writes it; replace a file by renaming a finished one to its name.",
            )
        self.digest, self.records = found.value, found.records


def merged(partitions: Iterable[Hashed], least_bytes: int) -> Iterator[Hashed]:
    """Fewer and larger partitions, each of at least so many bytes but for the last one."""
    waiting: list[Hashed] = []
    size = 0
    for partition in partitions:
        waiting.append(partition)
        size += partition.rows.nbytes
        if size >= least_bytes:
            yield _together(waiting)
            waiting, size = [], 0
    if waiting:
        yield _together(waiting)


def _together(partitions: Sequence[Hashed]) -> Hashed:
    rows = pa.concat_tables([one.rows for one in partitions])
    return Hashed(rows, tuple(bad for one in partitions for bad in one.rejected))


class Coalescer:
    """Turns few changed rows of many partitions into full partitions, so that a small change is one stage."""

    def __init__(self, size: int) -> None:
        self._size, self._waiting, self._count = size, list[pa.Table](), 0

    def add(self, rows: pa.Table) -> Iterator[pa.Table]:
        """Take in rows; give what is full."""
        self._waiting.append(rows)
        self._count += len(rows)
        while self._count >= self._size:
            table = pa.concat_tables(self._waiting)
            yield table.slice(0, self._size)
            self._waiting, self._count = [table.slice(self._size)], self._count - self._size

    def rest(self) -> Iterable[pa.Table]:
        """What is left."""
        return [pa.concat_tables(self._waiting)] if self._count else []


class _Digest:
    """Stands for every record of a source, in order: two readings with the same one have read the same."""

    def __init__(self) -> None:
        # Two, because a partition has its rows and its rejected records apart, and its bounds must not matter.
        self._rows, self._rejected = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
        self.records = 0

    def add(self, partition: Hashed) -> None:
        """Take in a partition."""
        hashes, keys = (partition.rows[name].to_pylist() for name in ("row_hash", "row_key"))
        self._rows.update("".join([f"{one}{len(key)}:{key}" for one, key in zip(hashes, keys, strict=True)]).encode())
        rejected = [f"{bad.row} {bad.rule} {bad.value}\n" for bad in partition.rejected]
        self._rejected.update("".join(rejected).encode("utf-8", "surrogatepass"))
        self.records += partition.records

    @property
    def value(self) -> str:
        return self._rows.hexdigest() + self._rejected.hexdigest()
