"""One language model at several bit widths, to compare them: a GGUF file written again in wider and narrower formats.

    python benchmarks/requantise.py --out widths
    ragwright benchmark agent --model widths/SmolLM2-135M-Instruct.F16.gguf --model widths/...Q8_0.gguf ...

A width above the source's adds no quality, because what the source rounded off is gone; it shows what the width costs
in memory and time. A width below it rounds once more. Formats with blocks of 32 weights are written (F16, Q8_0, Q5_1,
Q5_0, Q4_1, Q4_0); those of 2 or 3 bits come in blocks of 256, into which a row of 576 weights does not go. Below 8
bits, the token embedding keeps the format it has, as is the custom: it is the output layer, too.
"""

from __future__ import annotations

import argparse
import mmap
import struct
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ragwright.endpoints.gguf import GgufHeader, Tensor
from ragwright.errors import ModelError
from ragwright.models import resolve
from ragwright.settings import load_settings

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

BLOCK = 32
KINDS = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8}
"""ggml's numbers of the formats."""
NAMES = {number: name for name, number in KINDS.items()}
BLOCK_BYTES = {"Q4_0": 18, "Q4_1": 20, "Q5_0": 22, "Q5_1": 24, "Q8_0": 34}
FILE_TYPES = {"F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9}
"""What llama.cpp calls a file that is mostly of a format."""


def main() -> int:
    """Write the files and say what they are."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct-q4", help="A name in models.toml, or a .gguf file.")
    parser.add_argument("--out", type=Path, required=True, help="Folder for the files.")
    parser.add_argument("--formats", nargs="+", choices=FILE_TYPES, default=["F16", "Q8_0", "Q5_0", "Q4_0"])
    flags = parser.parse_args()
    source = resolve(flags.model, cache=load_settings().model_folder)["model"]
    flags.out.mkdir(parents=True, exist_ok=True)
    stem = source.stem.partition(".")[0]
    for name in flags.formats:
        path = flags.out / f"{stem}.{name}.gguf"
        error = requantise(source, path, name)
        print(f"{path}  {path.stat().st_size / 1e6:,.0f} MB, error {error:.2%} of the weights' size")
    return 0


def requantise(source: Path, target: Path, name: str) -> float:
    """Write a model's matrices in another format; vectors stay as they are.

    Returns:
        The root mean square of what that changed, as a share of that of the weights.

    Raises:
        ModelError: A tensor is in a format that is not read here, or does not fit into blocks.
    """
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        header = GgufHeader(data)
        fields, _, _ = header.read()
        alignment = int(fields.get("general.alignment", BLOCK))
        head = bytearray(data[: header.tensors_at])
        struct.pack_into("<I", head, header.places["general.file_type"], FILE_TYPES[name])
        described, offset, changed, size = bytearray(), 0, 0.0, 0.0
        draft = target.with_suffix(".weights")
        with draft.open("wb") as weights:
            for tensor in header.tensors:
                kind = _kind(tensor, name)
                encoded = _bytes_of(tensor, header, data)
                if kind != NAMES.get(tensor.kind):
                    values = decode(encoded, NAMES[tensor.kind])
                    encoded = encode(values, kind)
                    changed += float(np.square(decode(encoded, kind) - values, dtype=np.float64).sum())
                    size += float(np.square(values, dtype=np.float64).sum())
                described += _described(tensor, KINDS.get(kind, tensor.kind), offset)
                weights.write(encoded.tobytes())
                weights.write(bytes(-len(encoded) % alignment))
                offset += len(encoded) + -len(encoded) % alignment
        with target.open("wb") as out:
            out.write(head + described)
            out.write(bytes(-(len(head) + len(described)) % alignment))
            out.write(draft.read_bytes())
        draft.unlink()
    return float(np.sqrt(changed / size)) if size else 0.0


def decode(data: Bytes, name: str) -> Floats:
    """The weights that bytes stand for."""
    if name in ("F32", "F16"):
        return data.view(np.float32 if name == "F32" else np.float16).astype(np.float32)
    blocks = data.reshape(-1, BLOCK_BYTES[name])
    scale, rest = blocks[:, :2].copy().view(np.float16).astype(np.float32), blocks[:, 2:]
    if name == "Q8_0":
        return (rest.copy().view(np.int8) * scale).ravel()
    low = np.float32(-8 if name == "Q4_0" else -16)
    shift: Floats | np.float32 = low * scale
    if name.endswith("_1"):
        shift, rest = rest[:, :2].copy().view(np.float16).astype(np.float32), rest[:, 2:]
    high = np.zeros((len(blocks), BLOCK), np.uint8)
    if name.startswith("Q5"):
        high, rest = np.unpackbits(rest[:, :4], axis=1, bitorder="little"), rest[:, 4:]
    codes = np.concatenate([rest & 15, rest >> 4], axis=1) | high << 4
    return (codes * scale + shift).ravel()


def encode(values: Floats, name: str) -> Bytes:
    """Bytes for weights; each block has a scale of its own, and a least value where the format has one."""
    if name in ("F32", "F16"):
        return values.astype(np.float32 if name == "F32" else np.float16).view(np.uint8)
    blocks = values.reshape(-1, BLOCK)
    if name == "Q8_0":
        scale = np.abs(blocks).max(axis=1, keepdims=True) / 127
        codes = np.rint(blocks / _safe(scale)).astype(np.int8).view(np.uint8)
        return np.concatenate([_half(scale), codes], axis=1).ravel()
    levels = 32 if name.startswith("Q5") else 16
    if name.endswith("_1"):
        least = blocks.min(axis=1, keepdims=True)
        scale = (blocks.max(axis=1, keepdims=True) - least) / (levels - 1)
        codes = np.rint((blocks - least) / _safe(scale))
        parts = [_half(scale), _half(least)]
    else:
        # The value that is furthest from zero gets the code 0, which has no opposite.
        furthest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1, keepdims=True), axis=1)
        scale = furthest / -(levels // 2)
        codes = np.floor(blocks / _safe(scale) + levels // 2 + 0.5)
        parts = [_half(scale)]
    whole = np.clip(codes, 0, levels - 1).astype(np.uint8)
    if levels == 32:
        parts.append(np.packbits(whole >> 4, axis=1, bitorder="little"))
    parts.append((whole[:, :16] & 15) | (whole[:, 16:] & 15) << 4)
    return np.concatenate(parts, axis=1).ravel()


def _safe(scale: Floats) -> Floats:
    return np.where(scale == 0, np.float32(1), scale)


def _half(values: Floats) -> Bytes:
    return values.astype(np.float16).view(np.uint8)


def _kind(tensor: Tensor, name: str) -> str:
    """The format a tensor gets; vectors keep their own."""
    own = NAMES.get(tensor.kind)
    if own is None:
        raise ModelError(
            f"tensor {tensor.name!r} has format {tensor.kind}", hint=f"These are read: {', '.join(KINDS)}."
        )
    if len(tensor.shape) < 2 or (tensor.name == "token_embd.weight" and name not in ("F16", "Q8_0")):
        return own
    if tensor.shape[0] % BLOCK:
        raise ModelError(f"rows of {tensor.shape[0]} weights do not fit into blocks of {BLOCK}", place=tensor.name)
    return name


def _bytes_of(tensor: Tensor, header: GgufHeader, data: mmap.mmap) -> Bytes:
    name, count = NAMES[tensor.kind], int(np.prod(tensor.shape))
    size = count * {"F32": 4, "F16": 2}[name] if name in ("F32", "F16") else count // BLOCK * BLOCK_BYTES[name]
    begin = header.data_at + tensor.offset
    return np.frombuffer(data[begin : begin + size], np.uint8)


def _described(tensor: Tensor, kind: int, offset: int) -> bytes:
    name = tensor.name.encode()
    shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
    return struct.pack("<Q", len(name)) + name + shape + struct.pack("<IQ", kind, offset)


if __name__ == "__main__":
    sys.exit(main())
