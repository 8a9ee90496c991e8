"""A text model that follows fixed rules: a server that starts at once, for tests and first tries."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ragwright.models import ModelInfo
from ragwright.serving.runtimes import Cancelled, GenerationReply, GenerationRequest, Tell, untold

_PIECE = re.compile(r"\s*\S+|\s+$")
_SLEEP = re.compile(r"\{\{sleep ([0-9.]+)\}\}")
_MARK = re.compile(r"<\|im_(?:start|end)\|>")


class ScriptedModel:
    """Repeats the last line of the last user's turn; words are its tokens.

    A `{{sleep SECONDS}}` in the prompt makes it take that long. With a schema it replies with the plainest document
    that satisfies it.
    """

    concurrency = 1

    def __init__(self, info: ModelInfo) -> None:
        self.context_tokens = info.context_tokens or 0

    def count_tokens(self, prompt: str) -> int:
        """Words."""
        return len(_PIECE.findall(prompt))

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """ChatML."""
        turns = (f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in messages)
        return "".join(turns) + "<|im_start|>assistant\n"

    def generate(self, request: GenerationRequest, cancelled: Cancelled, tell: Tell = untold) -> GenerationReply:
        """Follow the rules."""
        for seconds in _SLEEP.findall(request.prompt):
            end = time.monotonic() + float(seconds)
            while time.monotonic() < end and not cancelled():
                time.sleep(0.01)
        script = _last_line(request.prompt) if request.schema is None else json.dumps(_plainest(request.schema))
        found = [(script.find(stop), stop) for stop in request.stop if stop in script]
        at, stop = min(found, default=(len(script), ""))
        pieces = _PIECE.findall(script[:at])
        kept = pieces[: request.max_new_tokens]
        cut = len(pieces) > len(kept)
        for piece in kept:
            tell(piece)
        return GenerationReply(
            text="".join(kept),
            finish_reason="length" if cut else "stop_sequence" if stop else "eos_token",
            prompt_tokens=self.count_tokens(request.prompt),
            new_tokens=len(kept),
            stop_sequence="" if cut else stop,
        )

    def close(self) -> None:
        """Nothing to free."""


def _last_line(prompt: str) -> str:
    turns = [turn.removeprefix("user\n") for turn in _MARK.split(prompt) if turn.startswith("user\n")]
    lines = [line.strip() for line in (turns[-1] if turns else prompt).splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _plainest(schema: Mapping[str, Any]) -> Any:  # noqa: PLR0911 - one for each type
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: _plainest(schema["properties"][name]) for name in schema.get("required", ())}
        case "array":
            return [_plainest(schema.get("items", {}))] * schema.get("minItems", 0)
        case "string":
            return ""
        case "integer" | "number":
            return schema.get("minimum", 0)
        case "boolean":
            return False
        case _:
            return None
