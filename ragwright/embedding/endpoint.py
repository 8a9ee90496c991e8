"""Embedding through an endpoint."""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from ragwright.documents import Fingerprint
from ragwright.embedding import wire
from ragwright.embedding.port import Kind, TokenVectors, Vectors, refuse_too_long
from ragwright.endpoints import Endpoint
from ragwright.errors import (
    BadReply,
    ConfigurationError,
    EndpointError,
    NoSuchOperation,
    PayloadTooLarge,
    RagwrightError,
    RequestRejected,
)
from ragwright.model_settings import EmbeddingSettings
from ragwright.models import ModelInfo
from ragwright.models.token_counts import TokenCounts
from ragwright.retry import ONCE, RetryPolicy

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

log = logging.getLogger(__name__)

# Quantised and half-precision models give a text a slightly different vector beside other texts.
_SAME_TEXT = 0.97
_OUT_OF_MEMORY = ("out of memory", "outofmemory", "bad_alloc")

Tokens = npt.NDArray[np.int32]
Batch = npt.NDArray[np.int64]
"""Indices into the caller's texts."""
Reply = list[tuple[Batch, Vectors]]
"""Vectors for some of the caller's texts; several pairs where a request was halved."""


@dataclass(eq=False)
class _Group:
    """Texts of one call on their way.

    Attributes:
        texts: The caller's.
        tokens: Of each.
        batches: A request for each; none if a text is too long.
        again: Which text is embedded once more by itself.
        stop: No further request is sent once this is set.
        replies: Of each batch, where they have been handed to other threads.
        reply_again: Likewise, of that text by itself.
        after: The group that is on its way behind this one.
    """

    texts: Sequence[str]
    tokens: Tokens
    batches: Sequence[Batch]
    again: int | None
    stop: threading.Event = field(default_factory=threading.Event)
    replies: Sequence[Future[Reply]] = ()
    reply_again: Future[Reply] | None = None
    after: _Group | None = None

    def follow(self, before: _Group) -> None:
        """Come to nothing if the group before this one fails, or has failed."""
        before.after = self
        if before.stop.is_set():
            self.stop.set()

    def fail(self) -> None:
        """Send nothing more of this group, nor of the one behind it."""
        self.stop.set()
        if self.after:
            self.after.stop.set()

    def end(self) -> None:
        """Send nothing more."""
        self.stop.set()
        for future in (*self.replies, *filter(None, [self.reply_again])):
            future.cancel()


