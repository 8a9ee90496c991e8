"""Downloads: HTTP and S3, streamed to a temporary file. Nothing is retried here; the error says whether to."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import httpx

from ragwright.errors import SourceError, StorageFull, Throttled, TimedOut, Unavailable, is_disk_full
from ragwright.progress import Progress
from ragwright.settings import SourceSettings

if TYPE_CHECKING:
    from obstore.store import S3Store

_BLOCK = 1024 * 1024


def download(url: str, settings: SourceSettings, resources: ExitStack, progress: Progress) -> tuple[Path, str, str]:
    """Bring a remote file here.

    Returns:
        The temporary file, its address without credentials, and its name.

    Raises:
        SourceError: The address is wrong, the file is not there, not allowed, or over the size limit.
        TransientError: The other side did not answer, or broke off.
        StorageFull: No room for it.
    """
    try:
        parts = urlsplit(url)
        host = f"{parts.hostname or ''}:{parts.port}" if parts.port else parts.hostname or ""
    except ValueError as error:
        raise SourceError(
            f"the address cannot be read: {error}", place=url.partition("://")[0] + "://...", hint="Check the address."
        ) from None
    # A user name, password or signed query is a secret; what is left names the file well enough.
    place = f"{parts.scheme}://{host}{parts.path}"
    name = PurePosixPath(unquote(parts.path)).name
    folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="ragwright-source-")))
    target = folder / "download"
    with ExitStack() as stream:
        opener = _from_s3(place, settings) if parts.scheme.lower() == "s3" else _from_http(url, place, settings)
        blocks, size = stream.enter_context(opener)
        _save(blocks, target, place=place, size=size, settings=settings, progress=progress)
    return target, place, name


def _save(
    blocks: Iterable[bytes],
    target: Path,
    *,
    place: str,
    size: int | None,
    settings: SourceSettings,
    progress: Progress,
) -> None:
    limit, deadline = settings.max_download_bytes, time.monotonic() + settings.download_seconds
    if size is not None and size > limit:
        raise _too_large(place, size, limit)
    done = 0
    try:
        with target.open("wb") as file:
            for block in blocks:
                done += len(block)
                if done > limit:
                    raise _too_large(place, done, limit)
                if time.monotonic() > deadline:
                    raise TimedOut(
                        f"the download is not finished after {settings.download_seconds:g} s ({done:,} bytes)",
                        place=place,
                        hint="Raise source.download_seconds, or download the file by hand.",
                    )
                file.write(block)
                progress("bytes downloaded", done, size)
    except OSError as error:
        if is_disk_full(error):
            raise StorageFull(
                f"no room for the download after {done:,} bytes", place=str(target.parent), hint="Free some space."
            ) from error
        raise
    if size is not None and done < size:
        raise Unavailable(f"the download broke off after {done:,} of {size:,} bytes", place=place, hint="Try again.")


def _too_large(place: str, size: int, limit: int) -> SourceError:
    return SourceError(
        f"{size:,} bytes is more than the limit of {limit:,}",
        place=place,
        hint="Raise source.max_download_bytes if this really is the FAQ.",
    )


@contextmanager
def _from_http(url: str, place: str, settings: SourceSettings) -> Iterator[tuple[Iterable[bytes], int | None]]:
    with http_reply("GET", url, place, settings) as reply:
        check_reply(reply, place)
        encoded = "content-encoding" in reply.headers
        size = None if encoded else _length(reply.headers.get("content-length"))
        # In the pieces in which it arrives, so that the time limit holds against a server that drips.
        yield reply.iter_bytes(), size


@contextmanager
def http_reply(method: str, url: str, place: str, settings: SourceSettings) -> Iterator[httpx.Response]:
    """A reply whose body has not been read, whatever its status.

    Raises:
        SourceError: The address leads nowhere.
        TransientError: The other side does not answer, or breaks off.
    """
    try:
        with _unlogged(), httpx.stream(method, url, timeout=settings.timeout_seconds, follow_redirects=True) as reply:
            yield reply
    except httpx.TimeoutException as error:
        raise TimedOut(
            f"no answer within {settings.timeout_seconds:g} s", place=place, hint="Raise source.timeout_seconds."
        ) from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
        raise SourceError(
            f"the address does not lead to a file ({type(error).__name__})", place=place, hint="Check the address."
        ) from error
    except (httpx.TransportError, httpx.DecodingError) as error:
        raise Unavailable(
            f"the download failed: {error}", place=place, hint="Check the address and the network."
        ) from error


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep httpx's request line, which shows the whole address with its secrets, out of the log."""
    log = logging.getLogger("httpx")

    def warnings_only(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING

    log.addFilter(warnings_only)
    try:
        yield
    finally:
        log.removeFilter(warnings_only)


def _length(value: str | None) -> int | None:
    return int(value) if value is not None and value.isdigit() else None


def check_reply(reply: httpx.Response, place: str) -> None:
    """Raise what a status other than 200 means."""
    status = f"the server answers {reply.status_code} {reply.reason_phrase}".rstrip()
    match reply.status_code:
        case 200:
            return
        case 429:
            wait = _length(reply.headers.get("retry-after"))
            raise Throttled(status, place=place, hint="Ask again later.", retry_after=wait)
        case 401 | 403:
            raise SourceError(status, place=place, hint="The address needs credentials, or they have expired.")
        case 404 | 410:
            raise SourceError(status, place=place, hint="Check the address; there is no such file.")
        case code if code >= 500 or code == 408:
            raise Unavailable(status, place=place, hint="Try again later.")
        case _:
            raise SourceError(status, place=place, hint="Check the address.")


@contextmanager
def _from_s3(place: str, settings: SourceSettings) -> Iterator[tuple[Iterable[bytes], int | None]]:
    import obstore

    with s3_object(place, settings) as (store, key):
        reply = obstore.get(store, key)
        yield (bytes(block) for block in reply.stream(_BLOCK)), reply.meta["size"]


@contextmanager
def s3_object(place: str, settings: SourceSettings) -> Iterator[tuple[S3Store, str]]:
    """The bucket and key of an address, for the block to ask for; what S3 refuses becomes an error of ours.

    Raises:
        SourceError: There is no such object, or it may not be read.
        Unavailable: S3 does not answer.
    """
    from obstore import exceptions
    from obstore.store import S3Store

    parts = urlsplit(place)
    key = parts.path.lstrip("/")
    if not parts.netloc or not key or key.endswith("/"):
        raise SourceError("the address names no object", place=place, hint="Write s3://bucket/path/to/faq.csv.")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    try:
        store = S3Store(
            parts.netloc,
            # Emulators on this machine speak plain http; the cloud never does.
            client_options={
                "timeout": f"{max(1, round(settings.download_seconds))}s",
                "connect_timeout": f"{max(1, round(settings.timeout_seconds))}s",
                "allow_http": bool(endpoint and endpoint.startswith(("http://127.0.0.1", "http://localhost"))),
            },
            config={"endpoint": endpoint} if endpoint else None,
            retry_config={"max_retries": 0},
        )
        yield store, key
    except (exceptions.NotFoundError, FileNotFoundError) as error:
        raise SourceError("there is no such object or bucket", place=place, hint="Check the address.") from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise SourceError("access is denied", place=place, hint="Check the AWS credentials and policy.") from error
    except exceptions.BaseError as error:
        what = str(error).partition("\n")[0]
        raise Unavailable(
            f"S3 does not answer: {what}", place=place, hint="Check AWS_REGION and the network."
        ) from error
