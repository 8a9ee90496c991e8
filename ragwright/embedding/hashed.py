"""Embedding without a model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from ragwright.documents import Fingerprint
from ragwright.embedding.port import Kind, TokenVectors, Vectors, refuse_too_long
from ragwright.hashing import REVISION, hash_embed
from ragwright.models import load_tokenizer
from ragwright.models.token_counts import TokenCounts

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class HashingEmbedder:
    """Embeds by hashing words and letters, in this process: deterministic, free, and it knows no meaning.

    Its vectors, fingerprint and token counts are those of an endpoint that runs the model `hashing-DIMENSION`.
    """

    max_tokens = 256

    def __init__(self, dimension: int, *, text_format: str = "") -> None:
        self.fingerprint = Fingerprint(
            model=f"hashing-{dimension}",
            revision=REVISION,
            pooling="none",
            normalised=True,
            dimension=dimension,
            text_format=text_format,
        )

    def embed(self, texts: Sequence[str], *, kind: Kind = "document") -> Vectors:
        """float32 [len(texts), dimension], in the order of `texts`."""
        refuse_too_long(self.count_tokens(texts), self.max_tokens)
        return hash_embed(texts, self.fingerprint.dimension)

    def token_vectors(self, texts: Sequence[str]) -> list[TokenVectors] | None:
        """None: a word hashes to the same wherever it stands."""
        return None

    def count_tokens(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        """Words and punctuation marks of each text: int32 [n]."""
        return self._counts(texts)

    def close(self) -> None:
        """Nothing to give back."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @cached_property
    def _counts(self) -> TokenCounts:
        return TokenCounts(self._tokenizer)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return load_tokenizer(self.fingerprint.model, cache=Path())  # this one is made, not fetched