class EndpointEmbedder:
    """Embeds texts through an endpoint, several requests at a time, each filled by a budget of tokens.

    Texts travel sorted by length, so that little padding is computed, and come back in the caller's order. A request
    the server finds too large is halved until it fits. A request that failed for good stops the others. One document of
    each call is embedded twice, to find out about servers that lose the order of texts.

    Args:
        endpoint: Where the model runs; closed with the embedder.
        model: The model it runs.
        tokenizer: The model's own, neither padding nor truncating.
        settings: Size and number of requests.
        text_format: What is embedded, as `chunking.text_format` names it.
        retry: For each request by itself, so that a busy moment costs no other request's vectors.

    Raises:
        ConfigurationError: The model is not an embedding model, or the contract does not go with it.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        model: ModelInfo,
        tokenizer: Tokenizer,
        settings: EmbeddingSettings,
        *,
        text_format: str = "",
        retry: RetryPolicy = ONCE,
    ) -> None:
        if model.dimension is None or model.max_tokens is None:
            raise ConfigurationError(f"{model.name!r} is not an embedding model: its task is {model.task!r}")
        if endpoint.contract == "hf-feature-extraction" and model.pooling == "none":
            raise ConfigurationError(
                f"replies of {endpoint.contract!r} need pooling, and {model.name!r} names none",
                hint="Give the model a `pooling` in models.toml, or use the contract 'tei'.",
            )
        self.fingerprint = Fingerprint(
            model=model.name,
            revision=model.revision,
            pooling=model.pooling,
            normalised=model.normalised,
            dimension=model.dimension,
            text_format=text_format,
        )
        self.max_tokens = model.max_tokens
        self._endpoint, self._model, self._tokenizer, self._settings = endpoint, model, tokenizer, settings
        self._counts = TokenCounts(tokenizer)
        self._batch_tokens, self._retry = settings.batch_tokens, retry
        if token_bytes := wire.reply_bytes_of_a_token(endpoint.contract, model.dimension):
            # What limits a request limits the reply as well, on SageMaker for one.
            self._batch_tokens = min(self._batch_tokens, endpoint.max_payload_bytes // token_bytes)
        self._gives_tokens = wire.gives_tokens(endpoint.contract, model)
        # Until a server has shown that it sends arrays, it is taken for one that sends JSON.
        self._bytes_of_a_number = wire.BYTES_OF_A_FLOAT
        self._pool = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="embed")

    def embed(self, texts: Sequence[str], *, kind: Kind = "document") -> Vectors:
        """float32 [len(texts), dimension], in the order of `texts`."""
        group = self._group(texts, kind)
        if len(group.batches) > 1:
            self._begin(group)
        return self._vectors(group)

    def embed_each(self, groups: Iterable[Sequence[str]], *, kind: Kind = "document") -> Iterator[Vectors]:
        """See `EmbedsAhead`."""
        under_way: deque[_Group] = deque()
        try:
            for texts in groups:
                group = self._group(texts, kind)
                for before in under_way:
                    group.follow(before)
                under_way.append(group)
                self._begin(group)
                if len(under_way) > 1:
                    yield self._vectors(under_way.popleft())
            while under_way:
                yield self._vectors(under_way.popleft())
        finally:
            for group in under_way:
                group.end()

    def token_vectors(self, texts: Sequence[str]) -> list[TokenVectors] | None:
        """What each token of each text means in its text; None where the contract or the server has no such thing."""
        if not self._gives_tokens or not texts:
            return [] if self._gives_tokens else None
        encoded = self._tokenizer.encode_batch(list(texts))
        tokens = np.fromiter(map(len, encoded), np.int32, len(encoded))
        refuse_too_long(tokens, self.max_tokens)
        limit = self._endpoint.max_payload_bytes // (self.fingerprint.dimension * self._bytes_of_a_number)
        batches = plan_batches(tokens, max_tokens=limit, max_texts=self._settings.batch_texts)
        found: dict[int, Vectors] = {}
        try:
            for batch, vectors in zip(
                batches, self._pool.map(lambda batch: self._ask_tokens(texts, tokens, batch), batches), strict=True
            ):
                found |= zip(batch.tolist(), vectors, strict=True)
        except NoSuchOperation as error:
            log.info("%s gives no token vectors; answers do without: %s", self._place, error)
            self._gives_tokens = False
            return None
        return [_without_special(encoding, found[index]) for index, encoding in enumerate(encoded)]

    def count_tokens(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        """Tokens of each text, special tokens included: int32 [n]."""
        return self._counts(texts)

    def close(self) -> None:
        """Give back connections; requests on their way are not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._endpoint.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _group(self, texts: Sequence[str], kind: Kind) -> _Group:
        """Texts, and how they will be asked for; one that is too long is an error when it is the group's turn."""
        tokens = self.count_tokens(texts)
        fit = bool((tokens <= self.max_tokens).all())
        limits = {"max_tokens": self._batch_tokens, "max_texts": self._settings.batch_texts}
        numbered = self._endpoint.contract == "openai-embeddings"
        checked = self._settings.check_order and kind == "document" and not numbered and len(texts) > 1
        return _Group(
            texts,
            tokens,
            plan_batches(tokens, **limits) if fit else [],
            random.randrange(len(texts)) if checked else None,  # noqa: S311 - a sample, not a secret
        )

    def _begin(self, group: _Group) -> None:
        """Have the group's requests sent as soon as those before them leave room."""
        group.replies = [self._pool.submit(self._send, group, batch) for batch in group.batches]
        if group.again is not None and group.batches:
            group.reply_again = self._pool.submit(self._send, group, np.array([group.again]))

    def _vectors(self, group: _Group) -> Vectors:
        """The group's vectors once all are there; the first error stops what has not been sent."""
        refuse_too_long(group.tokens, self.max_tokens)
        vectors = np.empty((len(group.texts), self.fingerprint.dimension), np.float32)
        try:
            sent = (future.result() for future in as_completed(group.replies))
            for reply in sent if group.replies else map(partial(self._send, group), group.batches):
                for batch, found in reply:
                    vectors[batch] = found
            if group.again is not None:
                again = group.reply_again
                [(_, alone)] = again.result() if again else self._send(group, np.array([group.again]))
                self._check_order(group, vectors[group.again], alone[0])
        finally:
            group.end()
        return vectors

    def _send(self, group: _Group, batch: Batch) -> Reply:
        """One request, or as many as the server makes of it by finding it too large."""
        tokens, stop = group.tokens, group.stop

        def send_once() -> Reply:
            if stop.is_set():
                return []
            try:
                return self._ask(group.texts, tokens, batch)
            except RagwrightError as error:
                if not _is_too_large(error):
                    raise
                if len(batch) == 1:
                    raise RequestRejected(
                        f"text {batch[0]} ({tokens[batch[0]]} tokens) is too large for the endpoint: {error.what}",
                        place=self._place,
                        hint="Lower chunking.max_tokens, or give the endpoint a larger limit.",
                    ) from error
            half = len(batch) // 2
            return self._send(group, batch[:half]) + self._send(group, batch[half:])

        try:
            return self._retry.call(send_once, sleep=stop.wait)
        except BaseException:
            # Here, in the thread that failed: it would take up the next batch before the caller hears of it.
            group.fail()
            raise

    def _check_order(self, group: _Group, among_others: Vectors, alone: Vectors) -> None:
        """Compare two vectors of one text: in a reply without indices nothing else tells a lost order.

        Raises:
            EndpointError: They are not of the same text.
        """
        one, other = among_others.astype(np.float64), alone.astype(np.float64)
        cosine = one @ other / (np.linalg.norm(one) * np.linalg.norm(other) or 1.0)
        if cosine < _SAME_TEXT:
            raise EndpointError(
                f"text {group.again} of {len(group.texts)} has another vector when it is embedded by itself "
                f"(cosine {cosine:.3f}): the endpoint does not answer in the order of the request",
                place=self._place,
                hint="Use an endpoint that numbers its vectors (embedding.contract openai-embeddings), or set "
                "embedding.batch_texts to 1; then rebuild with `ragwright reindex --full`.",
            )

    def _ask(self, texts: Sequence[str], tokens: Tokens, batch: Batch) -> Reply:
        contract, model = self._endpoint.contract, self._model
        reply = self._endpoint.invoke(wire.request(contract, [texts[index] for index in batch], model))
        try:
            return [(batch, wire.read(contract, reply, tokens[batch].tolist(), model))]
        except BadReply as error:
            raise BadReply(error.what, place=error.place or self._place, hint=error.hint) from error

    def _ask_tokens(self, texts: Sequence[str], tokens: Tokens, batch: Batch) -> list[Vectors]:
        operation, payload = wire.token_request(self._endpoint.contract, [texts[index] for index in batch])
        reply = self._retry.call(lambda: self._endpoint.invoke(payload, operation=operation))
        self._bytes_of_a_number = wire.BYTES_OF_A_HALF if isinstance(reply, np.ndarray) else wire.BYTES_OF_A_FLOAT
        try:
            return wire.read_tokens(reply, tokens[batch].tolist(), self._model)
        except BadReply as error:
            raise BadReply(error.what, place=error.place or self._place, hint=error.hint) from error

    @property
    def _place(self) -> str:
        return f"endpoint {self._endpoint.name}"


