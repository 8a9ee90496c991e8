"""Markup by construction: text stays text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_reader import read_page

from ragwright.evaluation.markup import Markup, el, together


def test_children_are_text_unless_they_are_markup() -> None:
    assert el("p", "a < b & c", el("b", "d")) == "<p>a &lt; b &amp; c<b>d</b></p>"
    assert together(["x", None, 3, [el("i", "y")]]) == "x3<i>y</i>"


def test_attributes_are_named_as_html_names_them() -> None:
    assert el("td", "x", class_="n", data_label='"', lang=None) == '<td class="n" data-label="&quot;">x</td>'
    assert el("meta", charset="utf-8") == '<meta charset="utf-8">'


@pytest.mark.parametrize("sign", ["\x00", "\x1b", "\ud800", "\uffff"])
def test_what_no_page_may_hold_is_replaced(sign: str) -> None:
    assert el("p", sign) == "<p>\ufffd</p>"


@given(st.text())
def test_any_text_comes_back_as_it_was(text: str) -> None:
    page = read_page(el("p", text, title=text))
    [paragraph] = page.all("p")
    # Parsers turn CR into LF, in text and attributes alike; nothing else may change.
    expected = str(Markup(text))
    for found in (paragraph.text, paragraph.attributes["title"]):
        assert found is not None
        assert len(paragraph.children) <= 1
        assert [a for a, b in zip(found, expected, strict=True) if a != b and a not in "\ufffd\n"] == []
