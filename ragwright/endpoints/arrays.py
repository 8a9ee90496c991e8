"""Numbers by the million as bytes: NumPy's .npy format (version 1.0) as the body of a reply, in place of JSON.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ragwright.errors import BadReply

if TYPE_CHECKING:
    import numpy.typing as npt

MEDIA_TYPE = "application/x-npy"
ACCEPT = f"{MEDIA_TYPE}, application/json;q=0.9"
"""Asks for an array, and for JSON from a server that knows no arrays."""

_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '<(f[248])', 'fortran_order': False, 'shape': \(([0-9]{1,12}), ([0-9]{1,12})\), \} *\n"
)
_HINT = "Ask again; if it comes again, the server's log may say why."


def accepts_arrays(accept: str) -> bool:
    """Whether a caller's `Accept` header names them."""
    return MEDIA_TYPE in (part.partition(";")[0].strip().lower() for part in accept.split(","))


def write_array(array: npt.NDArray[Any]) -> bytes:
    """The bytes of a .npy file that holds floats [n, d]."""
    import io

    import numpy as np

    header = io.BytesIO()
    rows = np.ascontiguousarray(array)
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(rows))
    return b"".join((header.getvalue(), rows.data))


def read_array(body: bytes, *, place: str) -> npt.NDArray[Any]:
    """The array that bytes of a .npy file hold: little-endian floats [n, d], which cannot be written to.

    Read here and not by `numpy.load`, which evaluates the header and makes room for as much as that promises before
    it looks how much there is.

    Args:
        body: Of a reply.
        place: Where it came from, for the error.

    Raises:
        BadReply: They are something else, or too few or too many.
    """
    import numpy as np

    length = int.from_bytes(body[8:10], "little")
    header = _HEADER.fullmatch(body, 10, 10 + length)
    if not body.startswith(_MAGIC) or header is None:
        raise BadReply(f"the reply, {len(body):,} bytes, is no .npy file of floats in rows", place=place, hint=_HINT)
    dtype, shape = np.dtype(f"<{header[1].decode()}"), (int(header[2]), int(header[3]))
    promised, there = shape[0] * shape[1] * dtype.itemsize, len(body) - header.end()
    if promised != there:
        raise BadReply(
            f"the reply's header promises {shape[0]} x {shape[1]} numbers, {promised:,} bytes; there are {there:,}",
            place=place,
            hint=_HINT,
        )
    return np.frombuffer(body, dtype, offset=header.end()).reshape(shape)
