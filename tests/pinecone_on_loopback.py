"""A Pinecone server on this machine, and the environment that sends the SDK to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from emulators.pinecone_server import PineconeServer


@contextmanager
def pinecone_on_loopback() -> Iterator[PineconeServer]:
    """A server without indexes, while the block lasts."""
    with PineconeServer() as server, pytest.MonkeyPatch.context() as environment:
        for name, value in server.environment().items():
            environment.setenv(name, value)
        yield server
