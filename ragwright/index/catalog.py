"""The catalog: what was ever attempted and published, in an object store, without a database.

Layout below `<catalog>/<index>/`::

    log/00000007.json                one publish, rollback or vacuum; created exclusively; the head is the highest
    generations/00000012/begin.json  an attempt; created exclusively, which allocates its number
    generations/00000012/...         its plan, manifest, ledger, quarantine, evaluation, report, end.json
    writer/00000042.json             the writer's lease, one file an epoch (see `lease`)

Every decision is an exclusive create, which a local folder and S3 both offer; nothing is ever renamed or locked.
"""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import IO, Any, Literal, Self

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ragwright.documents import Fingerprint
from ragwright.errors import CatalogError, PublishConflict, StorageFull, is_disk_full
from ragwright.index.object_store import first_line, open_object_store, open_parts

HEAD_TTL = 3.0
"""Seconds for which a reader may trust what it read of the log."""


class Entry(BaseModel):
    """One line of the log: from here on readers see `generation`. A vacuum's line repeats what they see already."""

    model_config = ConfigDict(frozen=True)

    sequence: int
    kind: Literal["publish", "rollback", "vacuum"]
    generation: int
    space: str
    fingerprint: Fingerprint
    at: AwareDatetime
    reason: str = ""
    run_id: str = ""
    abandons_through: int = Field(
        0, description="A rollback abandons every generation after its target up to this one: never a target again."
    )
    retains: tuple[int, ...] = Field(
        (), description="Of a vacuum: the generations it keeps. No other one before it is ever a target again."
    )
    counts: dict[str, int] = Field(default_factory=dict)


class Begin(BaseModel):
    """What an attempt set out to do."""

    model_config = ConfigDict(frozen=True)

    generation: int
    live: int = Field(description="Generation that was live when the attempt began; 0: none.")
    base: int = Field(description="Newest generation published in the attempt's space; 0: none.")
    head: int = Field(description="Sequence of the log's last entry at that moment.")
    space: str
    fingerprint: Fingerprint
    source: str
    at: AwareDatetime
    run_id: str = ""
    epoch: int = Field(description="The writer lease under which the attempt runs.")
    full: bool = False
    rules: str = Field("", description="Version of the quality rules; rows that passed the same pass again.")


class Head(BaseModel):
    """What readers see, derived from the log alone."""

    model_config = ConfigDict(frozen=True)

    entries: tuple[Entry, ...] = ()

    @property
    def last(self) -> Entry | None:
        """The entry in force."""
        return self.entries[-1] if self.entries else None

    @property
    def live(self) -> int:
        """The live generation; 0 before the first."""
        return self.entries[-1].generation if self.entries else 0

    @property
    def sequence(self) -> int:
        """Number of the last entry; 0 before the first."""
        return self.entries[-1].sequence if self.entries else 0

    def abandoned(self, generation: int) -> bool:
        """Whether a rollback went back past this generation."""
        return any(e.kind == "rollback" and e.generation < generation <= e.abandons_through for e in self.entries)

    def published(self) -> list[Entry]:
        """The publishing entry of each generation that may still be read, oldest first."""
        found: dict[int, Entry] = {}
        for entry in self.entries:
            if entry.kind == "publish":
                found[entry.generation] = entry
            elif entry.kind == "rollback":
                found = {g: e for g, e in found.items() if not entry.generation < g <= entry.abandons_through}
            else:
                found = {g: e for g, e in found.items() if g in entry.retains}
        return list(found.values())


