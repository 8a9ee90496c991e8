"""Feature hashing behind the encoder port: a server that starts at once, for tests and first tries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from ragwright.hashing import hash_embed
from ragwright.models import ModelInfo
from ragwright.serving.runtimes import TokenizedText, TokenStates, Vectors

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class HashingEncoder:
    """Serves `ragwright.hashing.hash_embed`."""

    concurrency = 2
    about: Mapping[str, Any] = MappingProxyType({})
    warnings: tuple[str, ...] = ()

    def __init__(self, info: ModelInfo, tokenizer: Tokenizer) -> None:
        self.dimension, self.max_tokens = info.dimension or 0, info.max_tokens or 0
        self._tokenizer = tokenizer

    def tokenize(self, texts: Sequence[str], *, truncate: bool) -> list[TokenizedText]:
        """Words and punctuation marks."""
        found = []
        for text, encoding in zip(texts, self._tokenizer.encode_batch(list(texts)), strict=True):
            count = len(encoding.ids)
            kept = text[: encoding.offsets[self.max_tokens - 1][1]] if truncate and count > self.max_tokens else text
            found.append(TokenizedText(kept, tuple(encoding.ids), count))
        return found

    def sentence_vectors(self, texts: Sequence[TokenizedText]) -> Vectors:
        """The hashed features of each text."""
        return hash_embed([text.text for text in texts], self.dimension)

    def token_states(self, texts: Sequence[TokenizedText]) -> TokenStates:
        """The hashed features of each word."""
        words = [self._words(text.text) for text in texts]
        rows = hash_embed([word for found in words for word in found], self.dimension)
        return TokenStates(rows.astype(np.float16), [len(found) for found in words])

    def _words(self, text: str) -> list[str]:
        return [text[start:end] for start, end in self._tokenizer.encode(text).offsets]

    def close(self) -> None:
        """Nothing to free."""
