"""A store that now and then is busy, or loses its answer after it did what was asked."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Self

from ragwright.errors import Throttled, Unavailable
from ragwright.stores import VectorStore

WRITES = {"ensure_space", "upsert", "mark", "delete"}
READS = {"fetch", "scan", "wait_visible"}


class SpoiledStore:
    """A `VectorStore` around another.

    Args:
        store: Does the work.
        chance: Decides which calls are spoiled, and how.
        share: Of calls.
        spoiled: Counts them by fault.
    """

    def __init__(self, store: VectorStore, chance: random.Random, share: float, spoiled: Counter[str]) -> None:
        self._store, self._chance, self._share, self._spoiled = store, chance, share, spoiled

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)
        return partial(self._call, name, call) if name in WRITES | READS else call

    def _call(self, name: str, call: Callable[..., Any], *given: Any, **options: Any) -> Any:
        fault = self._chance.choice(["before", "half-way", "after"]) if self._chance.random() < self._share else ""
        if fault:
            self._spoiled[f"{name} {fault}"] += 1
        if fault == "before":
            raise Throttled("busy on purpose", retry_after=0.01)
        if fault == "half-way" and name in WRITES - {"ensure_space"}:
            space, items, *rest = given
            call(space, items[: len(items) // 2], *rest, **options)
            raise Unavailable("gone on purpose, half-way")
        result = call(*given, **options)
        if fault:
            raise Unavailable("gone on purpose, with the answer")
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()
