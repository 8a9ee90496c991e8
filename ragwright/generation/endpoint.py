"""Generation through an endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from types import TracebackType
from typing import Any, Self

from ragwright.endpoints import Endpoint
from ragwright.errors import BadReply, ConfigurationError, PayloadTooLarge, RequestRejected, Throttled, Unavailable
from ragwright.generation.chat import render_chat
from ragwright.generation.pieces import Ended, UntilStop, chat_pieces, read_events, tgi_pieces
from ragwright.generation.port import Generation, Message
from ragwright.model_settings import GenerationSettings
from ragwright.models import ModelInfo

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
        self._streams = True  # until it turns out that the endpoint cannot

    def generate(
        self,
        prompt: Sequence[Message],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        grammar: Mapping[str, Any] | None = None,
    ) -> Generation:
        """The model's next turn."""
        payload, stops = self._payload(prompt, max_new_tokens, stop, grammar)
        with self._placed():
            reply = self._read(self._endpoint.invoke(payload), stops)
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
        """The model's next turn while it is written; whole where the endpoint cannot stream."""
        payload, stops = self._payload(prompt, max_new_tokens, stop, grammar)
        with self._placed():
            if self._streams:
                try:
                    first, rest = self._begun(payload, stops)
                except PayloadTooLarge:
                    raise
                except RequestRejected:
                    # Either it does not stream, or it refuses this request in any form, which shows now.
                    pass
                else:
                    yield first
                    yield from rest
                    return
            reply = self._read(self._endpoint.invoke(payload), stops)
            self._streams = False
            yield reply.text
            yield reply

    def _begun(
        self, payload: Mapping[str, Any], stops: Sequence[str]
    ) -> tuple[str | Generation, Iterator[str | Generation]]:
        """The first piece, before which the endpoint may refuse, and the others."""
        pieces = self._pieces(payload, stops)
        return next(pieces), pieces

    def _pieces(self, payload: Mapping[str, Any], stops: Sequence[str]) -> Iterator[str | Generation]:
        asked = {**payload, "stream": True}
        if self._endpoint.contract == "openai-chat":
            asked["stream_options"] = {"include_usage": True}
        with closing(self._endpoint.stream(asked)) as parts:
            events = read_events(parts)
            first = next(events, None)
            if _is_whole(first):
                reply = self._read(first, stops)
                yield reply.text
                yield reply
                return
            told = chain([] if first is None else [first], events)
            read = tgi_pieces if self._endpoint.contract == "tgi" else chat_pieces
            until, kept, ended = UntilStop(stops), list[str](), Ended()
            for piece in read(told):
                if isinstance(piece, Ended):
                    ended = piece
                elif text := until.read(piece):
                    kept.append(text)
                    yield text
                if until.met and until.met not in stops[:_MAX_STOPS]:
                    break  # the server does not know this one, and would go on
            if text := until.rest():
                kept.append(text)
                yield text
        yield _generation(
            "".join(kept),
            (),
            finish="stop" if until.met else ended.finish,
            prompt_tokens=_count(ended.prompt_tokens),
            new_tokens=_count(ended.new_tokens),
        )

    @contextmanager
    def _placed(self) -> Iterator[None]:
        """Name the endpoint where an error does not."""
        try:
            yield
        except (BadReply, RequestRejected, Unavailable, Throttled) as error:
            error.place = error.place or self._place
            raise

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

    def _payload(
        self, prompt: Sequence[Message], max_new_tokens: int, stop: Sequence[str], grammar: Mapping[str, Any] | None
    ) -> tuple[dict[str, Any], Sequence[str]]:
        """What is sent, and the strings at which the reply ends."""
        if self._endpoint.contract == "tgi":
            return self._for_tgi(prompt, max_new_tokens, stop, grammar)
        return self._for_chat(prompt, max_new_tokens, stop, grammar), stop

    def _for_tgi(
        self, prompt: Sequence[Message], max_new_tokens: int, stop: Sequence[str], grammar: Mapping[str, Any] | None
    ) -> tuple[dict[str, Any], Sequence[str]]:
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
        return {"inputs": text, "parameters": parameters}, stops

    def _for_chat(
        self, prompt: Sequence[Message], max_new_tokens: int, stop: Sequence[str], grammar: Mapping[str, Any] | None
    ) -> dict[str, Any]:
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
        return payload

    def _read(self, reply: Any, stops: Sequence[str]) -> Generation:
        """A whole reply."""
        return _read_tgi(reply, stops) if self._endpoint.contract == "tgi" else _read_chat(reply, stops)


def _is_whole(reply: Any) -> bool:
    """Whether this is the reply of an endpoint that was asked for pieces and gives none."""
    if isinstance(reply, list):
        return True
    if not isinstance(reply, dict):
        return False
    if "choices" in reply:
        return any("message" in choice for choice in reply["choices"] or () if isinstance(choice, dict))
    return "generated_text" in reply and "token" not in reply


def _read_tgi(reply: Any, stops: Sequence[str]) -> Generation:
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


def _read_chat(reply: Any, stops: Sequence[str]) -> Generation:
    try:
        choice = reply["choices"][0]
        text, finish = choice["message"]["content"], choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise BadReply(f"expected `choices` with a `message`, got {_shown(reply)}") from error
    if finish == "content_filter":
        raise RequestRejected("the server's content filter withheld the reply")
    if not isinstance(text, str):
        raise BadReply(f"the message has no text: {_shown(choice)}")
    usage = reply.get("usage") or {}
    return _generation(
        text,
        stops,
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
