"""Where a text may be cut, and how good a place that is.

Every pattern here runs in linear time: no part of one can match what its neighbour matches, and none restarts inside a
run it has just given up on. Answers of 200,000 dots, blanks or letters are as quick as prose.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from enum import IntEnum


class Cut(IntEnum):
    """The places between two pieces of a text, worst first."""

    INSIDE_CLUSTER = 0  # between a letter and its accent
    CLUSTER = 1  # between two characters, as a reader sees them, of one word
    WORD = 2
    SENTENCE = 3
    LINE = 4  # of a list or a table, too
    PARAGRAPH = 5


# Full stops of scripts that write no space after them.
_CLOSE_STOPS = "。！？｡"  # noqa: RUF001 - these are the characters meant
# Stops that need a space behind them; Arabic, Urdu, Devanagari and Armenian ones included.
_STOPS = ".!?…؟۔।॥։"  # noqa: RUF001
_CLOSERS = "\"'”’»)\\]}」』）"  # noqa: RUF001
_NEWLINES = "\n\r\v\f\x85\u2028\u2029"

_WORD = re.compile(rf"[^\s{_CLOSE_STOPS}]+[{_CLOSE_STOPS}]*[{_CLOSERS}]*\s*|[{_CLOSE_STOPS}]+[{_CLOSERS}]*\s*|\s+")
# Of a text without such stops: the same words, found in half the time.
_PLAIN_WORD = re.compile(r"\S+\s*|\s+")
# They begin with a set of characters, for which the engine can look ahead, and then ask what came before.
_SENTENCE_ENDS = (
    re.compile(rf"[{_STOPS}](?<![{_STOPS}]{{2}})[{_STOPS}]*+[{_CLOSERS}]*+\s++(?![a-z])"),
    re.compile(rf"[{_CLOSE_STOPS}](?<![{_CLOSE_STOPS}]{{2}})[{_CLOSE_STOPS}]*+[{_CLOSERS}]*+\s*+"),
)
_PLAIN_SENTENCE_END = re.compile(r"""[.!?](?<![.!?]{2})[.!?]*+["')\]}]*+\s++(?![a-z])""")
# What a full stop belongs to when it does not end a sentence: an initial, a usual abbreviation, an item's number.
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"'])(?:[A-Z]|e\.g|i\.e|cf|vs|approx|incl|resp|Dr|Mr|Mrs|Ms|Prof|St|Figs?|Eq|Sec|Nos?|Vol|pp|al)$"
    r"|(?:^|\n)[ \t]*\d{1,3}$"
)
_LINE_END = re.compile(rf"[{_NEWLINES}]\s*+")
# WordPiece reads a word of more than 100 characters as one unknown token: nothing of it would be in the vector.
_LONGEST_WORD = 100
# ASCII and general punctuation and Han characters are words of their own to every tokenizer of that kind.
_IN_WORD = r"\s!-/:-@\[-`{-~\u2000-\u206f\u3000-\u303f\u3400-\u9fff\uf900-\ufaff\uff00-\uffef"
_LONG_WORD = re.compile(rf"(?<![^{_IN_WORD}])[^{_IN_WORD}]{{{_LONGEST_WORD + 1},}}")

_ZERO_WIDTH_JOINER = "\u200d"


def words(text: str) -> list[str]:
    """The words of a text, each with the blanks after it; joined they are the text.

    Sentences of scripts without spaces come as one word each.
    """
    return (_PLAIN_WORD if text.isascii() else _WORD).findall(text)


def strong_cuts(text: str) -> Iterator[tuple[int, Cut]]:
    """Offsets at which a sentence, line or paragraph has ended, blanks included; every one ends a word of `words`.

    A place may come more than once; the strongest comes last.
    """
    for ends in (_PLAIN_SENTENCE_END,) if text.isascii() else _SENTENCE_ENDS:
        for match in ends.finditer(text):
            start = match.start()
            if text[start] != "." or not _ABBREVIATION.search(text, max(0, start - 8), start):
                yield match.end(), Cut.SENTENCE
    for match in _LINE_END.finditer(text):
        breaks = match.group().replace("\r\n", "\n")
        blank_line = sum(breaks.count(newline) for newline in _NEWLINES) > 1 or "\u2029" in breaks
        yield match.end(), Cut.PARAGRAPH if blank_line else Cut.LINE


def clusters(text: str) -> list[str]:
    """The characters of a text as a reader sees them, near enough to the rules of Unicode's UAX 29.

    Kept whole: combining marks, joined emoji, skin tones, flags, conjoining Hangul, CR LF.
    """
    if text.isascii() and "\r\n" not in text:
        return list(text)
    starts = []
    before, flag_letters = "", 0
    for at, here in enumerate(text):
        is_flag_letter = "\U0001f1e6" <= here <= "\U0001f1ff"
        joined = (here >= "\u0300" and _extends(here)) or before == _ZERO_WIDTH_JOINER or before + here == "\r\n"
        if not before or not (joined or (is_flag_letter and flag_letters % 2)):
            starts.append(at)
        flag_letters = flag_letters + 1 if is_flag_letter else 0
        before = here
    return [text[start:stop] for start, stop in zip(starts, [*starts[1:], len(text)], strict=True)]


def _extends(character: str) -> bool:
    return (
        unicodedata.category(character) in {"Mn", "Me", "Mc"}
        or character == _ZERO_WIDTH_JOINER
        or "\U0001f3fb" <= character <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= character <= "\U000e007f"  # tags of regional flags
        or "\u1160" <= character <= "\u11ff"  # vowels and finals of a Hangul syllable
    )


def has_long_word(text: str) -> bool:
    """Whether the text has a word over 100 characters."""
    blank = -1
    while len(text) - blank - 1 > _LONGEST_WORD:
        # Most texts are done with in a tenth of the steps that their words would be.
        blank = text.rfind(" ", blank + 1, blank + 1 + _LONGEST_WORD + 1)
        if blank < 0:
            return len(max(text.split(), key=len, default="")) > _LONGEST_WORD
    return False


def breakable(text: str) -> str:
    """The text with a blank inside every word over 100 characters, so that a tokenizer reads all of it."""
    return _LONG_WORD.sub(_broken, text) if has_long_word(text) else text  # few have one; the pattern takes longer


def _broken(match: re.Match[str]) -> str:
    characters = clusters(match.group())
    half = _LONGEST_WORD // 2
    return " ".join("".join(characters[at : at + half]) for at in range(0, len(characters), half))
