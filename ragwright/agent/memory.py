"""What the agent remembers of a conversation."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ragwright.agent.numbers import is_number
from ragwright.agent.protocol import Step, Turn

_PIECE = re.compile(r"[A-Za-z]+|[^\x00-\x7F]|\S")


@dataclass(frozen=True)
class Exchange:
    """A user's turn and the reply to it."""

    text: str
    reply: str
    steps: tuple[Step, ...] = ()


class Memory:
    """The last exchanges of one conversation.

    Args:
        window: How many are remembered.
        exchanges: What was said before, oldest first.
    """

    def __init__(self, window: int = 5, exchanges: Sequence[Exchange] = ()) -> None:
        self._window = window
        self._exchanges = _last(exchanges, window)

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """What is remembered, oldest first."""
        return self._exchanges

    def add(self, turn: Turn) -> None:
        """Remember a turn; the oldest beyond the window is forgotten."""
        exchange = Exchange(turn.text, turn.reply, turn.steps)
        self._exchanges = _last((*self._exchanges, exchange), self._window)

    def clear(self) -> None:
        """Begin a new conversation."""
        self._exchanges = ()

    def last_number(self) -> str | None:
        """What "that" means in arithmetic: the number that was computed last."""
        steps = (step for exchange in reversed(self._exchanges) for step in reversed(exchange.steps))
        return next((step.observation for step in steps if is_number(step.observation)), None)


def _last(exchanges: Sequence[Exchange], window: int) -> tuple[Exchange, ...]:
    return tuple(exchanges[-window:]) if window else ()


def estimate_tokens(text: str) -> int:
    """Tokens of a text, without its model's tokenizer, on the high side for English, code and numbers.

    A word takes a token for every four letters begun, a digit or sign one, any other character two.
    """
    return sum(math.ceil(len(piece) / 4) if piece[0].isascii() else 2 for piece in _PIECE.findall(text))
