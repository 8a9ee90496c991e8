"""What an embedder is."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from ragwright.documents import Fingerprint
from ragwright.errors import RequestRejected

Vectors = npt.NDArray[np.float32]
"""float32 [n, dimension], rows of length one when the fingerprint says normalised."""

Kind = Literal["document", "query"]


@dataclass(frozen=True)
class TokenVectors:
    """What each token of a text means in that text.

    Attributes:
        vectors: float32 [t, dimension], rows of length one, without special tokens.
        spans: int32 [t, 2], where each token begins and ends in the text, in characters.
    """

    vectors: Vectors
    spans: npt.NDArray[np.int32]


@runtime_checkable
class Embedder(Protocol):
    """Embeds texts; a context manager, safe to call from several threads.

    `embed(texts)[i]` belongs to `texts[i]` and does not depend on the other texts. A text over `max_tokens` is an
    error (`RequestRejected` naming its index), never cut. An empty list gives [0, dimension]. `BadReply` when a
    server's answer has the wrong count, dimension or a value that is not finite. `token_vectors` is None, always, from
    an embedder whose model has no such thing or whose server keeps it to itself.
    """

    fingerprint: Fingerprint
    max_tokens: int

    def embed(self, texts: Sequence[str], *, kind: Kind = "document") -> Vectors:
        """float32 [len(texts), dimension], in the order of `texts`."""

    def token_vectors(self, texts: Sequence[str]) -> list[TokenVectors] | None:
        """What each token of each text means in its text; None if this embedder cannot say."""

    def count_tokens(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        """Tokens of each text as the model counts them, special tokens included: int32 [n]."""

    def close(self) -> None:
        """Give back connections."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class EmbedsAhead(Protocol):
    """An embedder that can be given the next texts before it has done with the last."""

    def embed_each(self, groups: Iterable[Sequence[str]], *, kind: Kind = "document") -> Iterator[Vectors]:
        """The vectors of one group of texts after another, each as `embed` gives them.

        A group is taken, and on its way, before the vectors of the one before it are waited for: two at most. What
        goes wrong with a group is raised in its turn, when those before it have been given out. Closing the iterator
        stops both.
        """


def embed_each(
    embedder: Embedder, groups: Iterable[Sequence[str]], *, kind: Kind = "document"
) -> Generator[Vectors, None, None]:
    """The vectors of one group of texts after another; ahead of the caller by a group if the embedder can be."""
    if isinstance(embedder, EmbedsAhead):
        yield from embedder.embed_each(groups, kind=kind)
    else:
        for texts in groups:
            yield embedder.embed(texts, kind=kind)


def refuse_too_long(tokens: npt.NDArray[np.int32], max_tokens: int) -> None:
    """Raise `RequestRejected` for the first text that has more tokens than the model reads."""
    for index in np.flatnonzero(tokens > max_tokens)[:1]:
        raise RequestRejected(
            f"text {index} has {tokens[index]} tokens, the embedding model reads {max_tokens}",
            hint="Cut it first (ragwright.chunking); nothing is embedded in part.",
        )
