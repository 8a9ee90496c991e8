"""Turning texts into vectors: the port, and its implementations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ragwright.documents import Fingerprint

Vectors = npt.NDArray[np.float32]
"""float32 [n, dimension], rows of length one when the fingerprint says normalised."""


@runtime_checkable
class Embedder(Protocol):
    """Embeds texts; a context manager, safe to call from several threads.

    `embed(texts)[i]` belongs to `texts[i]` and does not depend on the other texts. A text over `max_tokens` is an
    error (`RequestRejected` naming its index), never cut. An empty list gives [0, dimension]. `BadReply` when a
    server's answer has the wrong count, dimension or a value that is not finite.
    """

    fingerprint: Fingerprint
    max_tokens: int

    def embed(self, texts: Sequence[str], *, kind: Literal["document", "query"] = "document") -> Vectors:
        """float32 [len(texts), dimension], in the order of `texts`."""

    def count_tokens(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        """Tokens of each text as the model counts them, special tokens included: int32 [n]."""

    def close(self) -> None:
        """Give back connections."""
