"""The words of a LanceDB table that is too large to hold in memory: read once, kept in a file that has no name.

A row never changes at its address, and a fragment, once written, gets no rows. So the words of a run of addresses hold
for every later version of the table, less the rows that have gone; only new fragments have to be read.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from ragwright.stores import words
from ragwright.stores.snapshot import take

_BATCH_ROWS = 8_192
_RUN = 65_536  # texts whose words are counted at a time
_KEPT = 2  # versions: the one that is read, and the one before it, which some may still be asked of
_FRAGMENT = np.uint64(32)  # an address is the fragment's number, then the place in it

Addresses = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class _FiledPostings:
    """`words.Postings` whose entries lie in a file. In memory: 4 bytes a text, 16 a different term.

    Attributes:
        rows: Addresses of the texts, ascending.
        lengths: As in `words.Postings`.
        terms: 8-byte hashes of the terms, ascending: two terms in a billion billion share one.
        starts: Where each term's entries begin, and where the last one's end, int64 [terms + 1].
        file: The file, open for as long as somebody may search it.
        offset: Where the entries begin in it: all holders, then all counts.
    """

    rows: Addresses
    lengths: words.Integers
    terms: npt.NDArray[np.uint64]
    starts: npt.NDArray[np.int64]
    file: BinaryIO
    offset: int

    @classmethod
    def of(cls, rows: Addresses, postings: words.Postings, file: BinaryIO) -> _FiledPostings:
        """Put the entries at the end of a file."""
        hashes = np.fromiter((_hashed(term) for term in postings.places), np.uint64, len(postings.places))
        order = np.argsort(hashes)  # `places` numbers terms in the order in which it lists them
        lengths = np.diff(postings.starts)[order]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        source = np.repeat(postings.starts[:-1][order] - starts[:-1], lengths) + np.arange(starts[-1])
        offset = os.lseek(file.fileno(), 0, os.SEEK_END)
        for column in (postings.holders, postings.counts):
            data = memoryview(column[source].tobytes())
            while data:
                data = data[os.write(file.fileno(), data) :]
        return cls(rows, postings.lengths, hashes[order], starts, file, offset)

    def having(self, term: str) -> tuple[words.Integers, words.Integers]:
        """Positions of the texts that have a term, and how often they have it."""
        wanted = _hashed(term)
        place = int(np.searchsorted(self.terms, np.uint64(wanted)))
        if place == len(self.terms) or int(self.terms[place]) != wanted:
            return np.zeros(0, np.int32), np.zeros(0, np.int32)
        first, count = int(self.starts[place]), int(self.starts[place + 1] - self.starts[place])
        holders, counts = (
            np.frombuffer(os.pread(self.file.fileno(), 4 * count, self.offset + 4 * (column + first)), np.int32)
            for column in (0, int(self.starts[-1]))
        )
        return holders, counts


@dataclass(frozen=True)
class _Version:
    """What of the words a version of the table shows: addresses [n] of all texts, those live, and who sees them."""

    number: int
    runs: tuple[_FiledPostings, ...]
    rows: Addresses
    live: npt.NDArray[np.int64]
    born: npt.NDArray[np.int64]
    died: npt.NDArray[np.int64]

    def visible(self, as_of: int) -> npt.NDArray[np.bool_]:
        """Which texts a generation sees, bool [n]."""
        seen = np.zeros(len(self.rows), dtype=bool)
        seen[self.live[(self.born <= as_of) & (as_of < self.died)]] = True
        return seen


class FragmentWords:
    """Finds rows by their words, exactly; threads may share one.

    The first search reads the text of the whole table, those of later versions what is new. In memory about 50 bytes a
    row; the rest, half a kilobyte a row, is in a file below `tempfile.gettempdir()` that goes with the process.
    """

    def __init__(self) -> None:
        self._reading = threading.Lock()
        self._versions: dict[int, _Version] = {}

    def candidates(self, table: Any, wanted: Sequence[str], *, k: int, as_of: int) -> tuple[Addresses, words.Floats]:
        """Addresses and scores of the k rows that share most of some terms, and of ties with the last of them.

        Raises:
            RowsMoved: The table was compacted meanwhile.
        """
        version = self._at(table)
        visible = version.visible(as_of)
        scores = words.scores(version.runs, visible, wanted)
        sharing = words.candidates(scores, k)
        return version.rows[sharing], scores[sharing]

    def follow(self, table: Any) -> None:
        """Read what is new in a version ahead of the first search, if there ever was one.

        Raises:
            RowsMoved: As `candidates`.
        """
        if self._versions:
            self._at(table)

    def _at(self, table: Any) -> _Version:
        number = int(table.version)
        with self._reading:  # two readers at once would read the same
            if number not in self._versions:
                newest = self._versions[max(self._versions)] if self._versions else None
                self._versions[number] = self._read(table, newest)
                while len(self._versions) > _KEPT:
                    del self._versions[next(iter(self._versions))]
            return self._versions[number]

    def _read(self, table: Any, before: _Version | None) -> _Version:
        keys = table.search().select(["born", "died"]).with_row_id(True).to_arrow()
        addresses = keys["_rowid"].to_numpy()
        order = np.argsort(addresses)
        addresses = addresses[order]
        runs = () if before is None else before.runs
        there = np.unique(addresses >> _FRAGMENT)
        runs = tuple(run for run in runs if np.isin(run.rows[0] >> _FRAGMENT, there))
        known = np.concatenate([run.rows for run in runs]) if runs else np.zeros(0, np.uint64)
        if not runs or (before is not None and len(known) * 2 < len(before.rows)):
            runs, known = (), np.zeros(0, np.uint64)
            file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115  (open while it is searched)
        else:
            file = runs[0].file
        new = np.setdiff1d(addresses, known, assume_unique=True)
        runs = (*runs, *_counted(table, new, file))
        rows = np.concatenate([run.rows for run in runs]) if runs else np.zeros(0, np.uint64)
        sorted_by = np.argsort(rows)
        live = sorted_by[np.searchsorted(rows, addresses, sorter=sorted_by)]
        born, died = (keys[name].to_numpy()[order] for name in ("born", "died"))
        return _Version(int(table.version), runs, rows, live, born, died)


def _counted(table: Any, new: Addresses, file: BinaryIO) -> Iterator[_FiledPostings]:
    """The words of rows that no version before had: runs of rows that lie in one fragment each."""
    edges = np.flatnonzero(np.diff(new >> _FRAGMENT)) + 1
    for fragment in np.split(new, edges) if len(new) else ():
        for start in range(0, len(fragment), _RUN):
            rows = fragment[start : start + _RUN]
            yield _FiledPostings.of(rows, words.Postings.of(_texts(table, rows)), file)


def _texts(table: Any, rows: Addresses) -> Iterator[str | None]:
    for start in range(0, len(rows), _BATCH_ROWS):
        batch = rows[start : start + _BATCH_ROWS]
        found = take(table, batch, list(words.FIELDS))
        yield from words.texts(found.sort_by("_rowid"))


def _hashed(term: str) -> int:
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=8).digest(), "big")
