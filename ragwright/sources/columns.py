"""Which of a file's columns hold the question, the answer, the key and the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragwright.errors import SourceError
from ragwright.settings import SourceSettings
from ragwright.sources.rows import Malformed, Record


@dataclass(frozen=True)
class Columns:
    """The configured columns as the file spells them; `metadata` maps the configured name to the file's."""

    question: str
    answer: str
    key: str | None
    metadata: dict[str, str]

    def record(self, values: Mapping[str, object]) -> Record | Malformed:
        """The record that these named values make; a question or answer that is absent or no text is malformed."""
        question, answer = values.get(self.question), values.get(self.answer)
        if type(question) is str and type(answer) is str and self.key is None and not self.metadata:
            return Record(question, answer)
        for column in (self.question, self.answer):
            if column not in values:
                found = json.dumps(list(values), ensure_ascii=False)
                return Malformed(column, "missing-column", found, f"the record has no {column!r}")
            if isinstance(values[column], (list, dict)):
                text = as_text(values[column])
                return Malformed(column, "not-text", text, f"{column!r} holds a JSON structure, not text")
        return Record(
            as_text(values[self.question]),
            as_text(values[self.answer]),
            None if self.key is None else as_text(values.get(self.key)),
            {name: as_text(values.get(column)) for name, column in self.metadata.items()} if self.metadata else None,
        )


def as_text(value: object) -> str:
    """A value of JSON or Parquet as text: nothing for null, JSON for what is not text already."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def fold(name: str) -> str:
    """A column name as it is compared: no byte order mark, no white space around it, no case."""
    return name.lstrip("\ufeff").strip().casefold()


def names_the_columns(found: Sequence[str], settings: SourceSettings) -> bool:
    """Whether these are column names: at least one of the two that every FAQ needs is among them."""
    folded = set(map(fold, found))
    return bool(folded & {fold(settings.question_column), fold(settings.answer_column)})


def match_columns(found: Sequence[str], settings: SourceSettings, place: str) -> Columns:
    """Find the configured columns, by exact name or else without regard to case.

    Raises:
        SourceError: One is missing or could be several; the columns found are listed.
    """
    metadata = {name: _match(name, "metadata_columns", found, place) for name in settings.metadata_columns}
    return Columns(
        question=_match(settings.question_column, "question_column", found, place),
        answer=_match(settings.answer_column, "answer_column", found, place),
        key=_match(settings.key_column, "key_column", found, place) if settings.key_column else None,
        metadata=metadata,
    )


def _match(name: str, setting: str, found: Sequence[str], place: str) -> str:
    exact = [column for column in found if column == name]
    alike = exact or [column for column in found if fold(column) == fold(name)]
    if len(alike) == 1:
        return alike[0]
    fault = f"the column {name!r} is there {len(alike)} times" if alike else f"no column is named {name!r}"
    raise SourceError(
        f"{fault}; found {list(found)!r}",
        place=place,
        hint=f"Name the right column with source.{setting} (RAGWRIGHT_SOURCE__{setting.upper()}), or mend the file.",
    )
