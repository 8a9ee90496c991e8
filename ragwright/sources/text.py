"""Opening a text file in the encoding it is said to have, and saying which one it seems to have if that fails."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import TextIO

from ragwright.errors import ConfigurationError, SourceError

# UTF-32 first: its little-endian mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 64 * 1024
_BLOCK = 1024 * 1024


def open_text(path: Path, place: str, encoding: str, *, newline: str) -> TextIO:
    r"""Open for reading; a byte order mark is skipped. Decoding errors surface while reading: see `undecodable`.

    Args:
        path: The file.
        place: Its name in errors.
        encoding: What the settings say it is.
        newline: As `open` takes it: `""` leaves every kind of line end alone, `"\n"` ends lines at LF only.

    Raises:
        SourceError: The file's first bytes say that it has another encoding.
        ConfigurationError: There is no such encoding.
    """
    codec = _codec(encoding)
    with path.open("rb") as file:
        head = file.read(_SAMPLE)
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    if marked and not codec.startswith(marked):
        raise _mismatch(place, encoding, f"begins with the byte order mark of {marked.upper()} at byte 0", marked)
    if not marked and not codec.startswith(("utf-16", "utf-32")) and (wide := _looks_wide(head)):
        at = head.index(0)
        raise _mismatch(place, encoding, f"has a zero at byte {at} and at every other byte, like {wide.upper()}", wide)
    if marked == codec == "utf-8":
        codec = "utf-8-sig"
    return path.open(encoding=marked if marked in {"utf-16", "utf-32"} else codec, newline=newline)


def undecodable(path: Path, place: str, encoding: str) -> SourceError:
    """The error for a file that does not decode: where the first bad byte is and what the file looks like."""
    decoder = codecs.getincrementaldecoder(_codec(encoding))("strict")
    offset, line = 0, 1
    with path.open("rb") as file:
        while True:
            block = file.read(_BLOCK)
            pending = len(decoder.getstate()[0])
            try:
                line += decoder.decode(block, final=not block).count("\n")
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                at = offset - pending + error.start
                around = error.object[max(0, error.start - 12) : error.start + 12]
                likely = "cp1252" if any(0x80 <= byte < 0xA0 for byte in error.object) else "latin-1"
                return _mismatch(
                    f"{place}, line {line}",
                    encoding,
                    f"cannot be decoded at byte {at}: {bytes(around)!r}",
                    likely if _codec(encoding) == "utf-8" else None,
                )
            if not block:
                return SourceError(f"changed while it was read as {encoding}", place=place, hint="Try again.")
            offset += len(block)


def _codec(encoding: str) -> str:
    try:
        info = codecs.lookup(encoding)
        "".encode(encoding)
    except LookupError as error:
        raise ConfigurationError(
            f"there is no text encoding {encoding!r}",
            place="source.encoding",
            hint="Use a name that Python knows, such as utf-8, utf-16, latin-1 or cp1252.",
        ) from error
    return info.name.replace("_", "-").removesuffix("-sig")


def _looks_wide(head: bytes) -> str | None:
    """UTF-16 without a mark: in Western text every other byte is zero. A few stray zeros are not enough."""
    even, odd = head[0::2], head[1::2]
    if odd.count(0) > 0.4 * len(odd) and even.count(0) < 0.1 * len(even):
        return "utf-16-le"
    if even.count(0) > 0.4 * len(even) and odd.count(0) < 0.1 * len(odd):
        return "utf-16-be"
    return None


def _mismatch(place: str, encoding: str, finding: str, likely: str | None) -> SourceError:
    hint = "Save the file as UTF-8"
    if likely:
        hint += f', or set source.encoding = "{likely}" (RAGWRIGHT_SOURCE__ENCODING={likely}), which it looks like'
    return SourceError(f"is not {encoding}: {finding}", place=place, hint=f"{hint}.")
