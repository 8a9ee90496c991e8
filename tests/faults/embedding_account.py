"""What embedding cost over many attempts, killed ones among them, by what they left in the catalog."""

from __future__ import annotations

from ragwright.index.catalog import Catalog, folder
from ragwright.index.plan import Op, Plan
from ragwright.index.writing import acknowledged


class EmbeddingAccount:
    """Follows which records the store has acknowledged, attempt by attempt.

    A chunk is embedded without need if a record of it was acknowledged, and no published generation has ended it since
    and no attempt has planned to delete it.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._seen = 0
        self._standing: dict[str, dict[str, str]] = {}  # by space: record id -> chunk id
        self._plans: dict[int, Plan] = {}
        self.embedded = self.acknowledged = 0

    def planned(self, attempt: int) -> int:
        """How many chunks an attempt was to embed."""
        return len(self._plans[attempt].of(Op.INSERT))

    def take_in(self, embedded: int | None, allowed: int) -> list[str]:
        """Follow the attempts since the last call, all of them over; returns what was embedded without need.

        Args:
            embedded: Texts that were given to the embedder meanwhile; None: nobody counted.
            allowed: How many of them may not have been acknowledged.
        """
        violations = []
        for attempt in self._catalog.attempts(after=self._seen):
            self._seen = attempt
            table = self._catalog.read_table(f"{folder(attempt)}/plan.parquet")
            taken = acknowledged(self._catalog, attempt)
            if embedded is not None and embedded - len(taken) > allowed:
                violations.append(f"attempt {attempt} embedded {embedded} texts, {len(taken)} of them were written")
            self.acknowledged += len(taken)
            self.embedded += len(taken) if embedded is None else embedded
            if table is not None:
                plan = self._plans[attempt] = Plan(table)
                violations += self._follow(attempt, plan, set(taken))
        return violations

    def _follow(self, attempt: int, plan: Plan, taken: set[str]) -> list[str]:
        standing = self._standing.setdefault(self._catalog.begin_of(attempt).space, {})
        inserts = plan.of(Op.INSERT)
        again = set(standing.values()) & set(inserts["chunk_id"].to_pylist())
        published = attempt in {entry.generation for entry in self._catalog.head().entries}
        for record in plan.ids(Op.DELETE) + (plan.ids(Op.MARK) if published else []):
            standing.pop(record, None)
        chunks = zip(inserts["record_id"].to_pylist(), inserts["chunk_id"].to_pylist(), strict=True)
        standing |= {record: chunk for record, chunk in chunks if record in taken}
        return [f"attempt {attempt} plans to embed {len(again)} chunks again"] if again else []
