"""Reading a Pinecone namespace page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ragwright.retry import RetryPolicy
from ragwright.stores import pinecone_records as wire
from ragwright.stores.pinecone_errors import translated
from ragwright.stores.pinecone_search import visible_at

if TYPE_CHECKING:
    from pinecone import Index

_LONGEST_LIST = 100  # ids a page, at most
_PAGE_BYTES = 2 * 1024 * 1024  # of a page of records, about: half of what an answer may have
_NUMBER_BYTES = 12  # of a vector's number in JSON
_TEXT_BYTES = 2_000  # of a record's text, as a rule


def ids(index: Index, space: str, layout: pa.Schema, retry: RetryPolicy, *, place: str) -> Iterator[pa.RecordBatch]:
    """The ids of all records, in batches laid out as `layout`, which has that one column."""
    read = partial(index.list_paginated, namespace=space, limit=_LONGEST_LIST)
    for page in _pages(read, retry, place):
        found = [wire.plain_id(item.id) for item in page.vectors]
        if found:
            yield pa.record_batch([pa.array(found, pa.string())], schema=layout)


def records(
    index: Index,
    space: str,
    layout: pa.Schema,
    dimension: int,
    as_of: int | None,
    retry: RetryPolicy,
    *,
    place: str,
) -> Iterator[pa.RecordBatch]:
    """All records, or those that a generation sees; vectors come over the wire whatever `layout` has."""
    # An empty condition is refused; every record was born.
    condition = {"born": {"$gte": 0}} if as_of is None else visible_at(as_of)
    limit = max(10, min(1_000, _PAGE_BYTES // (_NUMBER_BYTES * dimension + _TEXT_BYTES)))
    read = partial(index.fetch_by_metadata, filter=condition, namespace=space, limit=limit)
    for page in _pages(read, retry, place):
        found = [(record.id, record.metadata, record.values) for record in page.vectors.values()]
        if found:
            yield from wire.table(found, layout, place=place).to_batches()


def _pages(read: Callable[..., Any], retry: RetryPolicy, place: str) -> Iterator[Any]:
    """Page after page; each is tried again by itself, as a scan cannot go on where it broke off."""
    token: str | None = None
    while True:

        def once(after: str | None = token) -> Any:
            with translated(place):
                return read(pagination_token=after)

        page = retry.call(once)
        yield page
        token = page.pagination.next if page.pagination else None
        if not token:
            return
