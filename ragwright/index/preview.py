"""What a re-index would do, found out without writing anything anywhere."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from typing import IO, Any

import pyarrow.compute as pc

from ragwright.embedding import open_embedder
from ragwright.errors import GuardRefused
from ragwright.index.attempt import ReindexRequest, open_catalog, start
from ragwright.index.catalog import Catalog, folder
from ragwright.index.expense import KEPT, kept_bytes
from ragwright.index.plan import Op
from ragwright.index.planning import make_plan
from ragwright.index.reindex import index_fingerprint, quality_rules, stage_source
from ragwright.index.staging import Ledger, chunk_partition
from ragwright.progress import Progress, silent
from ragwright.settings import Settings
from ragwright.sources import open_source
from ragwright.stores import open_store


@dataclass(frozen=True)
class Preview:
    """What would happen.

    Attributes:
        ledger: Every source row.
        embed: Sections to embed; `tokens` of them in all.
        tokens: Tokens to embed.
        end: Records that would no longer be shown.
        keep: Records that would stay as they are.
        new_space: Whether everything is written anew, into a new space.
        seconds: Estimate from the speed of the last run that embedded something; None without one.
        embed_bytes: Of what the store would keep beside the vectors of these sections: texts, ids, metadata.
        quarantined: Quarantined rows by rule.
        notices: What a person should know of the source.
    """

    ledger: Ledger
    embed: int
    tokens: int
    end: int
    keep: int
    new_space: bool
    seconds: float | None
    embed_bytes: int
    quarantined: dict[str, int]
    notices: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        value = asdict(self) | {"estimated_seconds": self.seconds, "notices": list(self.notices)}
        del value["seconds"]
        return value


def preview(settings: Settings, request: ReindexRequest, *, progress: Progress = silent) -> Preview:
    """Plan a re-index. Needs no endpoint and no lease, and leaves no trace.

    Raises:
        SourceError, QualityError, GuardRefused: As the re-index itself would.
    """
    with (
        open_source(request.source, settings.source, progress=progress) as source,
        open_embedder(settings, connect=False) as embedder,
        open_catalog(settings) as catalog,
        open_store(settings.store_spec, retry=settings.retry) as store,
    ):
        made_with, rules = index_fingerprint(settings, embedder), quality_rules(settings, embedder)
        scratch = ScratchCatalog(catalog)
        attempt = start(scratch, store, request, fingerprint=made_with, rules=rules, epoch=0)
        staged = stage_source(attempt, source, embedder, settings, request, data_docs=False, progress=progress)
        for number in range(staged.partitions):
            chunk_partition(attempt, number, embedder, settings.chunking)
        known_space = attempt.space in store.spaces()
        plan = make_plan(attempt, staged.partitions, ask_store=known_space)
        tokens = embed_bytes = 0
        for number in range(staged.partitions):
            chunks = attempt.table(f"chunks/{number:05d}.parquet", columns=["chunk_id", "tokens", *KEPT])
            chunks = chunks.filter(pc.is_in(chunks["chunk_id"], attempt.inserts(number)))
            tokens += pc.sum(chunks["tokens"]).as_py() or 0
            embed_bytes += kept_bytes(chunks)
        counts = plan.counts
        return Preview(
            ledger=staged.ledger,
            embed=counts[Op.INSERT],
            tokens=tokens,
            end=counts[Op.MARK] + counts[Op.DELETE],
            keep=counts[Op.KEEP] + counts[Op.REVIVE] + counts[Op.REWRITE],
            new_space=not attempt.begin.base,
            seconds=_estimate(catalog, tokens),
            embed_bytes=embed_bytes,
            quarantined=staged.quarantined,
            notices=staged.notices,
        )


class ScratchCatalog(Catalog):
    """A catalog whose writes stay in memory, over one that is only read."""

    def __init__(self, below: Catalog) -> None:
        super().__init__(below.location, below.index)
        self._files: dict[str, bytes] = {}

    def create(self, path: str, data: bytes) -> bool:
        """Write to memory a file that is in neither."""
        if self.exists(path):
            return False
        self._files[path] = data
        return True

    def write(self, path: str, data: bytes) -> None:
        """Write to memory."""
        self._files[path] = data

    def write_file(self, path: str, file: IO[bytes]) -> None:
        """Write to memory."""
        file.seek(0)
        self._files[path] = file.read()

    def open(self, path: str) -> IO[bytes] | None:
        """What was written here, else what is below."""
        return io.BytesIO(self._files[path]) if path in self._files else super().open(path)

    def copy(self, path: str, to: str) -> bool:
        """Copy from either to memory."""
        data = self.read(path)
        if data is not None:
            self._files[to] = data
        return data is not None

    def read(self, path: str) -> bytes | None:
        """What was written here, else what is below."""
        return self._files[path] if path in self._files else super().read(path)

    def exists(self, path: str) -> bool:
        """Whether either has it."""
        return path in self._files or super().exists(path)

    def delete(self, path: str) -> None:
        """Refuse: what is below is only read.

        Raises:
            GuardRefused: Always.
        """
        raise GuardRefused(f"a preview removes nothing, not even {path!r}")


def _estimate(catalog: Catalog, tokens: int) -> float | None:
    """Seconds for so many tokens, at the speed of the newest run that embedded any."""
    for number in reversed(catalog.attempts()):
        report = (catalog.read_json(f"{folder(number)}/end.json") or {}).get("report", {})
        if report.get("tokens") and report.get("seconds"):
            return round(tokens * float(report["seconds"]) / float(report["tokens"]), 1)
    return None
