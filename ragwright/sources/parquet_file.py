"""Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ragwright.errors import SourceError
from ragwright.settings import SourceSettings
from ragwright.sources.columns import match_columns
from ragwright.sources.rows import Malformed, Record

_BATCH_ROWS = 1_000
"""Rows decoded at once; a partition is assembled from several."""


class ParquetReader:
    """Reads the configured columns only."""

    def __init__(self, path: Path, place: str, settings: SourceSettings) -> None:
        self._path, self._place = path, place
        self.notices: tuple[str, ...] = ()
        try:
            with pq.ParquetFile(path) as file:
                self.columns: tuple[str, ...] = tuple(file.schema_arrow.names)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(error) from error
        self._columns = match_columns(self.columns, settings, place)

    def records(self) -> Iterator[Record | Malformed]:
        """Every row of the file."""
        at = self._columns
        names = list(dict.fromkeys([at.question, at.answer, *([at.key] if at.key else []), *at.metadata.values()]))
        row = 0
        try:
            with pq.ParquetFile(self._path) as file:
                for batch in file.iter_batches(_BATCH_ROWS, columns=names):
                    for values in batch.to_pylist():
                        yield at.record(values)
                        row += 1
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(error) from error
        except UnicodeDecodeError as error:
            raise SourceError(
                f"text is not UTF-8: {error.object[max(0, error.start - 12) : error.start + 12]!r}",
                place=f"{self._place}, rows {row} to {row + _BATCH_ROWS - 1}",
                hint="Write the file again with valid text; Parquet text is always UTF-8.",
            ) from error

    def _damaged(self, error: Exception) -> SourceError:
        return SourceError(
            f"the Parquet file is damaged or cut off: {str(error).splitlines()[0]}",
            place=self._place,
            hint="Copy or write it again.",
        )
