"""The wire contracts of embedding endpoints: what is sent, and what an honest reply looks like.

- `tei` (Text Embeddings Inference, and SageMaker's container of it): one vector a text.
- `hf-feature-extraction` (the Hugging Face inference container): one vector a token, padding included; texts become
  vectors here.
- `openai-embeddings`: one vector a text, each with the index of its text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ragwright.embedding.port import Vectors
from ragwright.endpoints import Contract
from ragwright.errors import BadReply, ConfigurationError
from ragwright.models import ModelInfo

Floats = npt.NDArray[np.floating[Any]]

# A float as JSON writers print float32 values widened to float64, with its comma.
BYTES_OF_A_FLOAT = 22

# Of token states in an array.
BYTES_OF_A_HALF = 2

# Where a contract's servers give a vector a token: the operation beside the one they are called for.
TOKEN_OPERATIONS: Mapping[Contract, str] = {"tei": "embed_all", "hf-feature-extraction": ""}


def reply_bytes_of_a_token(contract: Contract, dimension: int) -> int:
    """How much each token, padding included, adds to a reply; 0 where replies do not grow with the texts' length."""
    return dimension * BYTES_OF_A_FLOAT if contract == "hf-feature-extraction" else 0


def request(contract: Contract, texts: Sequence[str], model: ModelInfo) -> dict[str, Any]:
    """The payload that asks for these texts.

    Raises:
        ConfigurationError: The contract is not one of an embedding endpoint.
    """
    match contract:
        case "tei":
            # A server that would cut a text shall say so instead.
            return {"inputs": list(texts), "truncate": False, "normalize": model.normalised}
        case "hf-feature-extraction":
            return {"inputs": list(texts)}
        case "openai-embeddings":
            return {"model": model.hub or model.name, "input": list(texts), "encoding_format": "float"}
    raise ConfigurationError(f"{contract!r} is not the contract of an embedding endpoint", hint="Use 'tei'.")


def gives_tokens(contract: Contract, model: ModelInfo) -> bool:
    """Whether servers of this contract tell what each token means."""
    return contract in TOKEN_OPERATIONS and model.pooling != "none"


