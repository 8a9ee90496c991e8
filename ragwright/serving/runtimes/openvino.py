"""BERT-like encoders on OpenVINO."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ragwright.errors import ModelError
from ragwright.models import ModelInfo
from ragwright.serving.runtimes import TokenizedText, TokenStates, Vectors
from ragwright.serving.runtimes.options import EncoderOptions
from ragwright.serving.runtimes.remembered import RememberedStates

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Halves = npt.NDArray[np.float16]

# Every new shape costs its first time, so there are few of them; most questions are shorter than any section.
PAD_TO = 32
PAD_QUESTIONS_TO = 16


class OpenVinoEncoder:
    """Runs one model; texts are sorted by length into small batches, which saves most of the padding.

    There is one thread more than streams, so that one batch is pooled while others are computed.

    Args:
        info: What models.toml says.
        model: What `compile_graph` returned for the same options.
        tokenizer: The model's own.
        options: How it runs.
    """

    def __init__(self, info: ModelInfo, model: Any, tokenizer: Tokenizer, options: EncoderOptions) -> None:
        from tokenizers import Tokenizer as TokenizerClass

        self.dimension, self.max_tokens = info.dimension or 0, info.max_tokens or 0
        self.concurrency = options.streams + 1
        self.about: Mapping[str, Any] = options.model_dump()
        self.warnings: tuple[str, ...] = ()
        self._model, self._pooling, self._batch_tokens = model, info.pooling, options.batch_tokens
        self._tokenizer = tokenizer
        self._cutting = TokenizerClass.from_str(tokenizer.to_str())
        self._cutting.enable_truncation(self.max_tokens)
        self._inputs = [port.any_name for port in model.inputs]
        self._halves = len(model.outputs) - 1
        self._workers = ThreadPoolExecutor(self.concurrency, thread_name_prefix="openvino")
        self._own = threading.local()
        self._remembered: RememberedStates | None = None

    def remember(self, states: RememberedStates | None) -> None:
        """Keep there what is computed from now on, and look there first; closed with the encoder."""
        self._remembered = states

    def tokenize(self, texts: Sequence[str], *, truncate: bool) -> list[TokenizedText]:
        """Word pieces, special tokens included."""
        found = []
        for text, encoding in zip(texts, self._tokenizer.encode_batch_fast(list(texts)), strict=True):
            ids, count = encoding.ids, len(encoding.ids)
            if truncate and count > self.max_tokens:
                ids = self._cutting.encode(text).ids
            found.append(TokenizedText(text, tuple(ids), count))
        return found

    def sentence_vectors(self, texts: Sequence[TokenizedText]) -> Vectors:
        """Pool each text's token vectors; padding has no part in them."""
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)

        def run(batch: list[int]) -> None:
            ids = [texts[i].ids for i in batch]
            states, halves, mask = self._infer(ids)
            vectors[batch] = states[:, 0] if self._pooling == "cls" else _mean(states, mask)
            self._keep(ids, halves)

        list(self._workers.map(run, batches([len(text.ids) for text in texts], self._batch_tokens)))
        return vectors

    def token_states(self, texts: Sequence[TokenizedText]) -> TokenStates:
        """The last hidden state of each token: that of the text's embedding, where it is remembered."""
        lengths = [len(text.ids) for text in texts]
        found = TokenStates(np.empty((sum(lengths), self.dimension), np.float16), lengths)
        rows = found.by_text()
        new = [i for i, text in enumerate(texts) if not (self._remembered and self._remembered.get(text.ids, rows[i]))]

        def run(batch: list[int]) -> None:
            ids = [texts[new[i]].ids for i in batch]
            _, halves, _ = self._infer(ids)
            for i, states in zip(batch, halves, strict=True):
                rows[new[i]][:] = states[: lengths[new[i]]]
            self._keep(ids, halves)

        list(self._workers.map(run, batches([lengths[i] for i in new], self._batch_tokens)))
        return found

    def _keep(self, ids: Sequence[Sequence[int]], halves: Halves) -> None:
        if self._remembered:
            for text, states in zip(ids, halves, strict=True):
                self._remembered.put(text, states[: len(text)])

    def _infer(self, ids: Sequence[Sequence[int]]) -> tuple[Vectors, Halves, npt.NDArray[np.int64]]:
        """Last hidden state float32 and float16 [n, t, d], and attention mask int64 [n, t].

        The states are good until this thread's next call.
        """
        shape = (len(ids), _padded(max(map(len, ids))))
        tokens, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for row, text in enumerate(ids):
            tokens[row, : len(text)] = text
            mask[row, : len(text)] = 1
        known = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": np.zeros_like(tokens)}
        request = self._request()
        request.infer({name: known[name] for name in self._inputs}, share_inputs=True)
        return request.get_output_tensor(0).data, request.get_output_tensor(self._halves).data, mask

    def _request(self) -> Any:
        """This thread's own inference request: they must not be shared."""
        if not hasattr(self._own, "request"):
            self._own.request = self._model.create_infer_request()
        return self._own.request

    def close(self) -> None:
        """End the threads, and give back the disk."""
        self._workers.shutdown()
        if self._remembered:
            self._remembered.close()


