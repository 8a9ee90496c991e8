"""What a planned re-index would cost: embedding by the hour, writing and keeping by what the store bills."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from ragwright.endpoints import EndpointSpec, embedder_spec
from ragwright.endpoints.costs import SERVERLESS, PriceBook, load_price_book, serverless_cost
from ragwright.endpoints.instances import PineconePrice
from ragwright.errors import RagwrightError
from ragwright.index.catalog import Catalog, folder
from ragwright.index.plan import Op
from ragwright.settings import Settings

_WRITE_UNIT_BYTES = 1_000
_LEAST_WRITE_UNITS = 5  # of one request
_METADATA_BYTES = 160  # names of the fields and the integers of a record, as JSON


class Work(Protocol):
    """What a re-index does, as far as it is billed; a `Preview` tells it beforehand."""

    @property
    def embed(self) -> int:
        """Sections to embed."""

    @property
    def end(self) -> int:
        """Records that are no longer shown."""

    @property
    def embed_bytes(self) -> int:
        """What the store keeps beside the vectors of these sections: texts, ids, metadata."""

    @property
    def seconds(self) -> float | None:
        """How long it takes; None if that is not known."""


@dataclass(frozen=True)
class WorkDone:
    """`Work` that was done."""

    embed: int
    end: int
    embed_bytes: int
    seconds: float | None


@dataclass(frozen=True)
class ReindexCost:
    """USD; None where something that is billed cannot be told.

    Attributes:
        embedding_usd: The embedding endpoint for as long as the embedding takes. It bills until it is deleted.
        instance_type: What that runs on; None where nothing is billed.
        write_units: Of the store, at most.
        writing_usd: For these.
        storage_usd_month: What the new sections add to the store's bill each month.
        notes: What to know of the figures.
    """

    embedding_usd: float | None = 0.0
    instance_type: str | None = None
    write_units: int = 0
    writing_usd: float = 0.0
    storage_usd_month: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def total_usd(self) -> float | None:
        """Embedding and writing."""
        return None if self.embedding_usd is None else self.embedding_usd + self.writing_usd

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "total_usd": None if self.total_usd is None else round(self.total_usd, 6),
            "embedding_usd": None if self.embedding_usd is None else round(self.embedding_usd, 6),
            "instance_type": self.instance_type,
            "write_units": self.write_units,
            "writing_usd": round(self.writing_usd, 6),
            "storage_usd_month": round(self.storage_usd_month, 6),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        """One line for a person."""
        if self.instance_type is None and not self.write_units:
            return "nothing is billed."
        parts = []
        if self.instance_type is not None:
            usd = "not known" if self.embedding_usd is None else f"about {self.embedding_usd:.4g} USD"
            parts.append(f"embedding on {self.instance_type}: {usd}")
        if self.write_units:
            parts.append(
                f"Pinecone: {self.write_units:,} write units, {self.writing_usd:.4g} USD, and "
                f"{self.storage_usd_month:.4g} USD a month for what is added"
            )
        return "; ".join(parts) + "."


def reindex_cost(settings: Settings, found: Work) -> ReindexCost:
    """What a re-index as planned would cost; needs no network unless the settings allow the AWS Price List.

    Raises:
        ConfigurationError: The user's price file is not valid.
    """
    spec = embedder_spec(settings) if settings.endpoints.host == "sagemaker" else None
    on_pinecone = settings.store_spec.startswith("pinecone:")
    if spec is None and not on_pinecone:
        return ReindexCost()
    embedding_usd: float | None = 0.0
    instance_type: str | None = None
    notes: tuple[str, ...] = ()
    book = load_price_book(settings, [] if spec is None else None)
    if spec is not None:
        embedding_usd, instance_type, notes = _embedding(spec, settings, found, book)
    if not on_pinecone:
        return ReindexCost(embedding_usd, instance_type, notes=notes)
    units, stored = pinecone_writes(settings, found)
    prices: PineconePrice = book.table.pinecone
    dated = book.table.sources[prices.source]
    if stale := dated.staleness(datetime.now(UTC).date(), book.warn_after_days):
        notes = (*notes, f"the prices of Pinecone are {stale}")
    return ReindexCost(
        embedding_usd,
        instance_type,
        units,
        units * prices.usd_per_million_write_units / 1e6,
        stored / 1e9 * prices.usd_per_gb_month,
        notes,
    )


def reindex_spent(settings: Settings, catalog: Catalog, generation: int) -> ReindexCost:
    """What a re-index that has ended cost; embedding is taken to have lasted as long as the whole of it.

    Raises:
        ConfigurationError: The user's price file is not valid.
    """
    if settings.endpoints.host != "sagemaker" and not settings.store_spec.startswith("pinecone:"):
        return ReindexCost()
    place = folder(generation)
    report = (catalog.read_json(f"{place}/end.json") or {}).get("report") or {}
    plan: dict[str, int] = report.get("plan") or {}
    stored = 0
    if report.get("embedded"):
        planned = catalog.read_table(f"{place}/plan.parquet", columns=["op", "chunk_id"])
        inserted = pa.array([], pa.string())
        if planned is not None:
            inserted = planned.filter(pc.equal(planned["op"], Op.INSERT))["chunk_id"].combine_chunks()
        for name in catalog.names(f"{place}/chunks"):
            chunks = catalog.read_table(f"{place}/chunks/{name}", columns=["chunk_id", *KEPT])
            stored += 0 if chunks is None else kept_bytes(chunks.filter(pc.is_in(chunks["chunk_id"], inserted)))
    ended = plan.get(Op.MARK, 0) + plan.get(Op.DELETE, 0)
    return reindex_cost(settings, WorkDone(report.get("embedded", 0), ended, stored, report.get("seconds")))


KEPT = ("row_key", "question", "text", "metadata")
"""Columns of a chunk, beside its id, that a store keeps."""


def kept_bytes(chunks: pa.Table) -> int:
    """Of what a store keeps beside the vectors of these chunks."""
    return sum(pc.sum(pc.binary_length(chunks[name])).as_py() or 0 for name in ("chunk_id", *KEPT))


def pinecone_writes(settings: Settings, found: Work) -> tuple[int, int]:
    """Write units at most, and bytes that stay.

    A request bills a unit for each kilobyte it writes or changes and five at least (docs.pinecone.io, "Understand
    Pinecone cost"). A section is its vector in 4 bytes a number, its texts and its numbers. A record that ends is
    changed by itself: as long as an average section, the least bill where nothing is inserted.
    """
    from ragwright.models import get_model

    dimension = get_model(settings.embedding.model).dimension or 0
    section = 4 * dimension + _METADATA_BYTES
    stored = found.embed_bytes + found.embed * section
    average = stored / found.embed if found.embed else 0
    each = max(_LEAST_WRITE_UNITS, math.ceil(average / _WRITE_UNIT_BYTES))
    units = math.ceil(stored / _WRITE_UNIT_BYTES) + found.end * each
    return max(units, _LEAST_WRITE_UNITS if found.embed else 0), stored


def _embedding(
    spec: EndpointSpec, settings: Settings, found: Work, book: PriceBook
) -> tuple[float | None, str, tuple[str, ...]]:
    """USD, what it runs on, and what to know of that."""
    from ragwright.endpoints.presets import preset_for

    try:
        preset = preset_for(spec, settings)
    except RagwrightError as error:
        return None, "an instance type that is not known", (str(error),)
    name = spec.options.get("instance_type") or (preset.instances[0].type if preset.instances else SERVERLESS)
    notes = tuple(book.notes([name], datetime.now(UTC).date()))
    if not found.embed:
        return 0.0, name, notes
    if found.seconds is None:
        return None, name, (*notes, "no earlier run says how long the embedding takes, so its cost is not known")
    if preset.serverless is not None:
        gigabytes = preset.serverless.memory_mb / 1024
        busy = found.seconds * settings.embedding.concurrency
        return serverless_cost(book.table, memory_gb=gigabytes, seconds=busy), name, notes
    price = book.price(name)
    hourly = None if price is None else price.usd_per_hour * preset.count
    return None if hourly is None else found.seconds / 3600 * hourly, name, notes
