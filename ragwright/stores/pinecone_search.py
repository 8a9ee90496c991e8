"""Searching a Pinecone namespace so that the answer is the one other stores give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from ragwright.documents import Match, records_schema
from ragwright.stores import nearest
from ragwright.stores import pinecone_records as wire
from ragwright.stores.pinecone_errors import translated

if TYPE_CHECKING:
    from pinecone import Index

SHOWN = [name for name in records_schema(1).names if name != "vector"]
"""Columns of a record that a match shows."""

_DIGITS = 6  # Pinecone scores in single precision: scores equal to so many decimals are a tie
_NOISE = 1e-5
_MORE = 8  # asked for beyond k, so that ties at the edge are settled by record id
_WITH_METADATA = 100  # at 40 KB each they fit an answer, which is limited to 4 MB
_NO_RECORD = "%"  # `wire_id` leaves no percent sign alone
_MOST = 10_000  # what a query may ask for


class Search(Protocol):
    """One query: the matches of a vector among the records that fulfil a condition, best first."""

    def __call__(self, vector: list[float], *, condition: dict[str, Any], top_k: int, shown: bool) -> list[Any]:
        """Ask; `shown` says whether metadata comes along."""
        ...


def visible_at(as_of: int) -> dict[str, Any]:
    """The condition that a generation sees a record, as a filter."""
    return {"born": {"$lte": int(as_of)}, "died": {"$gt": int(as_of)}}


def nearest_records(
    search: Search, fetch: Callable[[Sequence[str]], pa.Table], query: nearest.Floats, *, k: int, as_of: int
) -> list[Match]:
    """The k visible records nearest to a vector that is not all zeros; ties by record id.

    One query as a rule. Where ties reach beyond what it returned, or scores are so low that records without a direction
    (they score 0) may be among the best, more is asked for: up to the 10,000 that Pinecone returns.
    """
    vector, condition = query.tolist(), visible_at(as_of)
    top_k = min(k + _MORE, _MOST)
    if top_k <= _WITH_METADATA:
        found = search(vector, condition=condition, top_k=top_k, shown=True)
        blank = {match.id for match in found if (match.metadata or {}).get(wire.DIRECTIONLESS) == 1}
        if len(found) < top_k or (_is_settled(found, blank, k) and found[k - 1].score > _NOISE):
            rows = wire.table(((match.id, match.metadata, None) for match in found), _shown_layout(), place="query")
            return records(rows, _scores(found, blank))[:k]
    without_direction = {**condition, wire.DIRECTIONLESS: {"$eq": 1}}
    blank = {match.id for match in search(vector, condition=without_direction, top_k=_MOST, shown=False)}
    while True:
        top_k = min(8 * top_k, _MOST)
        found = search(vector, condition=condition, top_k=top_k, shown=False)
        if len(found) < top_k or top_k == _MOST or _is_settled(found, blank, k):
            break
    scores = _scores(found, blank) | {wire.plain_id(identifier): 0.0 for identifier in blank}
    best = sorted(scores, key=lambda record_id: (-scores[record_id], record_id))[:k]
    return records(fetch(best), {record_id: scores[record_id] for record_id in best})


def records(found: pa.Table, scores: Mapping[str, float]) -> list[Match]:
    """Records as a query's answer has them, best first, ties by record id; those without a score score 0."""
    rows = found.select(SHOWN).to_pylist()
    rows.sort(key=lambda row: (-scores.get(row["record_id"], 0.0), row["record_id"]))
    return [nearest.match(row, scores.get(row["record_id"], 0.0)) for row in rows]


class CaughtUp:
    """Whether queries of a namespace show every write that was acknowledged before this was made.

    Pinecone numbers the writes of a namespace and says with each query up to which number it has got. The number now is
    that of a write that changes nothing: the removal of an id that no record has.
    Where Pinecone gives no numbers, nothing is known, and the answer is yes.
    """

    def __init__(self, index: Index, space: str, dimension: int, *, place: str) -> None:
        from pinecone._internal.adapters.vectors_adapter import extract_response_info

        self._index, self._space, self._place = index, space, place
        self._probe = [1.0, *[0.0] * (dimension - 1)]
        with translated(place):
            # `Index.delete` drops the headers of the reply (pinecone 10.2); this can go when it returns them.
            answer = index._http.post("/vectors/delete", json={"ids": [_NO_RECORD], "namespace": space})
        self._target = extract_response_info(answer).lsn_committed

    def __call__(self) -> bool:
        """Ask; once yes, always yes."""
        if self._target is None:
            return True
        with translated(self._place):
            info = self._index.query(vector=self._probe, top_k=1, namespace=self._space).response_info
        reached = info.lsn_reconciled if info else None
        if reached is None or reached >= self._target:
            self._target = None
        return self._target is None


def _scores(found: Sequence[Any], blank: set[str]) -> dict[str, float]:
    """Record id to score, rounded."""
    return {
        wire.plain_id(match.id): 0.0 if match.id in blank else round(float(match.score), _DIGITS) + 0.0
        for match in found
    }


def _is_settled(found: Sequence[Any], blank: set[str], k: int) -> bool:
    """Whether the k best with a direction stand out from what was not returned."""
    scores = [match.score for match in found if match.id not in blank]
    return len(scores) > k and scores[k - 1] > found[-1].score + _NOISE


def _shown_layout() -> pa.Schema:
    layout = records_schema(1)
    return pa.schema([layout.field(name) for name in SHOWN])
