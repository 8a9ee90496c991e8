"""Text generation contracts: Text Generation Inference, OpenAI chat completions."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ragwright.serving.contracts.events import DONE, event
from ragwright.serving.contracts.fields import check_text, read, read_strings
from ragwright.serving.refusal import Refused
from ragwright.serving.runtimes import Cancelled, GenerationReply, GenerationRequest, TextModel

if TYPE_CHECKING:
    from ragwright.serving.contracts import Handler, StreamHandler

TGI_NEW_TOKENS = 100
TGI_STOP_SEQUENCES = 4
JSON_TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}


def tgi(model: TextModel) -> Handler:
    """`POST /` of Text Generation Inference, as SageMaker calls it: `inputs`, `parameters`.

    Sampling follows the original: greedy unless `do_sample` or a sampling parameter asks otherwise; a
    temperature of 0 is refused. `details` leaves `tokens` empty: their probabilities would cost a third of the speed.
    """

    def handle(payload: Mapping[str, Any], cancelled: Cancelled) -> list[dict[str, Any]]:
        request, parameters = _read_tgi(model, payload)
        reply = model.generate(request, cancelled)
        answer: dict[str, Any] = {"generated_text": _full_text(request, parameters, reply)}
        if read(parameters, "details", bool, False):
            details = _details(request, reply)
            answer["details"] = details | {"prefill": [], "tokens": [], "prompt_tokens": reply.prompt_tokens}
        return [answer]

    return handle


def tgi_stream(model: TextModel) -> StreamHandler:
    """The same with `stream`: an event a piece, the last one with the whole text.

    Pieces have no token number and no probability: the runtime does not say.
    """

    def handle(payload: Mapping[str, Any], cancelled: Cancelled, emit: Callable[[bytes], None]) -> None:
        request, parameters = _read_tgi(model, payload)
        index = 0

        def tell(text: str, *, special: bool = False, **last: Any) -> None:
            nonlocal index
            index += 1
            token = {"id": 0, "text": text, "logprob": None, "special": special}
            emit(event("tgi", {"index": index, "token": token, "generated_text": None, "details": None} | last))

        reply = model.generate(request, cancelled, tell)
        details = _details(request, reply) | {"input_length": reply.prompt_tokens}
        tell(
            reply.stop_sequence,
            special=not reply.stop_sequence,
            generated_text=_full_text(request, parameters, reply),
            details=details if read(parameters, "details", bool, False) else None,
        )

    return handle


def openai_chat(model: TextModel, name: str) -> Handler:
    """`POST /v1/chat/completions` as vLLM has it.

    Reads `messages`, `max_tokens` (what the context leaves), `temperature` (1), `top_p`, `stop`, `seed` and
    `response_format`.
    """

    def handle(payload: Mapping[str, Any], cancelled: Cancelled) -> dict[str, Any]:
        return _completion(model.generate(_read_chat(model, payload), cancelled), name)

    return handle


def openai_chat_stream(model: TextModel, name: str) -> StreamHandler:
    """The same with `stream`: a chunk a piece; `stream_options.include_usage` adds one with the counts."""

    def handle(payload: Mapping[str, Any], cancelled: Cancelled, emit: Callable[[bytes], None]) -> None:
        request = _read_chat(model, payload)
        with_usage = read(read(payload, "stream_options", dict, {}), "include_usage", bool, False)
        common = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": name,
        }

        def tell(text: str, **delta: str) -> None:
            choice = {"index": 0, "delta": {"content": text} | delta, "logprobs": None, "finish_reason": None}
            emit(event("openai-chat", common | {"choices": [choice]}))

        tell("", role="assistant")
        reply = model.generate(request, cancelled, tell)
        end = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": _finish(reply)}
        emit(event("openai-chat", common | {"choices": [end]}))
        if with_usage:
            emit(event("openai-chat", common | {"choices": [], "usage": _usage(reply)}))
        emit(DONE)

    return handle


def _read_tgi(model: TextModel, payload: Mapping[str, Any]) -> tuple[GenerationRequest, Mapping[str, Any]]:
    prompt = read(payload, "inputs", str, "")
    if not prompt:
        raise Refused(400, "Input validation error: `inputs` cannot be empty")
    parameters: dict[str, Any] = read(payload, "parameters", dict, {})
    request = _tgi_request(prompt, parameters)
    _check_room(model, request)
    return request, parameters


def _full_text(request: GenerationRequest, parameters: Mapping[str, Any], reply: GenerationReply) -> str:
    before = request.prompt if read(parameters, "return_full_text", bool, False) else ""
    return before + reply.text + reply.stop_sequence


def _details(request: GenerationRequest, reply: GenerationReply) -> dict[str, Any]:
    return {
        "finish_reason": reply.finish_reason,
        "generated_tokens": reply.new_tokens,
        "seed": request.seed if request.temperature > 0 else None,
    }


def _read_chat(model: TextModel, payload: Mapping[str, Any]) -> GenerationRequest:
    if read(payload, "n", int, 1) != 1:
        raise Refused(400, "`n` other than 1 is not supported by this server")
    prompt = model.render(_messages(payload))
    room = model.context_tokens - model.count_tokens(prompt)
    wanted = read(payload, "max_completion_tokens", int, read(payload, "max_tokens", int, max(room, 1)))
    stop = payload.get("stop")
    request = GenerationRequest(
        prompt=prompt,
        max_new_tokens=_positive(wanted, "max_tokens"),
        temperature=_at_least_zero(read(payload, "temperature", float, 1.0), "temperature"),
        top_p=_share(read(payload, "top_p", float, 1.0), "top_p", closed=True),
        seed=read(payload, "seed", int, -1) if payload.get("seed") is not None else None,
        stop=read_strings({"stop": [stop] if isinstance(stop, str) else stop}, "stop"),
        schema=_response_schema(read(payload, "response_format", dict, {})),
    )
    _check_room(model, request, status=400)
    return request


def _tgi_request(prompt: str, parameters: Mapping[str, Any]) -> GenerationRequest:
    for field, harmless in (("best_of", 1), ("top_n_tokens", 0)):
        if read(parameters, field, int, harmless) != harmless:
            raise _invalid(f"`{field}` != {harmless} is not allowed for this endpoint")
    for field in ("truncate", "frequency_penalty", "watermark", "adapter_id"):
        if parameters.get(field):
            raise _invalid(f"`{field}` is not supported by this server")
    given = {field for field in ("temperature", "top_p", "top_k", "typical_p") if parameters.get(field) is not None}
    temperature = _above_zero(read(parameters, "temperature", float, 1.0), "temperature")
    samples = read(parameters, "do_sample", bool, False) or temperature != 1.0 or bool(given - {"temperature"})
    stop = read_strings(parameters, "stop")
    if len(stop) > TGI_STOP_SEQUENCES:
        raise _invalid(f"`stop` supports up to {TGI_STOP_SEQUENCES} stop sequences. Given: {len(stop)}")
    seed = read(parameters, "seed", int, 0)
    if seed < 0:
        raise _invalid("`seed` must not be negative")
    return GenerationRequest(
        prompt=prompt,
        max_new_tokens=_positive(read(parameters, "max_new_tokens", int, TGI_NEW_TOKENS), "max_new_tokens"),
        temperature=temperature if samples else 0.0,
        top_p=_share(read(parameters, "top_p", float, 1.0), "top_p", closed="top_p" not in given),
        top_k=_positive(read(parameters, "top_k", int, 1), "top_k") if "top_k" in given else 0,
        typical_p=_share(read(parameters, "typical_p", float, 1.0), "typical_p", closed="typical_p" not in given),
        repetition_penalty=_above_zero(read(parameters, "repetition_penalty", float, 1.0), "repetition_penalty"),
        seed=seed if parameters.get("seed") is not None else None,
        stop=stop,
        schema=_tgi_schema(read(parameters, "grammar", dict, {})),
    )


def _tgi_schema(grammar: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if not grammar:
        return None
    if grammar.get("type") not in ("json", "json_object", "json_schema"):
        raise _invalid("Grammar error: `grammar.type` must be json")
    value = grammar.get("value")
    if grammar["type"] == "json_schema" and isinstance(value, Mapping):
        value = value.get("schema")
    return _schema(value, "grammar.value")


def _response_schema(form: Mapping[str, Any]) -> Mapping[str, Any] | None:
    match form.get("type", "text"):
        case "text":
            return None
        case "json_object":
            return {"type": "object"}
        case "json_schema":
            return _schema(read(form, "json_schema", dict, {}).get("schema"), "response_format.json_schema.schema")
        case _:
            raise Refused(400, "`response_format.type` must be text, json_object or json_schema")


def _schema(value: Any, place: str) -> Mapping[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise Refused(400, f"`{place}` is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Refused(400, f"`{place}` must be a JSON schema")
    _check_schema(value, place)
    return value


def _check_schema(value: Any, place: str) -> None:
    """Name what no runtime would enforce, because some of them would then not say so."""
    if isinstance(value, list):
        for i, item in enumerate(value):
            _check_schema(item, f"{place}[{i}]")
    if not isinstance(value, dict):
        return
    kinds = value.get("type", [])
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if isinstance(kind, str) and kind not in JSON_TYPES:
            raise _invalid(f"Grammar error: `{place}.type` is none of {', '.join(sorted(JSON_TYPES))}")
    for key, item in value.items():
        if key == "properties" and isinstance(item, dict):
            for name, inner in item.items():
                _check_schema(inner, f"{place}.properties.{name}")
        elif key not in ("enum", "const", "default", "examples"):
            _check_schema(item, f"{place}.{key}")


def _messages(payload: Mapping[str, Any]) -> list[dict[str, str]]:
    messages: Sequence[Any] = read(payload, "messages", list, [])
    if not messages:
        raise Refused(400, "`messages` cannot be empty")
    found = []
    for i, message in enumerate(messages):
        if not isinstance(message, dict):
            raise Refused(400, f"`messages[{i}]` must be an object")
        role, content = message.get("role"), message.get("content")
        if role not in ("system", "user", "assistant"):
            raise Refused(400, f"`messages[{i}].role` must be system, user or assistant")
        if isinstance(content, list):  # the long form: a list of parts
            parts = [part.get("text") if isinstance(part, dict) else None for part in content]
            content = "".join(map(str, parts)) if all(isinstance(part, str) for part in parts) else None
        if not isinstance(content, str):
            raise Refused(400, f"`messages[{i}].content` must be text")
        check_text(content, f"`messages[{i}].content`")
        found.append({"role": role, "content": content})
    return found


def _completion(reply: GenerationReply, name: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": name,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": reply.text},
                "logprobs": None,
                "finish_reason": _finish(reply),
            }
        ],
        "usage": _usage(reply),
    }


def _finish(reply: GenerationReply) -> str:
    return "length" if reply.finish_reason == "length" else "stop"


def _usage(reply: GenerationReply) -> dict[str, int]:
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.new_tokens,
        "total_tokens": reply.prompt_tokens + reply.new_tokens,
    }


def _check_room(model: TextModel, request: GenerationRequest, status: int = 422) -> None:
    given = model.count_tokens(request.prompt)
    if given + request.max_new_tokens > model.context_tokens:
        raise Refused(
            status,
            f"Input validation error: `inputs` tokens + `max_new_tokens` must be <= {model.context_tokens}. "
            f"Given: {given} `inputs` tokens and {request.max_new_tokens} `max_new_tokens`",
        )


def _invalid(reason: str) -> Refused:
    return Refused(422, f"Input validation error: {reason}")


def _positive(value: int, name: str) -> int:
    if value < 1:
        raise _invalid(f"`{name}` must be strictly positive")
    return value


def _above_zero(value: float, name: str) -> float:
    if not 0 < value < float("inf"):
        raise _invalid(f"`{name}` must be strictly positive")
    return value


def _at_least_zero(value: float, name: str) -> float:
    if not 0 <= value < float("inf"):
        raise _invalid(f"`{name}` must not be negative")
    return value


def _share(value: float, name: str, *, closed: bool) -> float:
    if not 0 < value <= 1 or (value == 1 and not closed):
        raise _invalid(f"`{name}` must be > 0.0 and < 1.0")
    return value
