"""Where a catalog's files are kept: a folder, or a bucket on S3."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from ragwright.errors import ConfigurationError, StorageFull, is_disk_full

if TYPE_CHECKING:
    from obstore.store import ClientConfig


def open_object_store(location: str, *, create: bool = True) -> Any:
    """An obstore store rooted at a folder or an `s3://bucket/prefix`.

    Raises:
        ConfigurationError: The place cannot be used.
    """
    try:
        if location.startswith("s3://"):
            return S3Store.from_url(location, client_options=_s3_client_options(), **_s3_config())
        path = Path(location.removeprefix("file://")).absolute()
        if create:
            path.mkdir(parents=True, exist_ok=True)
        return LocalStore(path)
    except (BaseError, OSError, ValueError) as error:
        if is_disk_full(error):
            raise StorageFull(f"no room to create {location!r}", hint="Free some space and try again.") from error
        raise ConfigurationError(
            f"catalog location {location!r} cannot be used: {first_line(error)}",
            hint="Name a writable folder or s3://bucket/prefix in RAGWRIGHT_CATALOG.",
        ) from error


def _s3_config() -> dict[str, Any]:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return {"endpoint": endpoint} if endpoint else {}


def _s3_client_options() -> ClientConfig:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    # Emulators on this machine speak plain http; the cloud never does.
    return {"timeout": "30s", "allow_http": endpoint.startswith(("http://127.0.0.1", "http://localhost"))}


def open_parts(store: Any, path: str) -> IO[bytes]:
    """A file of which parts can be read.

    Raises:
        FileNotFoundError: There is none.
    """
    return io.BufferedReader(_Parts(obstore.open_reader(store, path)), 2**16)


class _Parts(io.RawIOBase):
    """The object store's reader as Python's files are; what goes wrong is an OSError, as with them."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def readinto(self, buffer: Any) -> int:
        try:
            found = self._reader.read(len(buffer))
        except BaseError as error:
            raise OSError(first_line(error)) from error
        buffer[: len(found)] = memoryview(found)
        return len(found)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        return int(self._reader.tell())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def first_line(error: BaseException) -> str:
    """The message without the debug dump that the object store library appends."""
    return str(error).partition("\n")[0]
