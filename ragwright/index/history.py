"""What an index was and could be again: its generations, and going back to one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from ragwright.errors import CatalogError
from ragwright.index.catalog import Catalog, Entry, Head, folder, now


class GenerationInfo(BaseModel):
    """One generation, for people and programs.

    Attributes:
        generation: Its number.
        live: Whether readers see it now.
        state: `live`, `retained` (can be gone back to), `abandoned` (a rollback went past it), `vacuumed` (its records
            are gone), or how an attempt that did not publish ended: `failed`, `blocked`, `unfinished`.
        published_at: When it first went live; None if it never did.
        reason: Of its publishing, or why the attempt failed or was blocked.
        counts: Ledger and records.
        evaluation: Figures of its evaluation; None if it was not evaluated.
        run_id: Of the run that made it.
        space: Where its records are.
    """

    model_config = ConfigDict(frozen=True)

    generation: int
    live: bool
    state: str
    published_at: datetime | None
    reason: str
    counts: dict[str, int]
    evaluation: dict[str, Any] | None
    run_id: str
    space: str


def generations(catalog: Catalog) -> list[GenerationInfo]:
    """Every attempt, newest first."""
    head = catalog.head()
    published = {entry.generation: entry for entry in reversed(head.entries) if entry.kind == "publish"}
    kept = {entry.generation for entry in head.published()}
    return [
        _describe(catalog, head, number, published.get(number), kept=number in kept)
        for number in reversed(catalog.attempts())
    ]


def _describe(catalog: Catalog, head: Head, number: int, entry: Entry | None, *, kept: bool) -> GenerationInfo:
    begin = catalog.begin_of(number)
    end = catalog.read_json(f"{folder(number)}/end.json") or {}
    evaluation = catalog.read_json(f"{folder(number)}/evaluation.json")
    if entry is None:
        state = str(end.get("outcome", "unfinished"))
    elif number == head.live:
        state = "live"
    elif head.abandoned(number):
        state = "abandoned"
    else:
        state = "retained" if kept else "vacuumed"
    return GenerationInfo(
        generation=number,
        live=number == head.live,
        state=state,
        published_at=entry.at if entry else None,
        reason=entry.reason if entry else _why_not(end),
        counts=entry.counts if entry else {},
        evaluation={key: value for key, value in evaluation.items() if not isinstance(value, (list, dict))}
        if evaluation
        else None,
        run_id=begin.run_id,
        space=begin.space,
    )


def _why_not(end: Mapping[str, Any]) -> str:
    """Why an attempt was not published: what it failed of, or what the gate said."""
    told = end.get("error", {}).get("message") or end.get("report", {}).get("gate", {}).get("reason")
    return str(told or "")


def rollback(catalog: Catalog, to: int | None = None, *, reason: str = "") -> Entry:
    """Let readers see an older generation again. It needs no lease: a run that is under way can no longer publish.

    Args:
        catalog: Of the index.
        to: The generation; by default the one that was live before.
        reason: Why, for the log.

    Raises:
        CatalogError: There is nothing to go back to, or the generation cannot be read any more.
        PublishConflict: A run published at the same moment; look again.
    """
    head = catalog.head()
    targets = {entry.generation: entry for entry in head.published() if entry.generation < head.live}
    target = max(targets, default=None) if to is None else to
    if target is None or target not in targets:
        listed = ", ".join(map(str, sorted(targets))) or "none"
        what = "there is no generation to go back to" if to is None else f"generation {to} cannot be gone back to"
        raise CatalogError(
            f"{what}: live is {head.live or 'none'}, retained before it: {listed}",
            place=f"index {catalog.index!r}",
            hint="`ragwright generations` shows the state of each.",
        )
    entry = Entry(
        sequence=head.sequence + 1,
        kind="rollback",
        generation=target,
        space=targets[target].space,
        fingerprint=targets[target].fingerprint,
        at=now(),
        reason=reason,
        abandons_through=max(catalog.attempts(), default=target),
        counts=targets[target].counts,
    )
    catalog.append(entry)
    return entry
