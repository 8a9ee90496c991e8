"""Weights out of a .safetensors file: a JSON header with every tensor's place, then the bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ragwright.errors import ModelError

Tensors = Mapping[str, npt.NDArray[np.float32]]

_FLOATS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def read_tensors(path: Path) -> Tensors:
    """Every floating-point tensor by name, as float32; tensors of other kinds hold no weights and are left out.

    float32 tensors are views of the mapped file, so only what is used is read.

    Raises:
        ModelError: The file is not of this format, or is cut short.
    """
    try:
        content = np.memmap(path, dtype=np.uint8, mode="r")
        begin = 8 + int.from_bytes(content[:8].tobytes(), "little")
        header = json.loads(content[8:begin].tobytes())
        return {
            name: _tensor(content[begin:], entry)
            for name, entry in header.items()
            if name != "__metadata__" and entry["dtype"] in _FLOATS
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"not a safetensors file: {error}.", place=str(path), hint="Fetch it again, or name another file."
        ) from error


def _tensor(content: npt.NDArray[np.uint8], entry: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    start, end = entry["data_offsets"]
    values: npt.NDArray[Any] = content[start:end].view(_FLOATS[entry["dtype"]]).reshape(entry["shape"])
    if entry["dtype"] == "BF16":  # the upper half of a float32
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32, copy=False)
