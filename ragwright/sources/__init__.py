"""Read an FAQ from a file, a URL or S3: CSV, JSONL or Parquet, streamed in partitions.

Text is changed as little as comparing needs: NFC, CRLF and CR become LF, a no-break space becomes a space, and white
space around a cell goes. Everything else (HTML, emoji, right-to-left text, instructions to a model) is data and stays.

Every record of the source counts, good or bad: it gets the next row number and leaves either as a row of a partition
or as a `Rejected`. What makes the *file* unreadable is a `SourceError`.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import pyarrow as pa

from ragwright.documents import Rejected, content_hash
from ragwright.errors import SourceError
from ragwright.progress import Progress, silent
from ragwright.settings import SourceSettings
from ragwright.sources.location import Located, locate
from ragwright.sources.rows import Batch, Malformed, Record

READING_VERSION = "1"
"""Changes whenever the same bytes are read as other rows, so that a file read by older rules is read again."""

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}


@dataclass(frozen=True)
class Partition:
    """Consecutive records of a source.

    Attributes:
        rows: The readable ones, laid out as `documents.ROWS`.
        rejected: The malformed ones.
    """

    rows: pa.Table
    rejected: tuple[Rejected, ...]

    @property
    def records(self) -> int:
        """How many records of the source this is."""
        return len(self.rows) + len(self.rejected)


class Reader(Protocol):
    """One file format. `records` may be called again and starts over."""

    columns: tuple[str, ...]
    notices: tuple[str, ...]

    def records(self) -> Iterator[Record | Malformed]:
        """Every record of the file in order."""


class Source:
    """An FAQ whose format and columns are known. A context manager: a download is removed when it closes.

    Attributes:
        place: Where the FAQ is, fit for a log: credentials in a URL are left out.
        format: `csv`, `jsonl` or `parquet`.
        columns: Names of the columns found; empty for a CSV without a header.
        notices: What the user should know about how the file was read.
    """

    def __init__(
        self, reader: Reader, located: Located, *, kind: str, settings: SourceSettings, resources: ExitStack
    ) -> None:
        self.place, self.format = located.place, kind
        self.columns, self.notices = reader.columns, reader.notices
        self._reader, self._located, self._settings, self._resources = reader, located, settings, resources

    def digest(self) -> str:
        """32 hex digits that stand for every record: sources with the same digest yield the same partitions' content.

        Takes the file's bytes and all that decides how they are read, so it costs a fraction of reading the records.

        Raises:
            SourceError: The file is gone.
        """
        settings = self._settings.model_dump_json(
            exclude={"partition_rows", "timeout_seconds", "download_seconds", "max_download_bytes"}
        )
        try:
            with self._located.path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise SourceError(
                f"the file cannot be read any more: {error.strerror}", place=self.place, hint="Try again."
            ) from error
        suffix = Path(self._located.name).suffix.lower()  # it decides between commas and tabs
        return content_hash((READING_VERSION, unicodedata.unidata_version, self.format, suffix, settings, content))

    def partitions(self, *, progress: Progress = silent) -> Iterator[Partition]:
        """Yield the source from its start, at most `partition_rows` records at a time.

        What makes the whole file unreadable may lie at its end: write nothing for good before the last partition.

        Raises:
            SourceError: A quote is out of place, the file cannot be decoded or is damaged, or holds no record at all.
        """
        batch = Batch(self._settings)
        row = -1
        for row, record in enumerate(self._reader.records()):
            batch.add(row, record)
            if batch.full:
                yield Partition(*batch.take())
                progress("rows read", row + 1, None)
        if row < 0:
            what = f"has the header {list(self.columns)} and no row" if self.columns else "has no row"
            raise SourceError(what, place=self.place, hint="Export the FAQ again; an empty one is never indexed.")
        if not batch.empty:
            yield Partition(*batch.take())
        progress("rows read", row + 1, row + 1)

    def close(self) -> None:
        """Remove what was downloaded."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_source(spec: str | Path, settings: SourceSettings, *, progress: Progress = silent) -> Source:
    """Bring an FAQ here, tell its format, and check that it has the configured columns.

    Args:
        spec: A path, `https://...`, `http://...` or `s3://bucket/key`.
        settings: Column names, encoding, limits.
        progress: Told the bytes of a download.

    Raises:
        SourceError: It is not there, may not be read, or is not an FAQ in a format this module knows.
        TransientError: The server that holds it does not answer, or broke off; the same call may succeed later.
        StorageFull: The download does not fit on the disk.
    """
    resources = ExitStack()
    try:
        located = locate(spec, settings, resources, progress)
        kind = _format(located.name, located.path, located.place)
        reader = _reader(kind, located.path, located.place, located.name, settings)
    except BaseException:
        resources.close()
        raise
    return Source(reader, located, kind=kind, settings=settings, resources=resources)


def read(spec: str | Path, settings: SourceSettings, *, progress: Progress = silent) -> Iterator[pa.Table]:
    """Yield an FAQ's partitions (`documents.ROWS`) for callers that have no quarantine.

    Raises:
        SourceError: As `open_source`, and for the first malformed record: nothing is left out in silence.
    """
    with open_source(spec, settings, progress=progress) as source:
        for partition in source.partitions(progress=progress):
            for fault in partition.rejected:
                raise SourceError(
                    f"{fault.detail} (found {fault.value!r})",
                    place=f"{source.place}, row {fault.row}",
                    hint="Mend the record, or re-index: there, such records go to quarantine.",
                )
            yield partition.rows


def _format(name: str, path: Path, place: str) -> str:
    """Tell the format by suffix, else by content."""
    with path.open("rb") as file:
        head = file.read(1024)
    if not head:
        raise SourceError("the file is empty", place=place, hint="Export the FAQ again.")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        raise SourceError(
            f"this is a web page, not data: it begins with {text[:40]!r}",
            place=place,
            hint="Name the address of the file itself; a page in its place often asks for a login.",
        )
    for magic, what, hint in (
        (b"PK\x03\x04", "a ZIP archive or a spreadsheet", "Unpack it, or save the sheet as CSV (UTF-8)."),
        (b"\x1f\x8b", "compressed with gzip", "Unpack it first."),
        (b"%PDF", "a PDF", "Export the FAQ as CSV, JSONL or Parquet."),
        (b"\xd0\xcf\x11\xe0", "an old Office document", "Save the sheet as CSV (UTF-8)."),
    ):
        if head.startswith(magic):
            raise SourceError(f"the file is {what}: it begins with {head[:4]!r}", place=place, hint=hint)
    if head.startswith(b"PAR1"):
        return "parquet"
    kind = SUFFIXES.get(Path(name).suffix.lower())
    if kind == "parquet":
        raise SourceError(
            f"named as Parquet but begins with {head[:8]!r}",
            place=place,
            hint="Write the file again, or rename it to .csv or .jsonl if that is what it is.",
        )
    return kind or ("jsonl" if text.startswith((b"{", b"[")) else "csv")


def _reader(kind: str, path: Path, place: str, name: str, settings: SourceSettings) -> Reader:
    match kind:
        case "csv":
            from ragwright.sources.csv_file import CsvReader

            return CsvReader(path, place, settings, tabs=name.lower().endswith(".tsv"))
        case "jsonl":
            from ragwright.sources.jsonl_file import JsonlReader

            return JsonlReader(path, place, settings)
        case _:
            from ragwright.sources.parquet_file import ParquetReader

            return ParquetReader(path, place, settings)
