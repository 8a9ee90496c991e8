"""Generation without a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from ragwright.answers import I_DONT_KNOW
from ragwright.errors import RequestRejected
from ragwright.generation.endpoint import check_json, until_stop
from ragwright.generation.port import Generation, Message

Rules = Mapping[str, str] | Callable[[Sequence[Message]], str]


class ScriptedGenerator:
    """Replies by rule: deterministic and free, for tests and for running without a language model.

    Args:
        rules: Reply by pattern (a regular expression sought in the last message; the first that is found counts), or a
            function from the conversation to a reply. Without a rule that fits, the reply is "I don't know."
        context_tokens: Prompt and reply together.

    A token is a word, here. A reply that breaks its `grammar` is a `BadReply`, as from an endpoint.
    """

    model = "scripted"

    def __init__(self, rules: Rules | None = None, *, context_tokens: int = 2048) -> None:
        self._context_tokens = context_tokens
        self._reply = rules if callable(rules) else _by_pattern(rules or {})

    def generate(
        self,
        prompt: Sequence[Message],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        grammar: Mapping[str, Any] | None = None,
    ) -> Generation:
        """The reply that the rules give."""
        prompt_tokens = sum(len(message.content.split()) for message in prompt)
        if prompt_tokens + max_new_tokens > self._context_tokens:
            raise RequestRejected(
                f"a prompt of {prompt_tokens} tokens and {max_new_tokens} more do not fit in {self._context_tokens}",
                hint="Shorten the prompt, or ask for fewer tokens.",
            )
        text = until_stop(self._reply(prompt), stop)
        words = [word.end() for word in re.finditer(r"\S+", text)]
        whole = len(words) <= max_new_tokens
        reply = Generation(
            text if whole else text[: words[max_new_tokens - 1]],
            "stop" if whole else "length",
            prompt_tokens=prompt_tokens,
            new_tokens=min(len(words), max_new_tokens),
        )
        if grammar is not None:
            check_json(reply)
        return reply

    def stream(
        self,
        prompt: Sequence[Message],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        grammar: Mapping[str, Any] | None = None,
    ) -> Iterator[str | Generation]:
        """The same, a word a piece; the grammar is not looked at."""
        reply = self.generate(prompt, max_new_tokens=max_new_tokens, stop=stop)
        yield from re.findall(r"\s*\S+|\s+$", reply.text)
        yield reply

    def close(self) -> None:
        """Nothing to give back."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def _by_pattern(rules: Mapping[str, str]) -> Callable[[Sequence[Message]], str]:
    patterns = [(re.compile(pattern), reply) for pattern, reply in rules.items()]

    def reply(prompt: Sequence[Message]) -> str:
        last = prompt[-1].content if prompt else ""
        return next((reply for pattern, reply in patterns if pattern.search(last)), I_DONT_KNOW)

    return reply