def read_graph(files: Mapping[str, Path]) -> Any:
    """An `openvino.Model` of an ONNX file, or of the safetensors and config.json of a BERT encoder.

    Its first output is the last hidden state, its last one the same in float16: OpenVINO makes these next to free,
    numpy at more than a hundredth of the inference.

    Raises:
        ModelError: The files are neither.
    """
    import openvino

    from ragwright.serving.runtimes.bert import build_bert

    weights = files["model"]
    if weights.suffix != ".safetensors":
        with _loading(weights):
            return _with_halves(openvino.Core().read_model(weights))
    if "config" not in files:
        raise ModelError(
            "weights alone do not tell the architecture.",
            place=str(weights),
            hint="Name the model's config.json as its file `config` in models.toml.",
        )
    return _with_halves(build_bert(weights, files["config"]))


def _with_halves(graph: Any) -> Any:
    from openvino import opset13 as ops

    states = graph.output(0).get_node().input_value(0)
    graph.add_results([ops.result(ops.convert(states, "f16"))])
    return graph


def compile_graph(graph: Any, options: EncoderOptions, *, place: Path) -> Any:
    """An `openvino.CompiledModel`.

    Raises:
        ModelError: OpenVINO cannot run it here.
    """
    import openvino

    # The hint also says which cores: the fast ones, where there are two kinds.
    streams = {"PERFORMANCE_HINT": "LATENCY"} if options.streams == 1 else {"NUM_STREAMS": options.streams}
    # Where weights are int8, OpenVINO would in f32 quantise activations as well: 0.9988 of cosine instead of 0.9992.
    told = {"INFERENCE_PRECISION_HINT": options.precision, "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", **streams}
    _know_types()
    with _loading(place):
        return openvino.Core().compile_model(graph, "CPU", told)


def _know_types() -> None:
    """Have OpenVINO's bindings make their tables of types while nobody else does.

    They are made at first use, and of two threads that use them first at the same time each waits for the other for
    ever: one holds the interpreter's lock and wants the table, the other makes the table and wants the lock.
    """
    import openvino

    openvino.Tensor(np.zeros(1, np.int64), shared_memory=True).element_type.to_dtype()


@contextmanager
def _loading(place: Path) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ModelError(
            f"OpenVINO cannot load it: {str(error).splitlines()[0]}",
            place=str(place),
            hint="Name an encoder with inputs input_ids and attention_mask, as ONNX or safetensors.",
        ) from error


def batches(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Positions of texts by batch: sorted by length, as many as fit into `tokens` with their padding.

    A batch is full at a power of two, so that texts of the same padded length make batches of the same shape.
    """
    found: list[list[int]] = []
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        room = max(1, tokens // _padded(lengths[i]))
        if len(batch) >= 1 << (room.bit_length() - 1):
            found.append(batch)
            batch = []
        batch.append(i)
    return [*found, batch] if batch else found


def _padded(length: int) -> int:
    return PAD_QUESTIONS_TO if length <= PAD_QUESTIONS_TO else -(-length // PAD_TO) * PAD_TO


def _mean(hidden: Vectors, mask: npt.NDArray[np.int64]) -> Vectors:
    """Mean over the tokens that are text: float32 [n, d]."""
    weights = mask.astype(np.float32)
    total: Vectors = np.einsum("ntd,nt->nd", hidden, weights)
    total /= weights.sum(axis=1, keepdims=True)
    return total
