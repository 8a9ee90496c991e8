"""What an index is made of in these tests: a few rows, an embedder that counts, and what they must become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from simulated_process import Process

from ragwright.chunking import chunk_rows
from ragwright.documents import ROWS
from ragwright.embedding import HashingEmbedder
from ragwright.errors import BadReply
from ragwright.hashing import hash_embed
from ragwright.settings import ChunkingSettings

DIMENSION = 8
CHUNKERS = (
    ChunkingSettings(),
    ChunkingSettings(max_tokens=16, overlap_tokens=0),
    ChunkingSettings(embed="answer"),
)
SHOWN = ("chunk_id", "row_key", "part", "question", "text")


class Row(NamedTuple):
    """One row of the FAQ; a blank answer makes it unfit."""

    id: str
    question: str
    answer: str


@dataclass(frozen=True)
class Promise:
    """What a generation shows: the contents of its records, row numbers of its chunks, and the FAQ it is made from."""

    contents: Counter[tuple[Any, ...]]
    numbers: dict[str, int]
    texts: dict[str, str]
    rows: dict[str, tuple[str, str]]
    source: frozenset[Row]
    chunking: ChunkingSettings


class CountingEmbedder(HashingEmbedder):
    """Notes what is embedded in the name of a process, and may answer short."""

    def __init__(self, process: Process, *, text_format: str) -> None:
        super().__init__(DIMENSION, text_format=text_format)
        self._process, self._calls = process, 0

    def embed(self, texts: Sequence[str], *, kind: str = "document") -> npt.NDArray[np.float32]:
        self._calls += 1
        if self._calls in self._process.short_batches:
            self._process.reached = True
            raise BadReply(f"{len(texts) - 1} vectors for {len(texts)} texts")
        self._process.embedded += texts
        return hash_embed(texts, DIMENSION)

    @cached_property
    def _tokenizer(self) -> Any:
        return _tokenizer()


@lru_cache
def _tokenizer() -> Any:
    return HashingEmbedder(DIMENSION)._tokenizer


@lru_cache(maxsize=4096)
def promise_of(rows: tuple[Row, ...], chunking: ChunkingSettings) -> Promise:
    """What a generation of these rows must show."""
    fit, seen = [], set()
    for number, row in enumerate(rows):
        content = (row.question, row.answer)
        if row.answer and content not in seen:
            fit.append((number, row.id, *content, "{}"))
        seen.add(content)
    table = pa.Table.from_pylist([dict(zip(ROWS.names, row, strict=True)) for row in fit], ROWS)
    chunks = chunk_rows(table, CountingEmbedder(Process(0), text_format=""), chunking).to_pylist()
    return Promise(
        contents=Counter(tuple(chunk[name] for name in SHOWN) for chunk in chunks),
        numbers={chunk["chunk_id"]: chunk["row"] for chunk in chunks},
        texts={chunk["chunk_id"]: chunk["embed_text"] for chunk in chunks},
        rows={key: (question, answer) for _, key, question, answer, _ in fit},
        source=frozenset(rows),
        chunking=chunking,
    )


@lru_cache(maxsize=4096)
def vector_of(text: str) -> list[float]:
    vector: list[float] = hash_embed([text], DIMENSION)[0].tolist()
    return vector


def difference(shown: Counter[tuple[Any, ...]], promised: Counter[tuple[Any, ...]]) -> str:
    return f"shown but not promised: {list(shown - promised)}; promised but not shown: {list(promised - shown)}"
