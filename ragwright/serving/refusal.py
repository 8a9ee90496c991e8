"""A request that will not be answered, and why."""

from __future__ import annotations


class Refused(Exception):
    """Ends a request with an HTTP status; the contract decides how the body looks.

    Args:
        status: HTTP status.
        reason: For the caller; holds nothing of the request but its numbers and field names.
        kind: `error_type` in the words of the contract's original.
    """

    def __init__(self, status: int, reason: str, kind: str = "validation") -> None:
        super().__init__(status, reason, kind)
        self.status, self.reason, self.kind = status, reason, kind
