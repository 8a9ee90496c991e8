"""Having the store index what an attempt wrote, before the candidate is searched hundreds of times and then published."""

from __future__ import annotations

from ragwright.index.attempt import Attempt
from ragwright.stores import Indexer


def index_candidate(attempt: Attempt) -> None:
    """Bring the store's own index up to date where it keeps one; readers of the live generation need not wait.

    Raises:
        LeaseLost: Others may be writing; nothing was done.
    """
    store = attempt.store
    if isinstance(store, Indexer):
        attempt.send(lambda _: store.index(attempt.space))
