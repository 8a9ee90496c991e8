"""Where a catalog's files are kept: a folder, or a bucket on S3."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def first_line(error: BaseException) -> str:
    """The message without the debug dump that the object store library appends."""
    return str(error).partition("\n")[0]
