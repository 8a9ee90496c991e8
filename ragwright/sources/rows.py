"""From a record of a file to a row: text normalised, key derived, metadata made canonical."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from ragwright.digests import content_hashes
from ragwright.documents import ROWS, Rejected, canonical_metadata, folded_question, shortened
from ragwright.seen import NEVER, Seen
from ragwright.settings import SourceSettings

MAX_CELL_CHARS = 2**24
"""A longer cell is no answer but a quote that was never closed, or a file that is not an FAQ."""

PARTITION_CHARS = 2**26
"""A partition ends early at this much text: Arrow strings hold 2 GiB, and memory is bounded by the partition."""


class Record(NamedTuple):
    """One record as a format's reader found it."""

    question: str
    answer: str
    key: str | None = None  # None: no key column is configured
    metadata: Mapping[str, object] | None = None


class Malformed(NamedTuple):
    """One record that could not be taken apart."""

    column: str
    rule: str
    value: str
    detail: str


def normalise(text: str) -> str:
    """Text as it is stored: NFC, LF, plain spaces for no-break ones, no white space around it.

    Raises:
        UnicodeEncodeError: It holds half of a surrogate pair, which no encoding can write.
    """
    if not text.isascii():
        text.encode()
        text = unicodedata.normalize("NFC", text.replace("\u00a0", " "))
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.strip()


class Batch:
    """Collects records until there are enough for a partition. Remembers the questions it has keyed."""

    def __init__(self, settings: SourceSettings) -> None:
        self._limit = settings.partition_rows
        self._seen = Seen()
        self._repeated: dict[str, int] = {}  # how often, of the keys that came more than once
        self._clear()

    def _clear(self) -> None:
        self._rows: list[int] = []
        self._keys: list[str | None] = []  # None: to be derived from the question
        self._questions: list[str] = []
        self._answers: list[str] = []
        self._metadata: list[str] = []
        self._rejected: list[Rejected] = []
        self._count = self._chars = 0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to take."""
        return not self._count

    @property
    def full(self) -> bool:
        """Whether it is time to take."""
        return self._count >= self._limit or self._chars >= PARTITION_CHARS

    def add(self, row: int, record: Record | Malformed) -> None:
        """Take in the record with this row number."""
        if isinstance(record, Malformed):
            self._reject(row, record)
            return
        key, metadata = None, "{}"
        column = "question"
        try:
            question = normalise(record.question)
            column = "answer"
            answer = normalise(record.answer)
            if record.key is not None:
                column = "row_key"
                key = normalise(record.key)
            if record.metadata:
                column = "metadata"
                metadata = canonical_metadata(record.metadata)
                if not metadata.isascii():
                    metadata.encode()
        except UnicodeEncodeError as error:
            detail = f"half of a surrogate pair, {error.object[error.start]!a}, is not a character"
            self._reject(row, Malformed(column, "surrogate", str(error.object), detail))
            return
        size = len(question) + len(answer) + len(metadata)
        if size > MAX_CELL_CHARS:
            detail = f"{size:,} characters in one record; at most {MAX_CELL_CHARS:,} can be read"
            self._reject(row, Malformed("", "record-size", question or answer, detail))
            return
        self._count += 1
        self._chars += size
        self._rows.append(row)
        self._keys.append(key)
        self._questions.append(question)
        self._answers.append(answer)
        self._metadata.append(metadata)

    def take(self) -> tuple[pa.Table, tuple[Rejected, ...]]:
        """The collected rows (`documents.ROWS`) and the rejected records; the batch is empty after."""
        columns = (self._rows, self._numbered(), self._questions, self._answers, self._metadata)
        taken = pa.table([pa.array(values, field.type) for values, field in zip(columns, ROWS, strict=True)], ROWS)
        rejected = tuple(self._rejected)
        self._clear()
        return taken, rejected

    def _numbered(self) -> Sequence[str | None]:
        """The rows' keys; derived ones (`documents.question_key`) of the same question told apart."""
        if None not in self._keys:
            return self._keys
        derived = content_hashes([pa.array(map(folded_question, self._questions), pa.string())])
        keys = [full[:16] if key is None else key for key, full in zip(self._keys, derived, strict=True)]
        self._number(keys)
        return keys

    def _number(self, keys: list[str]) -> None:
        """Tell derived keys of the same question apart: the second one ends in #2."""
        known, new = self._seen.find(keys), dict[str, int]()
        for at, key in enumerate(keys):
            if known[at] == NEVER and key not in new:
                new[key] = at
            else:
                self._repeated[key] = times = self._repeated.get(key, 1) + 1
                keys[at] = f"{key}#{times}"
        self._seen.note(list(new), list(new.values()))

    def _reject(self, row: int, fault: Malformed) -> None:
        self._count += 1
        self._rejected.append(Rejected(row, "", fault.column, fault.rule, shortened(fault.value), fault.detail))
