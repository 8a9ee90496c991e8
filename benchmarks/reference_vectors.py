"""The vectors that a BERT encoder's fp32 original gives the sample: what every way of serving it is held against.

Computed by numpy in float64 from the original weights, one text at a time, so that nothing of what is checked has a
part in it: no runtime, no padding, no rounding before the last step, which keeps float16.

    python benchmarks/reference_vectors.py all-minilm-l6-v2 ragwright/models/all-minilm-l6-v2.npy
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ragwright.models import ModelInfo, get_model, load_tokenizer, resolve
from ragwright.serving.runtimes.reference import sample
from ragwright.serving.runtimes.safetensors import Tensors, read_tensors
from ragwright.settings import load_settings

Array = npt.NDArray[np.float64]

_erf = np.vectorize(math.erf, otypes=[np.float64])


def main() -> int:
    """Compute, write, and print what models.toml has to say about the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="name in models.toml, with safetensors and config.json")
    parser.add_argument("file", type=Path, help="the .npy file to write")
    parser.add_argument("--cache", type=Path, default=load_settings().model_folder, help="folder of model files")
    args = parser.parse_args()
    vectors = original_vectors(get_model(args.model), sample(), cache=args.cache)
    np.save(args.file, vectors.astype(np.float16))
    content = args.file.read_bytes()
    print(f'sha256 = "{hashlib.sha256(content).hexdigest()}"\nsize = {len(content):_}')
    return 0


def original_vectors(info: ModelInfo, texts: Sequence[str], *, cache: Path) -> Array:
    """float64 [n, d], pooled and of length one; texts are cut at what the model takes."""
    files = resolve(info.name, cache=cache, roles=("model", "config"))
    tensors, config = read_tensors(files["model"]), json.loads(files["config"].read_text(encoding="utf-8"))
    tokenizer = load_tokenizer(info.name, cache=cache)
    tokenizer.enable_truncation(info.max_tokens or 512)
    states = [hidden_states(tensors, config, tokenizer.encode(text).ids) for text in texts]
    pooled = np.stack([each[0] if info.pooling == "cls" else each.mean(axis=0) for each in states])
    return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


def hidden_states(tensors: Tensors, config: Mapping[str, Any], ids: Sequence[int]) -> Array:
    """The last hidden state of one text, [t, d]: Devlin et al. 2018 (arXiv:1810.04805)."""

    def weight(name: str) -> Array:
        return tensors[name].astype(np.float64)

    def dense(name: str, states: Array) -> Array:
        return states @ weight(f"{name}.weight").T + weight(f"{name}.bias")

    def normed(name: str, states: Array) -> Array:
        centred = states - states.mean(axis=-1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + config["layer_norm_eps"])
        return centred / deviation * weight(f"{name}.weight") + weight(f"{name}.bias")

    def attended(name: str, states: Array) -> Array:
        heads = config["num_attention_heads"]
        query, key, value = (
            dense(f"{name}.{part}", states).reshape(len(ids), heads, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return (weights @ value).transpose(1, 0, 2).reshape(len(ids), -1)

    words = tensors["embeddings.word_embeddings.weight"][list(ids)].astype(np.float64)
    kind = weight("embeddings.token_type_embeddings.weight")[0]
    states = normed("embeddings.LayerNorm", words + weight("embeddings.position_embeddings.weight")[: len(ids)] + kind)
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        mixed = dense(f"{name}.attention.output.dense", attended(f"{name}.attention.self", states))
        states = normed(f"{name}.attention.output.LayerNorm", mixed + states)
        wide = dense(f"{name}.intermediate.dense", states)
        wide *= (1 + _erf(wide / math.sqrt(2))) / 2  # GELU
        states = normed(f"{name}.output.LayerNorm", dense(f"{name}.output.dense", wide) + states)
    return states


if __name__ == "__main__":
    sys.exit(main())