class Catalog:
    """One index's catalog. Cheap to construct; connects at first use; safe to share between threads."""

    def __init__(self, location: str, index: str) -> None:
        self.location, self.index = location, index

    @functools.cached_property
    def _store(self) -> Any:
        return open_object_store(self.location)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__dict__.pop("_store", None)

    # Files

    def create(self, path: str, data: bytes) -> bool:
        """Write a file that must not exist yet; whether this call created it."""
        try:
            self._put(path, data, mode="create")
        except (AlreadyExistsError, PreconditionError):
            return False
        return True

    def write(self, path: str, data: bytes) -> None:
        """Write or replace a file; readers see the old bytes or the new ones."""
        self._put(path, data, mode="overwrite")

    def _put(self, path: str, data: bytes | IO[bytes], *, mode: Literal["create", "overwrite"]) -> None:

        try:
            obstore.put(self._store, f"{self.index}/{path}", data, mode=mode)
        except (AlreadyExistsError, PreconditionError):
            raise
        except (BaseError, OSError) as error:
            if is_disk_full(error):
                raise StorageFull(
                    f"no room to write {path!r}", place=self.location, hint="Free some space and run again."
                ) from error
            raise CatalogError(
                f"{path!r} cannot be written: {first_line(error)}",
                place=self.location,
                hint="Check that the catalog is reachable and writable.",
            ) from error

    def write_file(self, path: str, file: IO[bytes]) -> None:
        """Write or replace a file with the whole of one that is open, in pieces; readers see the old or the new."""
        file.seek(0)
        self._put(path, file, mode="overwrite")

    def open(self, path: str) -> IO[bytes] | None:
        """A file of which parts can be read; None if there is none."""
        try:
            return open_parts(self._store, f"{self.index}/{path}")
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise self._unreadable(path, error) from error

    def read(self, path: str) -> bytes | None:
        """A file's bytes; None if there is none."""
        try:
            return bytes(obstore.get(self._store, f"{self.index}/{path}").bytes())
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise self._unreadable(path, error) from error

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        try:
            obstore.head(self._store, f"{self.index}/{path}")
        except FileNotFoundError:
            return False
        except (BaseError, OSError) as error:
            raise self._unreadable(path, error) from error
        return True

    def _unreadable(self, path: str, error: Exception) -> CatalogError:
        return CatalogError(
            f"{path!r} cannot be read: {first_line(error)}",
            place=self.location,
            hint="Check that the catalog is reachable and readable.",
        )

    def damaged(self, path: str, kind: str, error: Exception) -> CatalogError:
        """The error of a file that was read and is not what it should be."""
        return CatalogError(
            f"{path!r} is not {kind}: {error}",
            place=self.location,
            hint="Restore the file from a backup, or roll back.",
        )

    def copy(self, path: str, to: str) -> bool:
        """Make a file, or replace one, with another's bytes, which stay where they are; whether there was such a file.

        A folder links the two and S3 copies on its side, so it costs next to nothing however large the file is.
        """
        try:
            obstore.copy(self._store, f"{self.index}/{path}", f"{self.index}/{to}")
        except FileNotFoundError:
            return False
        except (BaseError, OSError):
            # Not every file system has links.
            data = self.read(path)
            if data is None:
                return False
            self.write(to, data)
        return True

    def delete(self, path: str) -> None:
        """Remove a file; a missing one is fine."""
        try:
            obstore.delete(self._store, f"{self.index}/{path}")
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise CatalogError(f"{path!r} cannot be removed: {first_line(error)}", place=self.location) from error

    def names(self, folder: str, *, after: str = "") -> list[str]:
        """Names directly or deeper below a folder, relative to it, sorted; only those greater than `after`."""
        prefix = f"{self.index}/{folder}/"
        try:
            listing = obstore.list(self._store, prefix, offset=prefix + after if after else None)
            found = [str(item["path"]).removeprefix(prefix) for batch in listing for item in batch]
        except FileNotFoundError:
            return []
        except (BaseError, OSError) as error:
            raise CatalogError(
                f"{folder!r} cannot be listed: {first_line(error)}",
                place=self.location,
                hint="Check that the catalog is reachable and readable.",
            ) from error
        return sorted(found)

    def read_json(self, path: str) -> dict[str, Any] | None:
        """A JSON object; None if there is no such file."""
        data = self.read(path)
        if data is None:
            return None
        try:
            value = json.loads(data)
        except ValueError as error:
            raise self.damaged(path, "JSON", error) from error
        if not isinstance(value, dict):
            raise CatalogError(f"{path!r} holds {type(value).__name__}, not an object", place=self.location)
        return value

    def write_json(self, path: str, value: Mapping[str, Any]) -> None:
        """Write or replace a JSON object."""
        self.write(path, _json(value))

    def read_table(self, path: str, *, columns: list[str] | None = None) -> pa.Table | None:
        """A Parquet file; None if there is none."""
        data = self.read(path)
        if data is None:
            return None
        try:
            return pq.read_table(io.BytesIO(data), columns=columns)
        except (pa.ArrowInvalid, OSError) as error:
            raise self.damaged(path, "a readable Parquet file", error) from error

    def write_table(self, path: str, table: pa.Table) -> None:
        """Write or replace a Parquet file."""
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd", compression_level=1)
        self.write(path, buffer.getvalue())

    # Log

    def head(self, known: Head | None = None) -> Head:
        """The log as it stands; passing what was read before reads only what came since."""
        entries = list(known.entries) if known else []
        after = f"{entries[-1].sequence:08d}.json" if entries else ""
        for name in self.names("log", after=after):
            value = self.read_json(f"log/{name}")
            if value is None:
                raise CatalogError(f"log entry {name!r} vanished while it was read", place=self.location)
            entries.append(Entry.model_validate(value))
        return Head(entries=tuple(entries))

    def append(self, entry: Entry) -> None:
        """Put an entry at the end of the log.

        Raises:
            PublishConflict: Another writer took that place; nothing was changed.
        """
        path = f"log/{entry.sequence:08d}.json"
        if self.create(path, _json(entry.model_dump(mode="json"))):
            return
        # A create whose acknowledgement was lost and that the client repeated finds its own entry.
        if self.read_json(path) == json.loads(_json(entry.model_dump(mode="json"))):
            return
        raise PublishConflict(
            f"log entry {entry.sequence} is already taken; generation {entry.generation} was not published",
            place=f"index {self.index!r}",
            hint="Another writer published first. Run again: what this run wrote is reused.",
        )

    # Generations

    def allocate(self, make: Any) -> Begin:
        """Take the next generation number by creating its `begin.json`; `make(number)` gives the file's content."""
        number = max((self.generation_of(name) for name in self._generation_folders()), default=0)
        while True:
            number += 1
            begin: Begin = make(number)
            if self.create(f"{folder(number)}/begin.json", _json(begin.model_dump(mode="json"))):
                return begin

    def _generation_folders(self) -> Iterator[str]:

        try:
            listing = obstore.list_with_delimiter(self._store, f"{self.index}/generations/")
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise CatalogError(f"generations cannot be listed: {first_line(error)}", place=self.location) from error
        yield from (str(prefix).rpartition("/")[2] for prefix in listing["common_prefixes"])

    @staticmethod
    def generation_of(name: str) -> int:
        """The number in a folder's name; 0 for a stranger."""
        return int(name) if name.isdigit() else 0

    def attempts(self, *, after: int = 0) -> list[int]:
        """Numbers of all attempts greater than `after`, ascending."""
        numbers = sorted(self.generation_of(name) for name in self._generation_folders())
        return [number for number in numbers if number > after and self._has_begun(number)]

    def _has_begun(self, generation: int) -> bool:
        # On a disk a folder is made before its first file, and stays when the writer of that file was killed.
        return self.location.startswith("s3://") or self.exists(f"{folder(generation)}/begin.json")

    def begin_of(self, generation: int) -> Begin:
        """What an attempt set out to do.

        Raises:
            CatalogError: There is no such attempt.
        """
        value = self.read_json(f"{folder(generation)}/begin.json")
        if value is None:
            raise CatalogError(
                f"generation {generation} is unknown",
                place=f"index {self.index!r}",
                hint="`ragwright generations` lists those there are.",
            )
        return Begin.model_validate(value)


def nothing_published(index: str) -> CatalogError:
    """What readers of an index without a live generation are told."""
    return CatalogError(
        "nothing has been published yet",
        place=f"index {index!r}",
        hint="Run `ragwright reindex --source FILE` first.",
    )


def folder(generation: int) -> str:
    """Where an attempt keeps its files, below the index's folder."""
    return f"generations/{generation:08d}"


def now() -> datetime:
    """The wall clock, for people to read; no decision but a lease's expiry rests on it."""
    return datetime.now(UTC)


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True, default=str).encode()
