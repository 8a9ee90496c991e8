"""The values that cross seams, their bulk layouts, and the functions that give them identity.

Single values are frozen dataclasses; whole partitions travel as Arrow tables in the schemas below.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

FOREVER = 2**53 - 1
"""The `died` of a current record. The largest integer every store and JSON number keeps exactly."""

ROWS = pa.schema(
    [
        ("row", pa.int64()),  # 0-based number in the source
        ("row_key", pa.string()),  # identity of the row across edits of its answer
        ("question", pa.string()),
        ("answer", pa.string()),
        ("metadata", pa.string()),  # the source's other columns as a JSON object, keys sorted
    ]
)
"""A partition of the source, as `sources.read` yields it."""

QUARANTINE = pa.schema(
    [
        ("row", pa.int64()),
        ("row_key", pa.string()),  # empty where the record could not be read
        ("column", pa.string()),  # empty where the whole record is meant
        ("rule", pa.string()),
        ("value", pa.string()),  # shortened
        ("detail", pa.string()),
    ]
)
"""Rows that did not pass, one line each: `Rejected` in bulk."""

CHUNKS = pa.schema(
    [
        ("chunk_id", pa.string()),
        ("row_key", pa.string()),
        ("row", pa.int64()),
        ("part", pa.int32()),  # 0-based position of the chunk in its row
        ("parts", pa.int32()),
        ("question", pa.string()),
        ("text", pa.string()),  # the section of the answer that a reader sees
        ("embed_text", pa.string()),  # what is embedded
        ("tokens", pa.int32()),  # of embed_text, special tokens included
        ("metadata", pa.string()),
    ]
)
"""A partition after chunking, as `chunking.chunk_rows` returns it."""


def records_schema(dimension: int) -> pa.Schema:
    """The layout in which records enter and leave a vector store; vectors are float32 [dimension]."""
    return pa.schema(
        [
            ("record_id", pa.string()),
            ("chunk_id", pa.string()),
            ("born", pa.int64()),
            ("died", pa.int64()),
            ("row_key", pa.string()),
            ("row", pa.int64()),
            ("part", pa.int32()),
            ("parts", pa.int32()),
            ("question", pa.string()),
            ("text", pa.string()),
            ("metadata", pa.string()),
            ("vector", pa.list_(pa.float32(), dimension)),
        ]
    )


@dataclass(frozen=True)
class Rejected:
    """Why one record of the source is not indexed, or what is odd about one that is.

    Attributes:
        row: 0-based number in the source.
        row_key: Its key, empty where the record could not be read.
        column: The column at fault, empty where the whole record is.
        rule: Name of the rule it broke.
        value: The offending value, shortened.
        detail: What the rule wants and what the value is, for a person.
    """

    row: int
    row_key: str
    column: str
    rule: str
    value: str
    detail: str


@dataclass(frozen=True)
class Match:
    """One record that a query found, best first; `score` is the cosine similarity in [-1, 1]."""

    record_id: str
    chunk_id: str
    row_key: str
    row: int
    part: int
    parts: int
    question: str
    text: str
    score: float
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fingerprint:
    """Everything that must be equal for two vectors to be comparable.

    Attributes:
        model: Name of the embedding model.
        revision: SHA-256 of the weights, or the hub's revision.
        pooling: `mean`, `cls` or `none`.
        normalised: Whether vectors have length one.
        dimension: Length of a vector.
        text_format: What is embedded, as `chunking` names it (for example `question+answer/1`).
    """

    model: str
    revision: str
    pooling: str
    normalised: bool
    dimension: int
    text_format: str = ""

    @property
    def digest(self) -> str:
        """Twelve hex digits that name the space in which such vectors live."""
        fields = [self.model, self.revision, self.pooling, self.normalised, self.dimension, self.text_format]
        return content_hash(map(str, fields))[:12]

    def __str__(self) -> str:
        """Name it as an error message would."""
        return (
            f"{self.model}@{self.revision[:12]} ({self.pooling} pooling, {self.dimension} dimensions, "
            f"{'normalised' if self.normalised else 'not normalised'}, {self.text_format or 'any text'})"
        )


def content_hash(parts: Iterable[str]) -> str:
    """32 hex digits of BLAKE2b over length-prefixed parts, so that no two lists of parts read the same."""
    pieces: list[bytes] = []
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        pieces += (len(data).to_bytes(8, "little"), data)
    return hashlib.blake2b(b"".join(pieces), digest_size=16).hexdigest()


def row_hash(question: str, answer: str, metadata: str) -> str:
    """Identity of a row's content; its key and its place in the file are not part of it."""
    return content_hash((question, answer, metadata))


def row_hashes(rows: pa.Table) -> list[str]:
    """`row_hash` of every row of a table laid out as `ROWS`."""
    columns = (rows[name].to_pylist() for name in ("question", "answer", "metadata"))
    return list(map(row_hash, *columns))


def question_key(question: str) -> str:
    """16 hex digits that survive an edit of the answer, and of the question's case and spacing."""
    return content_hash((folded_question(question),))[:16]


def folded_question(question: str) -> str:
    """A question without what its case and spacing add."""
    return " ".join(question.casefold().split())


def shortened(value: str, limit: int = 120) -> str:
    """A value as a report or a terminal shows it: at most `limit` characters, what cannot be printed escaped."""
    text = value[:limit]
    if not text.isprintable():
        text = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
    return text if len(value) <= limit else f"{text}... ({len(value):,} characters)"


def chunk_id(*, row_key: str, part: int, question: str, text: str, embed_text: str, metadata: str) -> str:
    """Hash of everything a reader could notice about a chunk.

    The row's number is left out on purpose: inserting one row at the top would otherwise make every chunk new.
    Readers take the number from the generation's manifest.
    """
    return content_hash((row_key, str(part), question, text, embed_text, metadata))


def record_id(chunk: str, born: int) -> str:
    """The id of a chunk's record written by generation `born`."""
    return f"{chunk}.{born}"


def canonical_metadata(values: Mapping[str, object]) -> str:
    """Other columns of a row as one JSON object: keys sorted, values as text, blanks left out."""
    kept = {key: str(value) for key, value in values.items() if value is not None and str(value).strip()}
    return json.dumps(kept, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
