"""BERT-like encoders in ONNX on OpenVINO."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ragwright.errors import ModelError
from ragwright.models import ModelInfo
from ragwright.serving.runtimes import TokenizedText, Vectors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Measured on 2 cores: batches of 8 beat 32, and every new shape costs its first time, so there are few of them.
BATCH = 8
PAD_TO = 32


class OpenVinoEncoder:
    """Runs one model; texts are sorted by length into small batches, which saves most of the padding.

    One stream uses all cores. Two requests take turns on it, so that one's tokens are pooled while the other's are
    computed.
    """

    concurrency = 2

    def __init__(self, info: ModelInfo, model: Path, tokenizer: Tokenizer) -> None:
        import openvino
        from tokenizers import Tokenizer as TokenizerClass

        self.dimension, self.max_tokens = info.dimension or 0, info.max_tokens or 0
        self._pooling = info.pooling
        self._tokenizer = tokenizer
        self._cutting = TokenizerClass.from_str(tokenizer.to_str())
        self._cutting.enable_truncation(self.max_tokens)
        try:
            core = openvino.Core()
            self._model = core.compile_model(core.read_model(model), "CPU", {"PERFORMANCE_HINT": "LATENCY"})
        except RuntimeError as error:
            raise ModelError(
                f"OpenVINO cannot load it: {str(error).splitlines()[0]}",
                place=str(model),
                hint="Name an ONNX encoder with inputs input_ids and attention_mask.",
            ) from error
        self._inputs = [port.any_name for port in self._model.inputs]
        self._workers = ThreadPoolExecutor(self.concurrency, thread_name_prefix="openvino")
        self._own = threading.local()

    def tokenize(self, texts: Sequence[str], *, truncate: bool) -> list[TokenizedText]:
        """Word pieces, special tokens included."""
        found = []
        for text, encoding in zip(texts, self._tokenizer.encode_batch(list(texts)), strict=True):
            ids, count = encoding.ids, len(encoding.ids)
            if truncate and count > self.max_tokens:
                ids = self._cutting.encode(text).ids
            found.append(TokenizedText(text, tuple(ids), count))
        return found

    def sentence_vectors(self, texts: Sequence[TokenizedText]) -> Vectors:
        """Pool each text's token vectors; padding has no part in them."""
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)

        def run(batch: list[int]) -> None:
            hidden, mask = self._infer([texts[i].ids for i in batch], length=0)
            vectors[batch] = hidden[:, 0] if self._pooling == "cls" else _mean(hidden, mask)

        order = sorted(range(len(texts)), key=lambda i: len(texts[i].ids))
        list(self._workers.map(run, (order[start : start + BATCH] for start in range(0, len(order), BATCH))))
        return vectors

    def token_vectors(self, texts: Sequence[TokenizedText]) -> Vectors:
        """The last hidden state, padded to the longest text of the request."""
        longest = max(len(text.ids) for text in texts)
        batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
        states = self._workers.map(
            lambda batch: self._infer([text.ids for text in batch], length=longest)[0][:, :longest], batches
        )
        return np.concatenate(list(states))

    def _infer(self, ids: Sequence[Sequence[int]], *, length: int) -> tuple[Vectors, npt.NDArray[np.int64]]:
        """Last hidden state float32 [n, t, d] and attention mask int64 [n, t]; t is at least `length`."""
        longest = max(length, *map(len, ids))
        shape = (len(ids), -(-longest // PAD_TO) * PAD_TO)
        tokens, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for row, text in enumerate(ids):
            tokens[row, : len(text)] = text
            mask[row, : len(text)] = 1
        known = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": np.zeros_like(tokens)}
        request = self._request()
        request.infer({name: known[name] for name in self._inputs})
        return request.get_output_tensor(0).data.copy(), mask

    def _request(self) -> Any:
        """This thread's own inference request: they must not be shared."""
        if not hasattr(self._own, "request"):
            self._own.request = self._model.create_infer_request()
        return self._own.request

    def close(self) -> None:
        """End the threads."""
        self._workers.shutdown()


def _mean(hidden: Vectors, mask: npt.NDArray[np.int64]) -> Vectors:
    """Mean over the tokens that are text: float32 [n, d]."""
    weights = mask.astype(np.float32)
    total: Vectors = np.einsum("ntd,nt->nd", hidden, weights)
    total /= weights.sum(axis=1, keepdims=True)
    return total
