"""JSON as language models write it: other quotes, Python's literals, commas and brackets missing or too many."""

from __future__ import annotations

import re
from typing import Any

_DEEPEST = 24
_CLOSERS = {'"': '"', "'": "'", "`": "`", "\u201c": "\u201d", "\u2018": "\u2019"}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "/": "/", "\\": "\\", '"': '"', "'": "'", "`": "`"}
_LITERALS = {"true": True, "false": False, "null": None, "none": None, "undefined": None}
_BLANK = re.compile(r"(?:\s|//[^\n]*)*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,300})(?:\.\d{1,300})?(?:[eE][+-]?\d{1,4})?")
# What follows a quote that ends a string; any other quote stands inside it.
_AFTER_KEY = re.compile(r"\s{0,200}[:=]")
_KEY = r"[A-Za-z_][\w -]{0,40}"
_AFTER_VALUE = re.compile(
    rf"\s{{0,200}}(?:[}}\]]|$|```|[,;][\s,;]{{0,200}}(?:[}}\]]|[\"'`\u201c]?{_KEY}[\"'`\u201d]?\s{{0,20}}[:=]|$)"
    rf"|[\"'`\u201c]{_KEY}[\"'`\u201d]\s{{0,20}}[:=])"
)
_DANGLING = re.compile(r"(?:[\"'`]?\s{0,20}[}\]`]{1,20}|[\"'])\s{0,20}\Z")
_AFTER_ITEM = re.compile(r"\s{0,200}(?:[\],]|$|```)")


def read_value(text: str, at: int) -> tuple[Any, int]:
    """The value that starts at a place, and where it ends. Never raises; what nothing closes ends with the text."""
    return _read(text, at, 0, _AFTER_VALUE)


def _read(text: str, at: int, depth: int, after: re.Pattern[str]) -> tuple[Any, int]:
    at = _skip(text, at)
    sign = text[at : at + 1]
    if sign == "{" and depth < _DEEPEST:
        return _object(text, at + 1, depth + 1)
    if sign == "[" and depth < _DEEPEST:
        return _array(text, at + 1, depth + 1)
    if text.startswith(('"""', "'''"), at):
        end = text.find(sign * 3, at + 3)
        return (text[at + 3 :], len(text)) if end < 0 else (text[at + 3 : end], end + 3)
    if sign in _CLOSERS and sign:
        return _string(text, at + 1, _CLOSERS[sign], after)
    return _bare(text, at)


def _object(text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    while True:
        at = _skip(text, at)
        sign = text[at : at + 1]
        if not sign or sign == "}":
            return found, at + 1
        if sign in {",", ";"}:
            at += 1
            continue
        if sign in "]":
            return found, at
        if sign in _CLOSERS:
            key, at = _string(text, at + 1, _CLOSERS[sign], _AFTER_KEY)
        else:
            start = at
            while at < len(text) and text[at] not in ":,{}[]\n\"'":
                at += 1
            key = text[start:at].strip()
            at = max(at, start + 1) if text[at : at + 1] not in (":", ",", "}") else at
        at = _skip(text, at)
        if text[at : at + 1] in (":", "="):
            at += 2 if text.startswith("=>", at) else 1
            value, at = _read(text, at, depth, _AFTER_VALUE)
            found.setdefault(key, value)


def _array(text: str, at: int, depth: int) -> tuple[list[Any], int]:
    found: list[Any] = []
    while True:
        at = _skip(text, at)
        sign = text[at : at + 1]
        if not sign or sign == "]":
            return found, at + 1
        if sign == ",":
            at += 1
            continue
        if sign == "}":
            return found, at
        start = at
        value, at = _read(text, at, depth, _AFTER_ITEM)
        at = max(at, start + 1)
        found.append(value)


def _string(text: str, at: int, closer: str, after: re.Pattern[str]) -> tuple[str, int]:
    pieces: list[str] = []
    while at < len(text):
        sign = text[at]
        if sign == "\\":
            piece, at = read_escape(text, at + 1)
            pieces.append(piece)
        elif (sign == closer or (sign == '"' and closer in "\u201d`")) and after.match(text, at + 1):
            return "".join(pieces), at + 1
        else:
            end = at + 1
            while end < len(text) and text[end] not in "\\\"'`\u201d\u2019":
                end += 1
            pieces.append(text[at:end])
            at = end
    # Nothing closed it: what belongs to the object around it is no part of the text.
    whole = "".join(pieces)
    return whole[:-64] + _DANGLING.sub("", whole[-64:]), at


def read_escape(text: str, at: int) -> tuple[str, int]:
    """What stands for an escape whose backslash is before a place, and where it ends."""
    sign = text[at : at + 1]
    if sign == "u":
        digits = text[at + 1 : at + 5]
        if re.fullmatch(r"[0-9a-fA-F]{4}", digits):
            return _pair(text, at + 5, int(digits, 16))
        return "u", at + 1
    if sign == "\n":
        return "\n", at + 1
    return _ESCAPES.get(sign, "\\" + sign), at + 1


def _pair(text: str, at: int, code: int) -> tuple[str, int]:
    """Two escapes that stand for one character outside the first 65,536; a lone half stands for none."""
    if 0xD800 <= code < 0xDC00:
        other = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})").match(text, at)
        if other:
            return chr(0x10000 + ((code - 0xD800) << 10) + (int(other[1], 16) - 0xDC00)), other.end()
    return ("\ufffd" if 0xD800 <= code < 0xE000 else chr(code)), at


def _bare(text: str, at: int) -> tuple[Any, int]:
    """A number, a literal, or a text whose quotes are missing: up to a comma, bracket or line end outside brackets."""
    start, open_brackets = at, 0
    while at < len(text):
        sign = text[at]
        if sign == "(":
            open_brackets += 1
        elif sign == ")":
            open_brackets = max(0, open_brackets - 1)
        elif sign in "}]\n" or (sign == "," and not open_brackets):
            break
        at += 1
    word = text[start:at].strip().rstrip("\"'`")
    if word.casefold() in _LITERALS:
        return _LITERALS[word.casefold()], at
    if _NUMBER.fullmatch(word):
        return (float(word) if any(c in word for c in ".eE") else int(word)), at
    return word, at


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at
