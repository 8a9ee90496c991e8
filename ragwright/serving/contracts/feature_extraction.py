"""Embedding contracts: Text Embeddings Inference, the Hugging Face container, OpenAI embeddings."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ragwright.serving.contracts.fields import read, read_texts
from ragwright.serving.refusal import Refused
from ragwright.serving.runtimes import Cancelled, Encoder, TokenizedText, TokenStates, Vectors

if TYPE_CHECKING:
    from ragwright.serving.contracts import Handler

TEI_BATCH = 32
OPENAI_BATCH = 2048
HUGGING_FACE_BATCH = 512

# Digits after the point in a reply: the error is below float32's own, and a number takes half the bytes.
_DECIMALS = 8


def tei(encoder: Encoder) -> Handler:
    """`POST /embed` of Text Embeddings Inference: `inputs`, `normalize` (true), `truncate` (false)."""

    def handle(payload: Mapping[str, Any], cancelled: Cancelled) -> Any:
        normalize = read(payload, "normalize", bool, True)
        if payload.get("dimensions") is not None:
            raise Refused(400, "`dimensions` is not supported by this model")
        tokenized = _read_tei(encoder, payload)
        if cancelled():
            return []
        vectors = encoder.sentence_vectors(tokenized)
        return _numbers(_normalised(vectors) if normalize else vectors)

    return handle


def tei_tokens(encoder: Encoder) -> Handler:
    """`POST /embed_all` of Text Embeddings Inference: a vector a token, special tokens included, padding not.

    Callers that say they take arrays get one, float16 [tokens of all texts, dimension]; the original has none.
    """

    def handle(payload: Mapping[str, Any], cancelled: Cancelled) -> Any:
        tokenized = _read_tei(encoder, payload)
        return [] if cancelled() else encoder.token_states(tokenized)

    return handle


def _read_tei(encoder: Encoder, payload: Mapping[str, Any]) -> list[TokenizedText]:
    """What both of its routes take: `inputs`, `truncate` (false), `truncation_direction`, `prompt_name`."""
    texts, _ = read_texts(payload, "inputs")
    truncate = read(payload, "truncate", bool, False)
    if read(payload, "truncation_direction", str, "Right").lower() != "right":
        raise Refused(400, "`truncation_direction` other than right is not supported by this server")
    if payload.get("prompt_name") is not None:
        raise Refused(400, "`prompt_name` is not supported by this model")
    if len(texts) > TEI_BATCH:
        raise Refused(413, f"batch size {len(texts)} > maximum allowed batch size {TEI_BATCH}")
    tokenized = encoder.tokenize(texts, truncate=truncate)
    if not truncate:
        _check_length(encoder, tokenized, status=413)
    return tokenized


def hugging_face(encoder: Encoder) -> Handler:
    """The Hugging Face inference toolkit's feature-extraction: a vector a token, padding included.

    Texts of one request are padded to its longest, and the reply does not say where the padding begins: who pools it
    has to count tokens. The original fills the padding with what the model makes of it; here it repeats the last token,
    which spoils a mean as well, so that whoever forgets to count notices it here.
    """

    def handle(payload: Mapping[str, Any], cancelled: Cancelled) -> Any:
        texts, _ = read_texts(payload, "inputs")
        if len(texts) > HUGGING_FACE_BATCH:
            raise Refused(413, f"batch size {len(texts)} > maximum allowed batch size {HUGGING_FACE_BATCH}")
        tokenized = encoder.tokenize(texts, truncate=False)
        _check_length(encoder, tokenized, status=400)
        return [] if cancelled() else _numbers(_padded(encoder.token_states(tokenized)))

    return handle


def openai_embeddings(encoder: Encoder, model: str) -> Handler:
    """`POST /v1/embeddings`: `input`, `encoding_format` (float or base64)."""

    def handle(payload: Mapping[str, Any], cancelled: Cancelled) -> dict[str, Any]:
        texts, _ = read_texts(payload, "input")
        form = read(payload, "encoding_format", str, "float")
        if form not in ("float", "base64"):
            raise Refused(400, "`encoding_format` must be float or base64")
        if read(payload, "dimensions", int, encoder.dimension) != encoder.dimension:
            raise Refused(400, f"`dimensions` must be {encoder.dimension}, the model's own")
        if len(texts) > OPENAI_BATCH:
            raise Refused(413, f"`input` has {len(texts)} texts; at most {OPENAI_BATCH} at once")
        tokenized = encoder.tokenize(texts, truncate=False)
        _check_length(encoder, tokenized, status=400)
        if cancelled():
            return {}
        vectors = _normalised(encoder.sentence_vectors(tokenized))
        found = _numbers(vectors) if form == "float" else [base64.b64encode(row.tobytes()).decode() for row in vectors]
        tokens = sum(text.tokens for text in tokenized)
        return {
            "object": "list",
            "data": [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(found)],
            "model": model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }

    return handle


def _check_length(encoder: Encoder, texts: list[TokenizedText], *, status: int) -> None:
    for i, text in enumerate(texts):
        if text.tokens > encoder.max_tokens:
            place = f" (text {i})" if len(texts) > 1 else ""
            raise Refused(
                status, f"`inputs` must have less than {encoder.max_tokens} tokens. Given: {text.tokens}{place}"
            )


def _padded(states: TokenStates) -> npt.NDArray[np.float16]:
    """float16 [n, longest, d]."""
    padded = np.zeros((len(states.lengths), max(states.lengths), states.rows.shape[1]), np.float16)
    for place, rows in zip(padded, states.by_text(), strict=True):
        place[: len(rows)] = rows
        if len(rows):
            place[len(rows) :] = rows[-1]
    return padded


def _normalised(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    normalised: Vectors = vectors / lengths
    return normalised


def _numbers(vectors: npt.NDArray[np.floating[Any]]) -> Any:
    return np.round(vectors.astype(np.float64), _DECIMALS).tolist()
