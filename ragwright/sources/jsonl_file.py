"""JSON Lines: one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import orjson

from ragwright.errors import SourceError
from ragwright.settings import SourceSettings
from ragwright.sources.columns import match_columns
from ragwright.sources.rows import Malformed, Record
from ragwright.sources.text import open_text, undecodable

_PROBED = 100
"""Records looked at to learn the columns, so that an odd first line does not decide."""

_DECODE = json.JSONDecoder().decode
# Values that orjson and Python's own decoder read alike; they differ over numbers that a float cannot hold.
_ALIKE = frozenset({str, int, bool, type(None)})


class JsonlReader:
    """Reads objects by key. A line that is no JSON object, or lacks the question or answer, is malformed."""

    def __init__(self, path: Path, place: str, settings: SourceSettings) -> None:
        self._path, self._place, self._encoding = path, place, settings.encoding
        self.notices: tuple[str, ...] = ()
        probed = list(islice(self._objects(), _PROBED))
        names = list(dict.fromkeys(name for found in probed if isinstance(found, dict) for name in found))
        bad = [found for found in probed if isinstance(found, Malformed)]
        if bad and probed[0] is bad[0] and (bad[0].value == "[" or bad[0].value.startswith("[{")):
            raise SourceError(
                f"this is one JSON array, not JSON Lines: it begins with {bad[0].value[:40]!r}",
                place=place,
                hint="Write one object a line, for example with: jq -c '.[]' faq.json > faq.jsonl",
            )
        if bad and not names:
            raise SourceError(
                f"none of the first {len(bad)} lines is a JSON object; the first is {bad[0].value[:80]!r}",
                place=place,
                hint='Write one object a line, such as {"question": "...", "answer": "..."}.',
            )
        if not names:
            raise SourceError("the file holds nothing but blank lines", place=place, hint="Export the FAQ again.")
        self.columns: tuple[str, ...] = tuple(names)
        self._columns = match_columns(names, settings, place)

    def records(self) -> Iterator[Record | Malformed]:
        """Every record of the file."""
        columns = self._columns
        for found in self._objects():
            yield found if isinstance(found, Malformed) else columns.record(found)

    def _objects(self) -> Iterator[dict[str, object] | Malformed]:
        with open_text(self._path, self._place, self._encoding, newline="\n") as file:
            try:
                for line in file:
                    if line.isspace():
                        continue
                    try:
                        found = _decoded(line)
                    # ValueError is bad JSON or an integer of thousands of digits.
                    except (ValueError, RecursionError) as error:
                        yield Malformed("", "json", line.strip(), f"the line is not JSON: {error}")
                        continue
                    if isinstance(found, dict):
                        yield found
                    else:
                        what = f"the line is a JSON {type(found).__name__}, not an object"
                        yield Malformed("", "json", line.strip(), what)
            except UnicodeDecodeError as error:
                raise undecodable(self._path, self._place, self._encoding) from error


def _decoded(line: str) -> object:
    """What `json.loads` would make of a line without the space around it, or refuse it for; mostly in half the time."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return _DECODE(line.strip())
    if isinstance(found, dict) and _ALIKE.issuperset(map(type, found.values())):
        return found
    return _DECODE(line.strip())
