"""What rows of a published generation said, put together from its records and proved by the rows' hashes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice, pairwise, product
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ragwright.documents import row_hash
from ragwright.errors import StoreError
from ragwright.index import tables
from ragwright.index.attempt import Attempt
from ragwright.index.catalog import folder

TEXTS = pa.schema([("question", pa.string()), ("answer", pa.string())])

_LINES = ("row_hash", "parts", "part", "record_id")
_READ = ("record_id", "question", "text", "metadata")
# Records that are read and in memory at a time; a row's records are never apart.
_RECORDS = 2_000
# Ways to put sections together that are tried. The first is right unless a text repeats itself where it was cut.
_WAYS = 256
# Characters by which the beginning of a section is looked for in the one before it.
_ANCHOR = 16


def earlier_texts(attempt: Attempt, generation: int, rows: npt.NDArray[np.bool_]) -> Iterator[pa.Table]:
    """Questions and answers (`TEXTS`) of some rows that a generation shows, some at a time, in their order.

    Args:
        attempt: Its store is read.
        generation: Published.
        rows: Which of its rows, as numbered by `lines.ShownRows`: bool [n].

    Raises:
        StoreError: A row's records are not there, or are not what the row said; or the store cannot be read.
        TransientError: The store cannot be read now.
    """
    space = attempt.catalog.begin_of(generation).space
    lines = _lines(attempt, generation, rows)
    parts = lines["parts"].to_numpy()
    start = 0
    while start < len(lines):
        # Whole rows: from the first line of one to the last of another.
        stop = start + int(parts[start])
        while stop < len(lines) and stop + parts[stop] - start <= _RECORDS:
            stop += int(parts[stop])
        taken = lines.slice(start, stop - start).to_pylist()
        found = attempt.store.fetch(space, [line["record_id"] for line in taken], columns=_READ)
        records = {record["record_id"]: record for record in found.to_pylist()}
        at, texts = 0, []
        while at < len(taken):
            texts.append(_text(taken[at : at + taken[at]["parts"]], records))
            at += taken[at]["parts"]
        yield pa.Table.from_pylist([dict(zip(TEXTS.names, text, strict=True)) for text in texts], TEXTS)
        start = stop


def _lines(attempt: Attempt, generation: int, rows: npt.NDArray[np.bool_]) -> pa.Table:
    """The manifest's lines of the rows."""
    found, seen = [], 0
    for batch in tables.batches(attempt.catalog, f"{folder(generation)}/manifest.parquet", _LINES):
        number = seen - 1 + np.cumsum(batch["part"].to_numpy() == 0)
        found.append(batch.filter(pa.array(rows[number])))
        seen = int(number[-1]) + 1
    return pa.Table.from_batches(found)


def _text(lines: Sequence[dict[str, Any]], records: dict[str, dict[str, Any]]) -> tuple[str, str]:
    """Question and answer of the row that these are the lines of."""
    sections = [records[line["record_id"]] for line in lines if line["record_id"] in records]
    if len(sections) == lines[0]["parts"] == len(lines):
        question, metadata = sections[0]["question"], sections[0]["metadata"]
        for answer in islice(answers([section["text"] for section in sections]), _WAYS):
            if row_hash(question, answer, metadata) == lines[0]["row_hash"]:
                return question, answer
    raise StoreError(
        f"what record {lines[0]['record_id']!r} and {len(lines) - 1} more show is not the row they were made of",
        hint="`ragwright verify` compares the whole store with what was published.",
    )


def answers(sections: Sequence[str]) -> Iterator[str]:
    """Answers that were cut into these sections, the likeliest first.

    How much neighbours share has a limit that is about the same all over an answer, and they share as much as that
    allows. Only a text that repeats itself leaves a choice at all.
    """
    shared = [_shared(before, after) for before, after in pairwise(sections)]
    limits = sorted({length for lengths in shared for length in lengths}, reverse=True)
    likely = ([next(length for length in lengths if length <= limit) for lengths in shared] for limit in limits or [0])
    for chosen in chain(likely, product(*shared)):
        rest = (section[length:] for section, length in zip(sections[1:], chosen, strict=True))
        yield "".join([sections[0], *rest])


def _shared(before: str, after: str) -> list[int]:
    """How many characters one text may share with the next, the most first and 0 last; `_WAYS` and some at most."""
    found: list[int] = []
    begins = after[:_ANCHOR]
    at = before.find(begins, max(0, len(before) - len(after)))
    while at >= 0 and len(found) < _WAYS:
        if after.startswith(before[at:]):
            found.append(len(before) - at)
        at = before.find(begins, at + 1)
    return found + [length for length in range(len(begins) - 1, -1, -1) if before.endswith(after[:length])]
