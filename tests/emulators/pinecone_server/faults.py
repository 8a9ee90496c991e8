"""What may go wrong between a client and Pinecone, switched on by tests."""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from dataclasses import dataclass, field

FAULTS = ("429", "500", "503", "slow", "reset before", "reset after", "partial upsert")
"""Refusals by status; a late reply; the connection reset before or after the request was carried out; a share of an
upsert's records written, then 500."""

WRITES = frozenset({"upsert", "update", "delete", "create_namespace", "delete_namespace"})


@dataclass
class Faults:
    """Which requests go wrong, and how. May be changed at any time.

    Attributes:
        share: Of requests that suffer a fault, by fault (see `FAULTS`); in sum at most 1.
        operations: The only operations that suffer, by their names in `PineconeServer.requests`; None means all.
        retry_after: Seconds in the header of a 429; None sends no header.
        delay: Seconds that a slow reply takes longer.
        part: Share of an upsert that is written before it fails.
        seed: Of the chance.
        suffered: How many requests did, by fault.
    """

    share: dict[str, float] = field(default_factory=dict)
    operations: frozenset[str] | None = None
    retry_after: float | None = 0.1
    delay: float = 0.3
    part: float = 0.5
    seed: int = 0
    suffered: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._next: deque[str] = deque()
        self._lock = threading.Lock()

    def queue(self, *faults: str) -> None:
        """Let the next requests (of `operations`) suffer these, one each; an empty string spares one."""
        self._check(faults)
        with self._lock:
            self._next.extend(faults)

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        with self._lock:
            self._next.clear()
            self.share.clear()

    def draw(self, operation: str) -> str:
        """The fault that a request suffers, or an empty string."""
        self._check(tuple(self.share))
        if self.operations is not None and operation not in self.operations:
            return ""
        with self._lock:
            fault = self._next.popleft() if self._next else self._by_chance()
            if fault == "partial upsert" and operation != "upsert":
                fault = "500"
            if fault:
                self.suffered[fault] += 1
            return fault

    def _by_chance(self) -> str:
        drawn = self._chance.random()
        for fault, share in self.share.items():
            if drawn < share:
                return fault
            drawn -= share
        return ""

    @staticmethod
    def _check(faults: tuple[str, ...]) -> None:
        unknown = set(faults) - {*FAULTS, ""}
        if unknown:
            raise ValueError(f"no such faults: {sorted(unknown)}; there are {FAULTS}")
