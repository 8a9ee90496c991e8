"""What the agent and a model say to one another: one JSON object a reply, and what a turn leaves behind."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FINAL_ANSWER = "Final Answer"
"""The action that ends a turn; its input is what the user reads."""


@dataclass(frozen=True)
class Step:
    """One call of a tool.

    Attributes:
        action: The tool's name.
        action_input: What it was given, JSON-ready.
        observation: What it said; `error: ...` where it could not do it.
    """

    action: str
    action_input: Any
    observation: str

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"action": self.action, "action_input": self.action_input, "observation": self.observation}


@dataclass(frozen=True)
class Turn:
    """A user's turn and what became of it.

    Attributes:
        text: What the user said.
        reply: What the user reads.
        steps: Tool calls in their order.
        timings_ms: `model`, `tools` and `total`, in milliseconds.
        prompt_tokens: Tokens that the model read, over all its replies; 0 where its server does not count.
        new_tokens: The same of those it wrote.
        repairs: Replies that had to be asked for again.
        raw: The model's replies as they came.
    """

    text: str
    reply: str
    steps: tuple[Step, ...] = ()
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    prompt_tokens: int = 0
    new_tokens: int = 0
    repairs: int = 0
    raw: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, in the layout that programs rely on."""
        return {
            "reply": self.reply,
            "steps": [step.to_json() for step in self.steps],
            "timings_ms": {name: round(value, 3) for name, value in self.timings_ms.items()},
        }


def write_action(action: str, action_input: Any) -> str:
    """An action as a model should write it."""
    return json.dumps({"action": action, "action_input": action_input}, ensure_ascii=False, default=str)


def reply_schema(offered: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The JSON schema of a reply.

    Args:
        offered: Schema of the input, by action; a reply can name no other action.
    """
    kinds = [_one(name, schema) for name, schema in offered.items()]
    return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}


def _one(action: str, input_schema: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"action": {"type": "string", "enum": [action]}, "action_input": dict(input_schema)},
        "required": ["action", "action_input"],
        "additionalProperties": False,
    }


def same_name(wanted: str, known: Sequence[str]) -> str | None:
    """The known action that is meant; models write `final_answer`, `FinalAnswer` or `calculator.`."""
    plain = _plain(wanted)
    return next((name for name in known if _plain(name) == plain), None) if plain else None


def _plain(name: str) -> str:
    return "".join(c for c in name[:200].casefold() if c.isalnum())
