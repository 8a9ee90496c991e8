"""GGUF models on llama.cpp, through xllamacpp."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from ragwright.errors import ModelError
from ragwright.models import ModelInfo
from ragwright.serving.refusal import Refused
from ragwright.serving.runtimes import Cancelled, GenerationReply, GenerationRequest, Tell, untold

_FINISH = {"eos": "eos_token", "word": "stop_sequence", "limit": "length"}


class LlamaModel:
    """Runs one model, one request at a time: batching several would make a reply depend on its neighbours.

    xllamacpp always opens an HTTP listener of its own on the loopback interface. It is locked with a random key, and
    used for what the Python interface lacks: counting tokens and the model's chat template.
    """

    concurrency = 1

    def __init__(self, info: ModelInfo, model: Path) -> None:
        import xllamacpp

        self.context_tokens = info.context_tokens or 0
        key = secrets.token_urlsafe(32)
        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.n_ctx = self.context_tokens
        params.n_parallel = 1
        params.hostnames = ["127.0.0.1"]
        params.port = 0
        params.api_keys = [key]
        params.cors_origins = ""
        params.ui = False
        params.endpoint_slots = False
        params.n_threads_http = 2
        # Its threads wait for one another after every step: where another program takes one's core, all stand still.
        # Prompts are computed in few long steps, so that there all cores gain more than they lose.
        params.cpuparams.n_threads, params.cpuparams_batch.n_threads = max(1, _usable_cores() - 1), _usable_cores()
        params.cache_ram_mib = 0  # keeps earlier prompts, which are never used again: see cache_prompt below
        params.verbosity = 0  # the log must not hold texts
        try:
            self._server = xllamacpp.Server(params)
        except RuntimeError as error:
            raise ModelError(
                f"llama.cpp cannot load it: {error}", place=str(model), hint="Name a GGUF file."
            ) from error
        self._http = httpx.Client(
            base_url=self._server.listening_address,
            headers={"Authorization": f"Bearer {key}"},
            timeout=30,
            trust_env=False,  # a proxy has no business between this process and itself
        )

    def count_tokens(self, prompt: str) -> int:
        """Tokens, with markers such as `<|im_start|>` read as the special tokens they are."""
        return len(self._ask("/tokenize", {"content": prompt, "add_special": True, "parse_special": True})["tokens"])

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """By the chat template inside the GGUF file."""
        return str(self._ask("/apply-template", {"messages": list(messages)})["prompt"])

    def generate(self, request: GenerationRequest, cancelled: Cancelled, tell: Tell = untold) -> GenerationReply:
        """Continue a prompt, watching after every token whether somebody still waits."""
        pieces: list[str] = []
        last: dict[str, Any] = {}

        def take(piece: dict[str, Any]) -> bool:
            nonlocal last
            last = piece
            if "choices" in piece and (text := piece["choices"][0]["text"]):
                pieces.append(text)
                tell(text)
            return cancelled()

        self._server.handle_completions(_payload(request, self.context_tokens), take)
        if "error" in last:
            raise Refused(422, f"Input validation error: {last['error']['message']}")
        end = last.get("__verbose", {})
        reply = GenerationReply(
            text="".join(pieces),
            finish_reason=_FINISH.get(end.get("stop_type", ""), "length"),  # type: ignore[arg-type]
            prompt_tokens=int(end.get("tokens_evaluated", 0)),
            new_tokens=int(end.get("tokens_predicted", len(pieces))),
            stop_sequence=str(end.get("stopping_word", "")),
        )
        if request.schema is not None and not cancelled():
            _check_json(reply)
        return reply

    def _ask(self, path: str, body: Mapping[str, Any]) -> Any:
        reply = self._http.post(path, json=body)
        if reply.status_code == 400:
            raise Refused(422, f"Input validation error: {reply.json()['error']['message']}")
        return reply.raise_for_status().json()

    def close(self) -> None:
        """Close the connection; the model goes with the process."""
        self._http.close()


def _payload(request: GenerationRequest, context_tokens: int) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "prompt": request.prompt,
        "max_tokens": request.max_new_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "typical_p": request.typical_p,
        "min_p": 0.0,
        "repeat_penalty": request.repetition_penalty,
        "repeat_last_n": context_tokens,  # the whole context, as TGI and vLLM count it
        "seed": secrets.randbits(31) if request.seed is None else request.seed % 2**32,
        "stop": list(request.stop),
        "stream": True,
        "verbose": True,  # the last piece then says which stop sequence ended it
        # A prompt that continues an earlier one would be computed in other batches, and greedy replies would depend on
        # what was asked before.
        "cache_prompt": False,
    }
    if request.schema is not None:
        payload["json_schema"] = _closed(request.schema)
    return payload


def _closed(schema: Any) -> Any:
    """Allow only the named properties where a schema does not say otherwise, as TGI and vLLM read it."""
    if isinstance(schema, Mapping):
        closed = {key: _closed(value) for key, value in schema.items()}
        if isinstance(schema.get("properties"), Mapping):
            closed.setdefault("additionalProperties", False)
        return closed
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    return schema


def _check_json(reply: GenerationReply) -> None:
    """llama.cpp generates freely, without an error, when it cannot compile a schema."""
    try:
        if reply.finish_reason == "length":
            free = reply.text.lstrip()[:1] not in set('{["-0123456789tfn') | {""}
        else:
            json.loads(reply.text)
            free = False
    except ValueError:
        free = reply.finish_reason == "eos_token"
    if free:
        raise Refused(422, "Input validation error: Grammar error: the schema uses what this server cannot enforce")


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
