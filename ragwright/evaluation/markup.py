"""HTML and SVG by construction: whatever is not markup made here is text, and is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import TypeAlias

# Characters that no HTML document may hold; half a surrogate pair cannot even be written.
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_VOID = frozenset(("br", "hr", "meta"))


class Markup(str):
    """A piece of a page, made by `el` or known to be harmless."""

    __slots__ = ()


Child: TypeAlias = "str | int | float | Iterable[Child] | None"


def el(name: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """An element. Children that are not `Markup` are text; attributes that are None are left out.

    `class_` stands for `class`, other underscores for hyphens: `el("td", text, class_="n", aria_label="Rank")`.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{given}>" if name in _VOID else f"<{name}{given}>{together(*children)}</{name}>")


def together(*children: Child) -> Markup:
    """Pieces one after the other; None is nothing, a list its items."""
    return Markup("".join(map(_rendered, children)))


def _rendered(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return str(child)
    if isinstance(child, (str, int, float)):
        return _escaped(child)
    return together(*child)


def _escaped(value: str | float) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return html.escape(_FORBIDDEN.sub("\ufffd", text), quote=True)
