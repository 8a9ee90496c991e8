"""What a generator is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, Self, runtime_checkable


@dataclass(frozen=True)
class Message:
    """One turn of a prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Generation:
    """What the model said.

    Attributes:
        text: The reply, stop sequences removed.
        finish_reason: `stop` (it ended by itself or at a stop sequence) or `length` (it was cut off).
        prompt_tokens: Tokens read, None if the server does not say.
        new_tokens: Tokens written, None if the server does not say.
    """

    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int | None = None
    new_tokens: int | None = None


@runtime_checkable
class Generator(Protocol):
    """Continues a conversation; a context manager, safe to call from several threads.

    Greedy and repeatable at temperature 0 with a seed. `grammar` is a JSON schema the reply must satisfy. Raises the
    endpoint's errors, and `RequestRejected` when prompt and `max_new_tokens` do not fit the model's context.
    """

    model: str

    def generate(
        self,
        prompt: Sequence[Message],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        grammar: Mapping[str, Any] | None = None,
    ) -> Generation:
        """The model's next turn."""

    def stream(
        self,
        prompt: Sequence[Message],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        grammar: Mapping[str, Any] | None = None,
    ) -> Iterator[str | Generation]:
        """The model's next turn while it is written: pieces of text, then the whole of them as a `Generation`.

        Where the endpoint cannot do that, the whole text is the one piece. Whether the text keeps its grammar is left
        to the caller (`check_json`), who knows what of it somebody has read by then. An error after the first piece
        means that the reply broke off; nobody tries again.
        """

    def close(self) -> None:
        """Give back connections."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
