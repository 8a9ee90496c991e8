"""The encoder that all peers of one comparison share: one that takes no time, or an endpoint that runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import httpx
from measured import constant_time_vectors

URL, TOKEN = "BENCH_ENDPOINT_URL", "BENCH_ENDPOINT_TOKEN"
TEXTS_PER_REQUEST = 32
"""What Text Embeddings Inference takes at once."""


class Encoder:
    """Turns texts into vectors and counts them; the endpoint's address and key come from the environment."""

    def __init__(self, kind: str) -> None:
        self.embedded = 0
        self._client: httpx.Client | None = None
        if kind == "endpoint":
            key = {"Authorization": f"Bearer {os.environ[TOKEN]}"}
            self._client = httpx.Client(headers=key, timeout=120, trust_env=False)

    def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        """Vectors of unit length [n, dimension]; texts that are too long for an endpoint are cut by it."""
        self.embedded += len(texts)
        if self._client is None:
            vectors: list[list[float]] = constant_time_vectors(texts).tolist()
            return vectors
        found: list[Any] = []
        for start in range(0, len(texts), TEXTS_PER_REQUEST):
            payload = {"inputs": list(texts[start : start + TEXTS_PER_REQUEST]), "truncate": True}
            reply = self._client.post(f"{os.environ[URL]}/invocations", json=payload)
            found += reply.raise_for_status().json()
        return found
