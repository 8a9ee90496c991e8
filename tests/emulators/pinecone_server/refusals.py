"""How Pinecone says no."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

# Status: gRPC code of the data plane, and its name, which the control plane gives.
_CODES = {
    400: (3, "INVALID_ARGUMENT"),
    401: (16, "UNAUTHENTICATED"),
    403: (7, "FORBIDDEN"),
    404: (5, "NOT_FOUND"),
    405: (12, "UNIMPLEMENTED"),
    409: (6, "ALREADY_EXISTS"),
    413: (11, "OUT_OF_RANGE"),
    414: (11, "OUT_OF_RANGE"),
    429: (8, "RESOURCE_EXHAUSTED"),
    500: (13, "INTERNAL"),
    501: (12, "UNIMPLEMENTED"),
    503: (14, "UNAVAILABLE"),
}


class Refused(Exception):
    """The request is not done; the text is what the reply says."""

    def __init__(self, message: str, *, status: int = 400, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__(message)
        self.message, self.status, self.headers = message, status, headers

    def body(self, *, control_plane: bool) -> dict[str, Any]:
        """The reply: `ErrorResponse` of the control plane's description, `rpcStatus` of the data plane's."""
        number, name = _CODES[self.status]
        if control_plane:
            return {"status": self.status, "error": {"code": name, "message": self.message}}
        return {"code": number, "message": self.message, "details": []}
