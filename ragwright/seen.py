"""Remembering by texts, millions of them, in a few bytes each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import repeat

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
_Hashes = npt.NDArray[np.uint64]
_Run = tuple[_Hashes, _Hashes, Ints]

NEVER = -1
"""In place of the number of a text that was not noted."""

# So many texts, of so many characters in all, are compared as they are: to look one up costs a tenth of hashing it.
_FEW_TEXTS, _FEW_CHARACTERS = 2**16, 2**22


class Seen:
    """A number for each text that was noted; 24 bytes a text, however long it is, as soon as they are many.

    Texts are told apart by 128 bits of BLAKE2b, and few and short ones by themselves. Made for runs of texts: to look
    for one costs as much as for a hundred. The last run is kept as it is until somebody looks for one, so that where
    nobody does any more it costs nothing.
    """

    def __init__(self) -> None:
        self._runs: list[_Run] = []  # each sorted, and at most half as long as the one before it
        self._few: dict[str, int] = {}
        self._characters = 0  # of the few
        self._waiting: tuple[Sequence[str], Sequence[int] | Ints] = (), ()

    def __len__(self) -> int:
        """How many texts were noted."""
        return sum(len(high) for high, _, _ in self._runs) + len(self._few) + len(self._waiting[0])

    def find(self, texts: Sequence[str]) -> Ints:
        """The number of each text, int64 [n]; `NEVER` where it has none."""
        self._settle()
        if self._few:
            return np.fromiter(map(self._few.get, texts, repeat(NEVER)), np.int64, len(texts))
        found = np.full(len(texts), NEVER, np.int64)
        if not self._runs:
            return found
        high, low = _hashes(texts)
        for run_high, run_low, numbers in self._runs:
            at = np.searchsorted(run_high, high)
            while True:
                inside = np.minimum(at, len(run_high) - 1)
                alike = (at < len(run_high)) & (run_high[inside] == high)
                same = alike & (run_low[inside] == low)
                found[same] = numbers[inside[same]]
                if not (alike & ~same).any():  # two texts that share the first half hardly ever meet
                    break
                at = np.where(alike & ~same, at + 1, len(run_high))
        return found

    def note(self, texts: Sequence[str], numbers: Sequence[int] | Ints) -> None:
        """Give texts that have none a number each, at least 0; no text twice."""
        self._settle()
        self._waiting = texts, numbers

    def _settle(self) -> None:
        """Put away what was noted last: beside few texts as it is, and else, with what there is, as hashes."""
        texts, numbers = self._waiting
        if not len(texts):
            return
        self._waiting = (), ()
        self._characters += sum(map(len, texts))
        count = len(self._few) + len(texts)
        if not self._runs and count <= _FEW_TEXTS and self._characters <= _FEW_CHARACTERS:
            self._few.update(zip(texts, np.asarray(numbers, np.int64).tolist(), strict=True))
            return
        if self._few:
            self._add(list(self._few), np.fromiter(self._few.values(), np.int64, len(self._few)))
            self._few = {}
        self._add(texts, np.asarray(numbers, np.int64))

    def _add(self, texts: Sequence[str], numbers: Ints) -> None:
        high, low = _hashes(texts)
        order = np.argsort(high)
        self._runs.append((high[order], low[order], numbers[order]))
        while len(self._runs) > 1 and 2 * len(self._runs[-1][0]) > len(self._runs[-2][0]):
            self._runs.append(_joined(self._runs.pop(), self._runs.pop()))


def _joined(one: _Run, other: _Run) -> _Run:
    order = np.argsort(np.concatenate([one[0], other[0]]), kind="stable")
    high, low, numbers = (np.concatenate(pair)[order] for pair in zip(one, other, strict=True))
    return high, low, numbers


def _hashes(texts: Iterable[str]) -> tuple[_Hashes, _Hashes]:
    """The two halves of each text's hash, uint64 [n]."""
    digests = [hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts]
    halves = np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)
    return halves[:, 0].copy(), halves[:, 1].copy()
