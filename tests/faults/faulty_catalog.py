"""A catalog in memory whose every call may fail, in the name of a process that may die."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from simulated_process import Process

from ragwright.errors import CatalogError
from ragwright.index.catalog import Catalog


class FaultyCatalog(Catalog):
    """The real catalog over `files` (an obstore store), as one process reaches it."""

    def __init__(self, files: Any, index: str, process: Process) -> None:
        super().__init__("memory", index)
        self.__dict__["_store"], self._process = files, process

    def __exit__(self, *_: object) -> None:
        """Stay connected."""

    def create(self, path: str, data: bytes) -> bool:
        return self._process.change("catalog", partial(super().create, path, data), CatalogError)

    def write(self, path: str, data: bytes) -> None:
        self._process.change("catalog", partial(super().write, path, data), CatalogError)

    def read_table(self, path: str, *, columns: list[str] | None = None) -> pa.Table | None:
        data = self.read(path)
        return None if data is None else _parsed(data, tuple(columns or ()))

    def write_file(self, path: str, file: IO[bytes]) -> None:
        file.seek(0)
        self.write(path, file.read())

    def open(self, path: str) -> IO[bytes] | None:
        data = self.read(path)
        return None if data is None else io.BytesIO(data)

    def copy(self, path: str, to: str) -> bool:
        return self._process.change("catalog", partial(super().copy, path, to), CatalogError)

    def delete(self, path: str) -> None:
        self._process.change("catalog", partial(super().delete, path), CatalogError)

    def read(self, path: str) -> bytes | None:
        return self._process.look(partial(super().read, path), CatalogError)

    def exists(self, path: str) -> bool:
        return self._process.look(partial(super().exists, path), CatalogError)

    def names(self, folder: str, *, after: str = "") -> list[str]:
        return self._process.look(partial(super().names, folder, after=after), CatalogError)

    def _generation_folders(self) -> Iterator[str]:
        listing = super()._generation_folders
        return self._process.look(lambda: iter(list(listing())), CatalogError)


@lru_cache(maxsize=512)
def _parsed(data: bytes, columns: tuple[str, ...]) -> pa.Table:
    """Most tables are read many times over."""
    return pq.read_table(io.BytesIO(data), columns=list(columns) or None)
