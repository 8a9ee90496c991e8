"""The header of a GGUF file: what the model is, without reading its weights."""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragwright.errors import ConfigurationError

# Value types of the format's metadata, github.com/ggml-org/ggml docs/gguf.md.
_FIXED = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_SUPPORTED = (2, 3)  # version 1 had lengths of 32 bits
_MOST_DIMENSIONS = 4


def read_gguf(path: Path) -> tuple[dict[str, Any], int, int]:
    """Metadata (arrays as their lengths), number of parameters, and bytes of the weights.

    Raises:
        ConfigurationError: It is not a GGUF file of version 2 or 3, or it is damaged.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return GgufHeader(data).read()
    except (OSError, ValueError, struct.error, IndexError, KeyError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"not a readable GGUF file: {error!r}", place=str(path), hint="Fetch the file again."
        ) from error


@dataclass(frozen=True)
class Tensor:
    """A tensor: its dimensions, innermost first, ggml's number of its type, and where it begins among the weights."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


class GgufHeader:
    """A cursor over the mapped file.

    Attributes:
        tensors: Once read, in the order of the file.
        places: Where each value of the metadata begins.
        tensors_at: Where the descriptions of the tensors begin.
        data_at: Where the weights begin.
    """

    def __init__(self, data: mmap.mmap) -> None:
        self.tensors: list[Tensor] = []
        self.places: dict[str, int] = {}
        self.tensors_at = self.data_at = 0
        self._data, self._at = data, 0

    def read(self) -> tuple[dict[str, Any], int, int]:
        """As `read_gguf`; raises what reading a damaged file comes to."""
        if self._data[:4] != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        self._at = 4
        version = self._number("<I")
        if version not in _SUPPORTED:
            raise ValueError(f"version {version} is none of {_SUPPORTED}")
        tensors, pairs = self._number("<Q"), self._number("<Q")
        fields = {}
        for _ in range(pairs):
            name = self._text()
            kind = self._number("<I")
            self.places[name] = self._at
            fields[name] = self._value(kind)
        parameters, self.tensors_at = 0, self._at
        for _ in range(tensors):
            name = self._text()
            dimensions = self._number("<I")
            if dimensions > _MOST_DIMENSIONS:
                raise ValueError(f"a tensor has {dimensions} dimensions")
            shape = tuple(self._number("<Q") for _ in range(dimensions))
            parameters += math.prod(shape)
            self.tensors.append(Tensor(name, shape, self._number("<I"), self._number("<Q")))
        if not parameters:
            raise ValueError("it holds no weights")
        alignment = int(fields.get("general.alignment", 32))
        self.data_at = -(-self._at // alignment) * alignment
        return fields, parameters, len(self._data) - self.data_at

    def _number(self, layout: str) -> Any:
        (value,) = struct.unpack_from(layout, self._data, self._at)
        self._at += struct.calcsize(layout)
        return value

    def _text(self) -> str:
        length = self._number("<Q")
        begin, self._at = self._at, self._at + length
        if self._at > len(self._data):
            raise ValueError("it ends within its header")
        return self._data[begin : self._at].decode("utf-8", "replace")

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            return self._number(_FIXED[kind])
        inner, length = self._number("<I"), self._number("<Q")
        if inner in _FIXED:
            self._at += length * struct.calcsize(_FIXED[inner])
        else:
            for _ in range(length):
                self._value(inner)
        return length
