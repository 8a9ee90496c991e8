"""A GGUF file that is small enough to write in a test."""

from __future__ import annotations

import struct
from pathlib import Path


def gguf(path: Path, *, version: int = 3) -> Path:
    """A GGUF file of one layer: 4 heads on 2, width 64, and 1,000 weights in 500 bytes."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    numbers = {"block_count": 1, "attention.head_count": 4, "attention.head_count_kv": 2, "embedding_length": 64}
    pairs = text("general.architecture") + struct.pack("<I", 8) + text("llama")
    for name, value in numbers.items():
        pairs += text(f"llama.{name}") + struct.pack("<II", 4, value)
    pairs += text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")
    pairs += text("tokenizer.ggml.scores") + struct.pack("<IIQ2f", 9, 6, 2, 0.5, 1.5)
    tensor = text("weights") + struct.pack("<IQQIQ", 2, 100, 10, 2, 0)
    header = b"GGUF" + struct.pack("<IQQ", version, 1, len(numbers) + 3) + pairs + tensor
    path.write_bytes(header + bytes(-len(header) % 32) + bytes(500))
    return path
