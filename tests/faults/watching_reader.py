"""A process that reads the live generation over and over and holds every reading against the FAQ it was made from.

`python watching_reader.py HOME`: reads until its stdin is closed, then prints what it saw as one JSON object.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from faq_versions import read_version

from ragwright.chunking import embedded_text, text_format
from ragwright.embedding import open_embedder
from ragwright.hashing import hash_embed
from ragwright.index.attempt import manifest_of, open_catalog
from ragwright.index.catalog import Catalog, Entry
from ragwright.index.reader import IndexReader
from ragwright.settings import Settings
from ragwright.stores import VectorStore, open_store

DIMENSION = 64
_K = 5
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Promise:
    """What readers of one generation must see: rows in order, their vectors [n, 64], the manifest's record ids."""

    rows: tuple[tuple[str, str], ...]
    vectors: npt.NDArray[np.float32]
    records: frozenset[str]


class Readings:
    """Reads, compares, and keeps count."""

    def __init__(self, settings: Settings) -> None:
        self._format = text_format(settings.chunking)
        self._promise = lru_cache(maxsize=8)(self._read_promise)
        self._catalog: Catalog = open_catalog(settings)
        self._chance = random.Random(5)
        self.scans = self.searches = 0
        self.generations: set[int] = set()
        self.violations: list[str] = []

    def _read_promise(self, generation: int) -> Promise:
        rows = tuple(read_version(Path(self._catalog.begin_of(generation).source)))
        vectors = hash_embed([embedded_text(*row, self._format) for row in rows], DIMENSION)
        records = manifest_of(self._catalog, generation)["record_id"].to_pylist()
        return Promise(rows, vectors, frozenset(records))

    def scan(self, store: VectorStore, entry: Entry) -> None:
        """Read the whole generation."""
        promise = self._promise(entry.generation)
        columns = ("record_id", "question", "text", "vector")
        found = [
            row
            for batch in store.scan(entry.space, as_of=entry.generation, columns=columns)
            for row in batch.to_pylist()
        ]
        self.scans += 1
        self.generations.add(entry.generation)
        records = [row["record_id"] for row in found]
        if len(records) != len(promise.records) or set(records) != promise.records:
            missing, extra = promise.records - set(records), set(records) - promise.records
            self._blame(
                entry.generation, f"scan shows {len(records)}, missing {len(missing)}, extra {sorted(extra)[:3]}"
            )
        texts = {(row["question"], row["text"]): row["vector"] for row in found}
        if texts.keys() != set(promise.rows):
            self._blame(entry.generation, f"texts of another version: {sorted(texts.keys() ^ set(promise.rows))[:3]}")
            return
        stored = np.array([texts[row] for row in promise.rows], np.float32)
        if not np.allclose(stored, promise.vectors, atol=_ROUNDING):
            self._blame(entry.generation, "a vector belongs to another text")

    def search(self, reader: IndexReader) -> None:
        """Ask one question of the generation that the reader is at."""
        question = f"Is this edition {self._chance.randrange(9)} of thing {self._chance.randrange(300)}?"
        found = reader.search(question, _K)
        promise = self._promise(found.generation)
        self.searches += 1
        self.generations.add(found.generation)
        scores = promise.vectors @ hash_embed([question], DIMENSION)[0]
        least = np.sort(scores)[-_K] - _ROUNDING
        if len(found.matches) != _K:
            self._blame(found.generation, f"search found {len(found.matches)} of {_K}")
        for match in found.matches:
            row = promise.rows[match.row] if match.row < len(promise.rows) else None
            if match.record_id not in promise.records or row != (match.question, match.text):
                self._blame(found.generation, f"search found {match.record_id} of another version: {match.text!r}")
            elif abs(match.score - scores[match.row]) > _ROUNDING or match.score < least:
                self._blame(found.generation, f"search missed something better than {match.text!r}")

    def _blame(self, generation: int, what: str) -> None:
        self.violations.append(f"generation {generation}: {what}")

    def to_json(self) -> dict[str, Any]:
        return {
            "scans": self.scans,
            "searches": self.searches,
            "generations": sorted(self.generations),
            "violations": self.violations,
        }


def watch(home: str) -> Readings:
    """Read until stdin is closed."""
    settings = Settings(home=home, embedding={"endpoint": f"hashing:{DIMENSION}"}, generation={"endpoint": "none"})
    closed = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), closed.set()), daemon=True).start()
    readings = Readings(settings)
    with (
        open_catalog(settings) as catalog,
        open_store(settings.store_spec) as store,
        open_embedder(settings) as embedder,
    ):
        reader = IndexReader(catalog, store, embedder)
        print("reading", flush=True)
        while not closed.is_set():
            entry = catalog.head().last
            assert entry is not None
            readings.scan(store, entry)
            for _ in range(4):
                readings.search(reader)
            time.sleep(0.05)  # a reader that leaves no processor to the writer would see nothing new
    return readings


class WatchingReader:
    """That process, from outside; a context manager."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def __enter__(self) -> Self:
        command = [sys.executable, __file__, str(self._home)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "reading\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def stop(self) -> dict[str, Any]:
        """What it saw; an error of its own is a violation like any other."""
        out, _ = self._process.communicate(timeout=60)
        if self._process.returncode:
            return {"scans": 0, "searches": 0, "generations": [], "violations": ["the reader died"]}
        seen: dict[str, Any] = json.loads(out)
        return seen


if __name__ == "__main__":
    print(json.dumps(watch(sys.argv[1]).to_json()))
