"""Markdown by construction: whatever is not markup made here is text, and stays on its line and in its cell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# What begins or ends markup inside a line, the backslash among them: text may hold a `\<`.
_MARKUP = re.compile(r"([\\|`<>*_~\[\]&])")


def inline(text: str, limit: int = 240) -> str:
    """Text as one line that says what it says: no markup that would render, not too long."""
    return _MARKUP.sub(r"\\\1", _line(text, limit))


def code(text: str, limit: int = 1_000) -> str:
    """Text as code within a line; not for cells of a table, where a pipe would end it."""
    line = _line(text, limit)
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    pad = " " if line[:1] in ("`", "") or line[-1:] == "`" else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def block(text: str) -> str:
    """Lines as they stand."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int = 0) -> str:
    """A table of texts.

    Args:
        head: Names of the columns. In a browser more than about six are cut off at the right.
        rows: As many cells each.
        numbers: How many of the last columns are numbers, to be aligned at the right.
    """
    rule = ["---"] * (len(head) - numbers) + ["---:"] * numbers
    lines = [map(inline, head), rule, *(map(inline, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _line(text: str, limit: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 3].rstrip() + "..."
