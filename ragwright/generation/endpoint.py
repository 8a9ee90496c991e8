"""Generation through an endpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from ragwright.endpoints import Endpoint
from ragwright.errors import BadReply, ConfigurationError, RequestRejected
from ragwright.generation.chat import render_chat
from ragwright.generation.port import Generation, Message
from ragwright.models import ModelInfo
from ragwright.settings import GenerationSettings

# What servers take by default; at further strings the reply is cut here, once it is whole.
_MAX_STOPS = 4


class EndpointGenerator:
    """Continues a conversation through an endpoint that speaks `tgi` or `openai-chat`.

    Under `tgi` (Text Generation Inference, and SageMaker's container of it) the conversation is written out in the
    model's chat format here; under `openai-chat` the server does that.

    Args:
        endpoint: Where the model runs; closed with the generator.
        model: The model it runs.
        settings: Temperature and seed.

    Raises:
        ConfigurationError: The model does not generate text, or the contract does not go with it.
    """

    def __init__(self, endpoint: Endpoint, model: ModelInfo, settings: GenerationSettings) -> None:
        if model.task != "text-generation":
            raise ConfigurationError(f"{model.name!r} is not a language model: its task is {model.task!r}")
        if endpoint.contract not in ("tgi", "openai-chat"):
            raise ConfigurationError(
                f"endpoint {endpoint.name!r} speaks {endpoint.contract!r}, which generates no text",
                hint="Use the contract 'tgi' or 'openai-chat'.",
            )
        self.model = model.name
        self._endpoint, self._model, self._settings = endpoint, model, settings

    def generate(
        self,
        prompt: Sequence[Message],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        grammar: Mapping[str, Any] | None = None,
    ) -> Generation:
        """The model's next turn."""
        try:
            if self._endpoint.contract == "tgi":
                reply = self._ask_tgi(prompt, max_new_tokens, stop, grammar)
            else:
                reply = self._ask_chat(prompt, max_new_tokens, stop, grammar)
            if grammar is not None:
                check_json(reply)
        except BadReply as error:
            raise BadReply(error.what, place=error.place or self._place, hint=error.hint) from error
        return reply

    def close(self) -> None:
        """Give back connections."""
        self._endpoint.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _place(self) -> str:
        return f"endpoint {self._endpoint.name}"

    def _ask_tgi(
        self, prompt: Sequence[Message], max_new_tokens: int, stop: Sequence[str], grammar: Mapping[str, Any] | None
    ) -> Generation:
        text, ends = render_chat(prompt, self._model.chat_template)
        stops = list(dict.fromkeys((*ends, *self._model.stop, *stop)))
        sampling = self._settings.temperature > 0
        parameters: dict[str, Any] = {
            "max_new_tokens": max_new_tokens,
            "return_full_text": False,
            "details": True,  # says why it stopped and how many tokens that took
            "do_sample": sampling,
            "seed": self._settings.seed,
            "stop": stops[:_MAX_STOPS],
        }
        if sampling:
            parameters["temperature"] = self._settings.temperature  # 0 is refused: greedy is `do_sample` false
        if grammar is not None:
            parameters["grammar"] = {"type": "json", "value": dict(grammar)}
        reply = self._endpoint.invoke({"inputs": text, "parameters": parameters})
        item = reply[0] if isinstance(reply, list) and len(reply) == 1 else reply
        if not isinstance(item, dict) or not isinstance(item.get("generated_text"), str):
            raise BadReply(f"expected one `generated_text`, got {_shown(reply)}")
        details = item.get("details") or {}
        return _generation(
            item["generated_text"],
            stops,
            finish=details.get("finish_reason"),
            prompt_tokens=_count(details.get("prompt_tokens")) or len(details.get("prefill") or ()) or None,
            new_tokens=_count(details.get("generated_tokens")),
        )

    def _ask_chat(
        self, prompt: Sequence[Message], max_new_tokens: int, stop: Sequence[str], grammar: Mapping[str, Any] | None
    ) -> Generation:
        payload: dict[str, Any] = {
            "model": self._model.hub or self._model.name,
            "messages": [{"role": message.role, "content": message.content} for message in prompt],
            "max_tokens": max_new_tokens,
            "temperature": self._settings.temperature,
            "seed": self._settings.seed,
        }
        if stop:
            payload["stop"] = list(stop[:_MAX_STOPS])
        if grammar is not None:
            schema = {"name": "reply", "schema": dict(grammar), "strict": True}
            payload["response_format"] = {"type": "json_schema", "json_schema": schema}
        reply = self._endpoint.invoke(payload)
        try:
            choice = reply["choices"][0]
            text, finish = choice["message"]["content"], choice.get("finish_reason")
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise BadReply(f"expected `choices` with a `message`, got {_shown(reply)}") from error
        if finish == "content_filter":
            raise RequestRejected("the server's content filter withheld the reply", place=self._place)
        if not isinstance(text, str):
            raise BadReply(f"the message has no text: {_shown(choice)}")
        usage = reply.get("usage") or {}
        return _generation(
            text,
            stop,
            finish=finish,
            prompt_tokens=_count(usage.get("prompt_tokens")),
            new_tokens=_count(usage.get("completion_tokens")),
        )


def check_json(reply: Generation) -> None:
    """Raise `BadReply` for a finished reply that is not the JSON a grammar asked for; one cut off is the caller's."""
    if reply.finish_reason == "stop":
        try:
            json.loads(reply.text)
        except ValueError as error:
            raise BadReply(f"a reply under a grammar is no JSON: {reply.text[:200]!r}") from error


def until_stop(text: str, stops: Sequence[str]) -> str:
    """The text before the first stop string; servers differ in whether they leave it there."""
    ends = [at for stop in stops if stop and (at := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


def _generation(
    text: str, stops: Sequence[str], *, finish: object, prompt_tokens: int | None, new_tokens: int | None
) -> Generation:
    kept = until_stop(text, stops)
    cut_off = finish == "length" and kept == text
    return Generation(kept, "length" if cut_off else "stop", prompt_tokens=prompt_tokens, new_tokens=new_tokens)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _shown(reply: object) -> str:
    return f"{type(reply).__name__} {repr(reply)[:200]}"
