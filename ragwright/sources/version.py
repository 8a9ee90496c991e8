"""What a source says of its content without being read: enough to know that it has changed."""

from __future__ import annotations

from contextlib import ExitStack
from urllib.parse import urlsplit

from ragwright.errors import SourceError
from ragwright.progress import silent
from ragwright.settings import SourceSettings
from ragwright.sources.location import locate

NO_HEAD = (405, 501)


def source_version(spec: str, settings: SourceSettings) -> str:
    """A text that is another one once the source has another content: an entity tag, or a time of change and a size.

    Costs one request for its headers, or one look at a file's entry. Equal bytes may have two versions, as a file that
    was saved again has.

    Raises:
        SourceError: There is no such source; its address has credentials in it, which whoever is told of a change
            would see; or it says nothing of its content.
        TransientError: The other side does not answer now.
    """
    scheme, separator, _ = spec.partition("://")
    if not separator:
        with ExitStack() as resources:
            found = locate(spec, settings, resources, silent).path.stat()
        return f"{found.st_mtime_ns}/{found.st_size}"
    parts = urlsplit(spec)
    place = f"{scheme}://{parts.hostname or ''}{parts.path}"
    if parts.username or parts.password or parts.query:
        raise SourceError(
            "an address with a user name, a password or a query is not watched, for they may be secrets",
            place=place,
            hint="Re-index it on a schedule instead.",
        )
    return _of_s3(spec, settings) if scheme.lower() == "s3" else _of_http(spec, settings)


def _of_http(url: str, settings: SourceSettings) -> str:
    from ragwright.sources.remote import check_reply, http_reply

    for method in ("HEAD", "GET"):
        with http_reply(method, url, url, settings) as reply:
            if method == "HEAD" and reply.status_code in NO_HEAD:
                continue
            check_reply(reply, url)
            headers = reply.headers
        break
    if tag := headers.get("etag"):
        return str(tag)
    if changed := headers.get("last-modified"):
        return f"{changed}/{headers.get('content-length', '')}"
    raise SourceError(
        "the server sends neither ETag nor Last-Modified, so a change cannot be seen without reading",
        place=url,
        hint="Re-index it on a schedule instead; an unchanged source costs little.",
    )


def _of_s3(url: str, settings: SourceSettings) -> str:
    import obstore

    from ragwright.sources.remote import s3_object

    with s3_object(url, settings) as (store, key):
        meta = obstore.head(store, key)
    return str(meta["e_tag"] or f"{meta['last_modified'].isoformat()}/{meta['size']}")
