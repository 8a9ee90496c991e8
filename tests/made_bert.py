"""A BERT encoder that is small enough to make in a test: random weights, its own tokenizer, a models.toml."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

WIDTH, LAYERS, HEADS, TOKENS = 32, 2, 4, 64
CONFIG = {
    "model_type": "bert",
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "layer_norm_eps": 1e-12,
}


def weights(seed: int = 1) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {}

    def matrix(name: str, *shape: int) -> None:
        found[name] = random.normal(0, 0.3, shape).astype(np.float32)

    def norm(name: str) -> None:
        matrix(f"{name}.bias", WIDTH)
        found[f"{name}.weight"] = random.normal(1, 0.1, WIDTH).astype(np.float32)

    def dense(name: str, to: int, of: int) -> None:
        matrix(f"{name}.weight", to, of)
        matrix(f"{name}.bias", to)

    for name, rows in (("word", 256), ("position", 80), ("token_type", 2)):
        matrix(f"embeddings.{name}_embeddings.weight", rows, WIDTH)
    norm("embeddings.LayerNorm")
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            dense(f"{name}.attention.{part}", WIDTH, WIDTH)
        norm(f"{name}.attention.output.LayerNorm")
        dense(f"{name}.intermediate.dense", 4 * WIDTH, WIDTH)
        dense(f"{name}.output.dense", WIDTH, 4 * WIDTH)
        norm(f"{name}.output.LayerNorm")
    return found


def safetensors(path: Path, tensors: dict[str, np.ndarray], kind: str = "F32") -> Path:
    """Write tensors as F32, F16 or BF16, behind one of integers, which such files often hold too."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    content = np.arange(4, dtype=np.int64).tobytes()
    header["embeddings.position_ids"] = {"dtype": "I64", "shape": [1, 4], "data_offsets": [0, len(content)]}
    for name, values in tensors.items():
        if kind == "BF16":
            piece = (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
        else:
            piece = values.astype({"F32": "<f4", "F16": "<f2"}[kind]).tobytes()
        header[name] = {
            "dtype": kind,
            "shape": list(values.shape),
            "data_offsets": [len(content), len(content) + len(piece)],
        }
        content += piece
    described = json.dumps(header).encode()
    described += b" " * (-len(described) % 8)
    path.write_bytes(len(described).to_bytes(8, "little") + described + content)
    return path


def bert(folder: Path, *, more: str = "") -> Path:
    """Files and a models.toml that names them `tiny`; `more` are further lines of it."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder.mkdir(parents=True, exist_ok=True)
    safetensors(folder / "model.safetensors", weights())
    (folder / "config.json").write_text(json.dumps(CONFIG))
    # A byte is a token, so that every text has some.
    alphabet = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(alphabet, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    files = {"model": "model.safetensors", "config": "config.json", "tokenizer": "tokenizer.json"}
    described = [
        f'[tiny.files.{role}]\nfilename = "{name}"\nsources = [{{ path = "{name}" }}]' for role, name in files.items()
    ]
    (folder / "models.toml").write_text(
        f'[tiny]\ntask = "feature-extraction"\nruntime = "openvino"\npooling = "mean"\ndimension = {WIDTH}\n'
        f"max_tokens = {TOKENS}\n" + "\n".join(described) + f"\n{more}"
    )
    return folder
