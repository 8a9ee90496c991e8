"""A reply that comes in pieces: from bytes to events, from events to text, and nothing beyond a stop string."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ragwright.errors import BadReply, RagwrightError, RequestRejected, Throttled, Unavailable

BROKEN_OFF = "Ask again; if it breaks off again, the server's log says why."


@dataclass(frozen=True)
class Ended:
    """How a reply ended; None is what the server does not say."""

    finish: object = None
    prompt_tokens: object = None
    new_tokens: object = None


def read_events(parts: Iterable[bytes]) -> Iterator[Any]:
    """The decoded data of server-sent events, however the bytes are cut.

    A server that knows no streaming answers with one JSON document; that is the only item then.

    Raises:
        BadReply: What comes is neither.
    """
    parts = iter(parts)
    head = b""
    for part in parts:
        head += part
        if head.strip():
            break
    if head.lstrip()[:1] in (b"{", b"["):
        yield _decoded(head + b"".join(parts))
        return
    for data in _data(_lines(head, parts)):
        if data.strip() == b"[DONE]":
            return
        yield _decoded(data)


def _lines(head: bytes, parts: Iterator[bytes]) -> Iterator[bytes]:
    rest = head
    while True:
        *lines, rest = rest.split(b"\n")
        yield from (line.removesuffix(b"\r") for line in lines)
        part = next(parts, None)
        if part is None:
            break
        rest += part
    # A last event that nothing ends is taken too: if it was cut, it is no JSON.
    yield from (rest.removesuffix(b"\r"), b"")


def _data(lines: Iterator[bytes]) -> Iterator[bytes]:
    data: list[bytes] = []
    for line in lines:
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            yield b"\n".join(data)
            data = []


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:  # UnicodeDecodeError included
        raise BadReply(f"a piece of the reply is no JSON: {data[:200]!r}") from error


def tgi_pieces(events: Iterable[Any]) -> Iterator[str | Ended]:
    """Text Generation Inference: an event a token, the last one with the whole text.

    Raises:
        BadReply: Events of another kind.
        Unavailable: They end before the reply does.
        RagwrightError: What the server says went wrong.
    """
    written = False
    for item in events:
        _check(item)
        token = item.get("token")
        if not isinstance(token, dict) or not isinstance(token.get("text"), str):
            raise BadReply(f"expected a `token` with a `text`, got {repr(item)[:200]}")
        if token["text"] and not token.get("special"):
            written = True
            yield token["text"]
        if isinstance(whole := item.get("generated_text"), str):
            if whole and not written:
                yield whole
            details = item.get("details") or {}
            read = details.get("prompt_tokens") or details.get("input_length")
            yield Ended(details.get("finish_reason"), read, details.get("generated_tokens"))
            return
    raise _cut_off()


def chat_pieces(events: Iterable[Any]) -> Iterator[str | Ended]:
    """Chat completions: a chunk a piece, then why it ended, then the counts if the server gives them.

    Raises:
        As `tgi_pieces`.
    """
    finish: object = None
    usage: dict[str, Any] = {}
    for item in events:
        _check(item)
        usage = item.get("usage") or usage
        try:
            for choice in item["choices"][:1]:
                finish = choice.get("finish_reason") or finish
                if text := (choice.get("delta") or {}).get("content"):
                    yield text
        except (KeyError, TypeError, AttributeError) as error:
            raise BadReply(f"expected `choices` with a `delta`, got {repr(item)[:200]}") from error
    if finish is None:
        raise _cut_off()
    if finish == "content_filter":
        raise RequestRejected("the server's content filter withheld the reply")
    yield Ended(finish, usage.get("prompt_tokens"), usage.get("completion_tokens"))


def _cut_off() -> Unavailable:
    return Unavailable("the reply broke off before its end", hint=BROKEN_OFF)


def _check(item: Any) -> None:
    """Raise what the server says went wrong after it had begun to answer."""
    if not isinstance(item, dict):
        raise BadReply(f"expected an event with an object, got {repr(item)[:200]}")
    if "error" not in item:
        return
    said = item["error"]
    message, code = said, item.get("error_type")
    if isinstance(said, dict):
        message, code = said.get("message", said), said.get("code")
    error: type[RagwrightError] = Unavailable
    if code == "validation" or (isinstance(code, int) and 400 <= code < 500 and code not in (408, 424, 429)):
        error = RequestRejected
    elif code in ("overloaded", 429):
        error = Throttled
    raise error(f"the server broke off: {str(message)[:500]}", hint=BROKEN_OFF if error is Unavailable else None)


class UntilStop:
    """Text up to the first of some strings, in pieces of which none holds a part of one.

    Attributes:
        met: The string that was found; empty as long as none was.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.met = ""
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""

    def read(self, piece: str) -> str:
        """What is certain to come before any of them."""
        if self.met:
            return ""
        text = self._held + piece
        found = [(at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            at, self.met = min(found)
            self._held = ""
            return text[:at]
        held = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def rest(self) -> str:
        """What was held back, once there is no more to come."""
        rest, self._held = self._held, ""
        return rest


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text may be the beginning of a string."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
