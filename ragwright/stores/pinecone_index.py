"""One Pinecone index: which one, making it, and the connections to it."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl

from ragwright.errors import ConfigurationError, StoreError, TimedOut
from ragwright.stores.pinecone_errors import API_KEY, translated

if TYPE_CHECKING:
    from pinecone import Index, Pinecone

log = logging.getLogger(__name__)

VECTORS = "_values"
"""The schema field that the vector API addresses; an index with this one alone is a vector index."""

_INDEX_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,43}[a-z0-9])?")
_PLACE = re.compile(r"[a-z0-9][a-z0-9-]*")
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 5.0


@dataclass(frozen=True)
class PineconeSpec:
    """Which index, and what it is made of should it have to be made.

    Attributes:
        index: Its name in the project that the API key belongs to.
        cloud: `aws`, `gcp` or `azure`.
        region: A region of that cloud in which Pinecone runs serverless indexes.
        deletion_protection: Whether Pinecone refuses to delete the index until this is switched off there.
    """

    index: str
    cloud: str = "aws"
    region: str = "us-east-1"
    deletion_protection: bool = False

    @classmethod
    def parse(cls, where: str) -> Self:
        """Read `INDEX?cloud=aws&region=us-east-1&deletion_protection=enabled`; all but the name may be left out.

        Raises:
            ConfigurationError: A name or a parameter is wrong.
        """
        name, _, query = where.partition("?")
        given = parse_qsl(query, keep_blank_values=True)
        values = dict(given)
        if not _INDEX_NAME.fullmatch(name):
            raise ConfigurationError(
                f"{name!r} cannot name a Pinecone index.", hint="Use 1 to 45 lower-case letters, digits and '-'."
            )
        unknown = values.keys() - {"cloud", "region", "deletion_protection"}
        if unknown or len(values) < len(given):
            raise ConfigurationError(
                f"{where!r} has a parameter that is unknown or given twice.",
                hint="Use cloud, region and deletion_protection, each once.",
            )
        for name_of, value in values.items():
            if not _PLACE.fullmatch(value):
                raise ConfigurationError(f"{name_of}={value!r} makes no sense for a Pinecone index.")
        protection = values.pop("deletion_protection", "disabled")
        if protection not in ("enabled", "disabled"):
            raise ConfigurationError(f"deletion_protection={protection!r} is neither 'enabled' nor 'disabled'.")
        return cls(index=name, deletion_protection=protection == "enabled", **values)

    def __str__(self) -> str:
        """As messages name it."""
        return f"pinecone:{self.index}"


class PineconeIndex:
    """The connections to one index; made when first needed. Threads may share them.

    The API key is read from the environment when it is needed and is kept by the SDK's client alone.

    Args:
        spec: Which index.
        timeout: Seconds that a request may be silent.
        connections: Requests under way at a time, at most.
        ready_timeout: Seconds to wait for an index that was made just now.
    """

    def __init__(self, spec: PineconeSpec, *, timeout: float, ready_timeout: float) -> None:
        self._spec = spec
        self._timeout = timeout
        self._ready_timeout = ready_timeout
        self._lock = threading.RLock()
        self._client: Pinecone | None = None
        self._opened: tuple[Index, int] | None = None

    def open(self) -> tuple[Index, int] | None:
        """The index and the dimension of its vectors; None if there is no such index."""
        with self._lock:
            if self._opened is None:
                found = self._describe()
                if found is not None:
                    self._opened = self._connect(found)
            return self._opened

    def create(self, dimension: int) -> tuple[Index, int]:
        """The index and its dimension; made first if it is not there, and ready.

        Raises:
            StoreError: Pinecone cannot make it, or the index of that name is of another kind.
            TimedOut: It is not ready in time.
        """
        from pinecone.errors.exceptions import ConflictError

        opened = self.open()
        if opened is not None:
            return opened
        with self._lock:
            log.info("creating Pinecone index %r in %s, %s", self._spec.index, self._spec.cloud, self._spec.region)
            with translated(str(self._spec)):
                try:
                    self._control().indexes.create(
                        name=self._spec.index,
                        schema={"fields": {VECTORS: _field(dimension)}},
                        deployment={
                            "deployment_type": "managed",
                            "cloud": self._spec.cloud,
                            "region": self._spec.region,
                        },
                        deletion_protection="enabled" if self._spec.deletion_protection else "disabled",
                        tags={"made-by": "ragwright"},
                        timeout=-1,
                    )
                except ConflictError:
                    log.info("somebody else has just created Pinecone index %r", self._spec.index)
            self._opened = self._connect(self._await_ready())
            return self._opened

    def close(self) -> None:
        """Give back the connections."""
        with self._lock:
            if self._opened is not None:
                self._opened[0].close()
            if self._client is not None:
                self._client.close()
            self._opened = self._client = None

    def _control(self) -> Pinecone:
        if self._client is None:
            if not os.environ.get(API_KEY):
                raise ConfigurationError(
                    f"there is no Pinecone API key for {str(self._spec)!r}.", hint=f"Set {API_KEY} in the environment."
                )
            from pinecone import Pinecone, RetryConfig

            with translated(str(self._spec)):
                # The SDK takes the key and, if it is set, the control plane's address from the environment.
                self._client = Pinecone(timeout=self._timeout, retry_config=RetryConfig(max_retries=0))
        return self._client

    def _describe(self) -> Any:
        from pinecone.errors.exceptions import NotFoundError

        with translated(str(self._spec)):
            try:
                return self._control().indexes.describe(self._spec.index)
            except NotFoundError:
                return None

    def _await_ready(self) -> Any:
        deadline = time.monotonic() + self._ready_timeout
        pause = _FIRST_PAUSE
        while True:
            found = self._describe()
            if found is not None and found.status.ready and found.host:
                return found
            state = "missing" if found is None else found.status.state
            if state in ("InitializationFailed", "Terminating", "Disabled"):
                raise StoreError(
                    f"the index is in state {state!r}.", place=str(self._spec), hint="See Pinecone's console for why."
                )
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimedOut(
                    f"after {self._ready_timeout:g} s the index is not ready, its state is {state!r}.",
                    place=str(self._spec),
                    hint="Run the same again: it goes on waiting.",
                )
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _connect(self, found: Any) -> tuple[Index, int]:
        vectors = found.schema.fields.get(VECTORS)
        if vectors is None:
            raise StoreError(
                f"the index has fields {sorted(found.schema.fields)}; it is not one of plain vectors.",
                place=str(self._spec),
                hint="Name another index; one that is not there is created.",
            )
        if str(vectors.metric) != "cosine":
            raise StoreError(
                f"the index measures by {str(vectors.metric)!r}, not by cosine.",
                place=str(self._spec),
                hint="Name another index; one that is not there is created.",
            )
        if not found.host:
            found = self._await_ready()
        with translated(str(self._spec)):
            index = self._control().index(host=found.host)
        _send_once(index)
        return index, int(vectors.dimension)


def _field(dimension: int) -> dict[str, Any]:
    return {"type": "dense_vector", "dimension": dimension, "metric": "cosine"}


def _send_once(index: Index) -> None:
    """Turn off the SDK's own retries: it would wait unseen, past a writer's lease, beneath `ragwright.retry`.

    Pinecone 10.2 hands `retry_config` to the control plane only, so this reaches inside; it can go when
    `Pinecone.index` takes one. A test counts the requests.
    """
    from dataclasses import replace

    from pinecone._internal.config import RetryConfig
    from pinecone._internal.constants import DATA_PLANE_API_VERSION
    from pinecone._internal.http_client import HTTPClient

    config = replace(index._config, retry_config=RetryConfig(max_retries=0))
    index._http.close()
    index._http = HTTPClient(config, DATA_PLANE_API_VERSION)