def token_request(contract: Contract, texts: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The operation that gives a vector a token, and its payload."""
    payload: dict[str, Any] = {"inputs": list(texts)}
    return TOKEN_OPERATIONS[contract], payload | ({"truncate": False} if contract == "tei" else {})


def read_tokens(reply: Any, tokens: Sequence[int], model: ModelInfo) -> list[Vectors]:
    """The vectors of each text's tokens, special tokens included, each of length one: float32 [t, dimension] a text.

    Args:
        reply: Decoded JSON, or an array with a row for each token of all texts.
        tokens: Of each text, special tokens included, as the model counts.
        model: Its dimension.

    Raises:
        BadReply: Count, dimension or a value is wrong.
    """
    if isinstance(reply, np.ndarray):
        rows = np.split(_all_tokens(reply, sum(tokens)), np.cumsum(tokens)[:-1])
        return [_whole_tokens(vectors, model) for vectors in rows]
    return [
        _whole_tokens(_unpadded(per_token, count), model)
        for per_token, count in zip(_list(reply, len(tokens)), tokens, strict=True)
    ]


def read(contract: Contract, reply: Any, tokens: Sequence[int], model: ModelInfo) -> Vectors:
    """The vectors in a reply, in the order of the request.

    Args:
        contract: How to read it.
        reply: Decoded JSON.
        tokens: Of each text, special tokens included, as the model counts.
        model: Its dimension, pooling and normalisation.

    Returns:
        float32 [len(tokens), dimension].

    Raises:
        BadReply: Count, order, dimension or a value is wrong.
    """
    match contract:
        case "hf-feature-extraction":
            pooled = [
                _pool(per_token, count, model.pooling)
                for per_token, count in zip(_list(reply, len(tokens)), tokens, strict=True)
            ]
            vectors = np.stack(pooled) if len({len(vector) for vector in pooled}) == 1 else np.empty((0, 0))
        case "openai-embeddings":
            vectors = _array(_in_order(reply, len(tokens)), axes=2)
        case _:
            vectors = _array(_list(reply, len(tokens)), axes=2)
    if vectors.shape[1] != model.dimension:
        raise BadReply(
            f"vectors have {vectors.shape[1]} dimensions, {model.name!r} has {model.dimension}",
            hint="Check that the endpoint runs the model that embedding.model names.",
        )
    if not np.isfinite(vectors).all():
        raise BadReply(f"vector {np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0]} of the reply is not finite")
    return _normalised(vectors) if model.normalised else vectors.astype(np.float32)


def _list(reply: Any, count: int) -> list[Any]:
    if not isinstance(reply, list):
        raise BadReply(f"expected a list of vectors, got {_shown(reply)}")
    if len(reply) != count:
        raise BadReply(f"{len(reply)} vectors came back for {count} texts")
    return reply


def _in_order(reply: Any, count: int) -> list[Any]:
    items = reply.get("data") if isinstance(reply, dict) else None
    try:
        by_index = {item["index"]: item["embedding"] for item in _list(items, count)}
        return [by_index[index] for index in range(count)]
    except (KeyError, TypeError) as error:
        raise BadReply(f"the reply does not have one `index` and `embedding` for each of {count} texts") from error


def _array(values: Any, *, axes: Literal[2, 3]) -> Floats:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise BadReply("the vectors of a reply differ in length") from error
    # numpy would read null as NaN and a string as its number; neither is what a server should send.
    if array.dtype.kind not in "fi" or array.ndim != axes:
        raise BadReply(f"expected numbers in {axes} nested lists, got {_shown(values)}")
    return array


def _pool(per_token: Any, count: int, pooling: str) -> Floats:
    """One vector from those of a text's tokens."""
    vectors = _unpadded(per_token, count)
    pooled: Floats = vectors[0] if pooling == "cls" else vectors.mean(axis=0, dtype=np.float64)
    return pooled


def _whole_tokens(vectors: Floats, model: ModelInfo) -> Vectors:
    """A text's token vectors at length one, in memory of their own; one text fits into the processor's cache."""
    unit: Floats = vectors.astype(np.float32 if vectors.dtype == np.float16 else np.float64)
    lengths = np.sqrt(np.vecdot(unit, unit))
    if vectors.shape[1] != model.dimension or not np.isfinite(lengths).all():
        raise BadReply(f"token vectors are not {model.dimension} finite numbers each", hint="Check the endpoint.")
    if (lengths < 1e-6).any():
        raise BadReply(f"vector {int(lengths.argmin())} of a text's tokens has no length", hint="Check the endpoint.")
    np.multiply(unit, 1 / lengths[:, np.newaxis], out=unit)
    return unit.astype(np.float32, copy=False)


def _all_tokens(rows: Floats, count: int) -> Floats:
    if rows.shape[0] != count:
        raise BadReply(
            f"{rows.shape[0]} token vectors came back for texts of {count} tokens together",
            hint="The server counts otherwise: check that the endpoint runs the model that embedding.model names.",
        )
    return rows


def _unpadded(per_token: Any, count: int) -> Floats:
    """A text's token vectors; padding stands at the end and is left out."""
    vectors = _token_vectors(per_token)
    if len(vectors) < count:
        raise BadReply(
            f"{len(vectors)} token vectors came back for a text of {count} tokens",
            hint="The server cuts texts the model could read; lower chunking.max_tokens or configure the server.",
        )
    return vectors[:count]


def _token_vectors(per_token: Any) -> Floats:
    # The container wraps each text in a list of one when it does not batch.
    wrapped = isinstance(per_token, list) and len(per_token) == 1 and isinstance(per_token[0], list)
    if wrapped and per_token[0] and isinstance(per_token[0][0], list):
        per_token = per_token[0]
    return _array(per_token, axes=2)


def _normalised(vectors: Floats) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if (lengths < 1e-6).any():
        raise BadReply(f"vector {int(lengths.argmin())} of the reply has no length")
    unit: Vectors = (vectors / lengths).astype(np.float32)
    return unit


def _shown(value: Any) -> str:
    text = repr(value)[:200] if not isinstance(value, list) else f"a list of {len(value)}"
    return f"{type(value).__name__} {text}"
