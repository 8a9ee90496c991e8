"""Whether what is served is the model: vectors of a fixed sample, held against those of the fp32 original."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files as packaged
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ragwright.errors import ModelError
from ragwright.serving.runtimes import Encoder, Vectors


@cache
def sample() -> tuple[str, ...]:
    """Ten texts, from one word to more than a model takes: questions, answers, an error message, another language."""
    return tuple(json.loads(packaged("ragwright.models").joinpath("sample.json").read_text(encoding="utf-8")))


def sample_vectors(encoder: Encoder) -> Vectors:
    """What an encoder makes of the sample: float32 [10, d]; texts are cut at `max_tokens`."""
    return encoder.sentence_vectors(encoder.tokenize(sample(), truncate=True))


def least_cosine(found: Vectors, expected: Vectors) -> float:
    """Of each vector to the one it should be, the least; NaN if a vector is not finite or has no direction."""
    one, other = found.astype(np.float64), expected.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    with np.errstate(invalid="ignore"):
        return float((np.einsum("nd,nd->n", one, other) / lengths).min())


def read_vectors(path: Path, *, dimension: int) -> Vectors:
    """Vectors of the sample, float32 [10, d], from a .npy file.

    Raises:
        ModelError: The file cannot be read or holds something else.
    """
    try:
        vectors: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ModelError(f"not a .npy file: {error}.", place=str(path)) from error
    expected = (len(sample()), dimension)
    if vectors.shape != expected or vectors.dtype.kind != "f":
        raise ModelError(
            f"holds {vectors.dtype} {vectors.shape}, not floating-point {expected}.",
            place=str(path),
            hint="Make it with benchmarks/reference_vectors.py.",
        )
    return vectors.astype(np.float32, copy=False)
