"""How long work tells how far it is, without knowing who watches: a terminal bar, a Prefect artifact, nobody."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as work advances."""

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Note that `done` of `total` units (None: not known yet) of `what` are finished."""


def silent(what: str, done: int, total: int | None) -> None:
    """Tell nobody."""
