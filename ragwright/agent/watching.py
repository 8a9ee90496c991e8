"""A reply while it is written: which action it names, and what a user may read of a final answer before its end.

What is shown is never taken back. So only a reply that begins as an action should is read here, and of its text only
what the whole reply will have, whatever comes: up to the first quote that may or may not end it, and without an end
that reading the whole may cut off. The rest comes when the reply is whole (`ragwright.agent.parser`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ragwright.agent.loose_json import read_escape
from ragwright.agent.protocol import FINAL_ANSWER, same_name

# Beyond these, the whole reply decides.
_MOST_BEFORE = 20_000
_MOST_HEAD = 400
_MOST = 90_000

_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL | re.IGNORECASE)
_THINKS = re.compile("<think>", re.IGNORECASE)
# The keys in the order in which they are asked for; the blanks are no more than the parser takes between them.
_NAMED = re.compile(r'\{\s*"action"\s{0,20}:\s*"([^"\\<]{1,80})"\s{0,20},\s{0,20}"action_input"\s{0,20}:')
_TEXT = re.compile(r'\s*"')
# What the parser cuts off where nothing ends a text, and blanks, which it always does.
_UNSURE_END = "\"'`}]"
_PLAIN = re.compile(r'[^"\\<]+')
# An escape that no further character can change: one of the first half of a pair needs all of the second.
_ESCAPE = re.compile(r"\\(?:[^u]|u(?![dD][89abAB]).{4}|u.{10})", re.DOTALL)


class ReplyReader:
    """Reads a reply piece by piece.

    Attributes:
        action: What the reply names, once that is certain.
    """

    def __init__(self) -> None:
        self.action: str | None = None
        self._raw, self._at, self._held, self._read = "", 0, "", 0
        self._step: Callable[[], str] | None = self._head
        self._begun = False

    def read(self, piece: str) -> str:
        """What is new and certain of the text of a final answer."""
        if self._step is None:
            return ""
        self._raw += piece
        return self._step()

    def _head(self) -> str:
        before = _THOUGHT.sub("", self._raw)
        start = before.find("{")
        if start < 0 or _THINKS.search(before, 0, start):
            # An unfinished thought may hold any bracket.
            self._step = self._head if len(self._raw) < _MOST_BEFORE else None
            return ""
        named = _NAMED.match(before, start)
        if named is None:
            if len(before) - start > _MOST_HEAD:
                self._step = None
            return ""
        self.action = named[1].strip()
        opened = _TEXT.match(before, named.end())
        if opened is None:
            if before[named.end() :].strip():
                self._step = None
            return ""
        self._raw, self._at = before, opened.end()
        self._step = self._text if same_name(self.action, [FINAL_ANSWER]) else None
        return self._text() if self._step else ""

    def _text(self) -> str:
        raw, at, found = self._raw, self._at, [self._held]
        while at < len(raw):
            if plain := _PLAIN.match(raw, at):
                found.append(plain[0])
                at = plain.end()
            elif raw[at] == "\\":
                if not _ESCAPE.match(raw, at):
                    break
                sign, at = read_escape(raw, at + 1)
                found.append(sign)
            elif raw[at] == '"' or _THINKS.match(raw, at):
                self._step = None
                break
            elif "<think>".startswith(raw[at:].lower()):
                break
            else:
                found.append("<")
                at += 1
        # What was read is needed no more.
        self._raw, self._at = raw[at:], 0
        self._read += at
        text = "".join(found)
        if not self._begun:
            text = text.lstrip()
            if text.startswith("{"):  # an object inside a string is unpacked
                self._step = None
                return ""
            self._begun = bool(text)
        certain = _certain(text)
        self._held = text[len(certain) :]
        if self._read > _MOST:
            self._step = None
        return certain


def _certain(text: str) -> str:
    kept = text.rstrip().rstrip(_UNSURE_END)
    while len(kept) < len(text):
        text = kept
        kept = text.rstrip().rstrip(_UNSURE_END)
    return text


class Watch:
    """What a user sees of the replies of one turn.

    Args:
        on_action: Called with the tool that a reply names, as soon as that is known.
        on_text: Called with what is new of the reply.

    Attributes:
        shown: The text that was shown; it is never taken back.
        announced: The tool that was named and has not answered yet.
    """

    def __init__(self, on_action: Callable[[str], None] | None, on_text: Callable[[str], None] | None) -> None:
        self.shown, self.announced = "", ""
        self._on_action, self._on_text = on_action, on_text
        self._offered: Sequence[str] = ()
        self._final = False
        self._reader = ReplyReader()

    @property
    def looks(self) -> bool:
        """Whether anybody wants to know before a reply is whole."""
        return self._on_action is not None or self._on_text is not None

    def expect(self, offered: Sequence[str], *, checked: bool) -> None:
        """A reply comes.

        Args:
            offered: Actions that would be carried out.
            checked: Whether a final answer may yet be replaced, so that nothing is shown of it before its end.
        """
        self._offered = [name for name in offered if name != FINAL_ANSWER]
        self._final = FINAL_ANSWER in offered and not checked

    def begin(self) -> None:
        """It is being asked for; a beginning of it that nobody saw is forgotten."""
        self._reader = ReplyReader()

    def read(self, piece: str) -> None:
        """The next piece of it."""
        text = self._reader.read(piece)
        if text and self._final:
            self._say(text)
        if not self.announced and self._reader.action and (name := same_name(self._reader.action, self._offered)):
            self.act(name)

    def act(self, name: str) -> None:
        """A tool is called."""
        if self.announced != name:
            self.announced = name
            if self._on_action is not None:
                self._on_action(name)

    def acted(self) -> None:
        """It has answered."""
        self.announced = ""

    def end(self, reply: str) -> None:
        """Show what is left of the reply."""
        if rest := reply.removeprefix(self.shown):
            self._say(rest)

    def _say(self, text: str) -> None:
        self.shown += text
        if self._on_text is not None:
            self._on_text(text)
