"""The HTML document around a page: it needs no script, fetches nothing, and opens from disk."""

from __future__ import annotations

from ragwright.evaluation.html_style import STYLE
from ragwright.evaluation.markup import Child, Markup, el

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def document(title: str, body: Child) -> str:
    """A whole document with the project's style sheet; the same body gives the same bytes."""
    whole = el(
        "html",
        el(
            "head",
            el("meta", charset="utf-8"),
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("meta", name="color-scheme", content="light dark"),
            el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            el("title", title),
            el("style", Markup(STYLE)),
        ),
        el("body", el("main", body)),
        lang="en",
    )
    return f"<!doctype html>\n{whole}\n"
