"""Text in Markdown says what it says."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragwright.markdown import block, code, inline, table

EVIL = st.text(st.sampled_from("\\|`<>*_~[]&;lt# \nab!(:/)"), max_size=40)


def read(markdown: str) -> str:
    """What a reader sees of a line that has no markup in it (CommonMark, backslash escapes)."""
    assert not re.search(r"(?<!\\)(\\\\)*[|`<>*_~\[\]&]", markdown), "this is markup"
    return html.unescape(re.sub(r"\\([|`<>*_~\[\]&\\])", r"\1", markdown).replace("&", "&amp;"))


@given(EVIL)
def test_a_line_shows_its_text_and_nothing_is_markup(text: str) -> None:
    assert read(inline(text)) == " ".join(text.split())


@given(EVIL)
def test_code_holds_its_text_however_many_backticks_that_has(text: str) -> None:
    shown = re.fullmatch(r"(`+)(?!`)(.*?)(?<!`)\1", code(text), re.DOTALL)
    assert shown
    inner = shown[2]
    line = " ".join(text.split())
    # CommonMark takes one space off either end where both have one.
    assert line in (inner, inner[1:-1] if inner[:1] == inner[-1:] == " " else inner)
    assert shown[1] not in re.findall("`+", inner)


def test_a_backslash_of_the_text_does_not_undo_an_escape() -> None:
    assert inline(r"\<script>") == r"\\\<script\>"


def test_long_text_is_cut_and_says_so() -> None:
    assert inline("word " * 100, 20) == "word word word wo..."


@pytest.mark.parametrize("text", ["```\nx", "````"])
def test_a_block_outlasts_fences_in_its_text(text: str) -> None:
    fence, *inner, end = block(text).split("\n")
    assert "\n".join(inner) == text
    assert fence == end
    assert fence not in text


@given(st.lists(st.lists(EVIL, min_size=3, max_size=3), max_size=4))
def test_a_table_has_as_many_cells_as_it_was_given(rows: list[list[str]]) -> None:
    lines = table(["a", "b", "c"], rows, numbers=2).split("\n")
    assert len(lines) == 2 + len(rows)
    for line in lines:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 4
