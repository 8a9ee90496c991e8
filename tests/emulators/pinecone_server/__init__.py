"""A Pinecone server on this machine for tests: control plane and data plane over HTTP, in memory.

A package of relative imports, so that it is found as `emulators.pinecone_server` and as `pinecone_server` alike.
What it does and does not do is written up in docs/emulators.md.
"""

from __future__ import annotations

from .faults import FAULTS, Faults
from .filters import parse, stored
from .imports import ImportSettings
from .namespaces import Visibility
from .refusals import Refused
from .server import API_KEY, OPERATIONS, READ_ONLY_KEY, PineconeServer

__all__ = [
    "API_KEY",
    "FAULTS",
    "OPERATIONS",
    "READ_ONLY_KEY",
    "Faults",
    "ImportSettings",
    "PineconeServer",
    "Refused",
    "Visibility",
    "parse",
    "stored",
]