def plan_batches(tokens: Tokens, *, max_tokens: int, max_texts: int) -> list[Batch]:
    """Group texts of like length, the longest first.

    Args:
        tokens: Of each text.
        max_tokens: Texts of a batch times its longest, which is what a model computes with padding. A text over it
            goes alone.
        max_texts: Texts of a batch.
    """
    order = np.argsort(-tokens, kind="stable")
    batches = []
    while len(order):
        size = min(max_texts, max(1, max_tokens // max(1, int(tokens[order[0]]))))
        batches.append(order[:size])
        order = order[size:]
    return batches


def _is_too_large(error: RagwrightError) -> bool:
    # Containers report memory with 400, 424 or 500; what they all have is the runtime's own words.
    return isinstance(error, PayloadTooLarge) or any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def _without_special(encoding: Encoding, vectors: Vectors) -> TokenVectors:
    """Leave out the tokens that stand for no text."""
    own = np.flatnonzero(np.asarray(encoding.special_tokens_mask) == 0)
    spans = np.asarray(encoding.offsets, np.int32).reshape(-1, 2)
    if len(own) and len(own) == own[-1] + 1 - own[0]:  # the rule; a part need not be copied
        return TokenVectors(vectors[own[0] : own[-1] + 1], spans[own[0] : own[-1] + 1])
    return TokenVectors(vectors[own], spans[own])
