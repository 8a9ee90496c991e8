"""Reading a model's reply: an action if there is one in it, else a final answer. Any text gives one of the two.

Every pass over the text takes time proportional to its length: a reader looks ahead a bounded number of characters, and
at most `_STARTS` places are tried.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ragwright.agent.loose_json import read_value
from ragwright.agent.protocol import FINAL_ANSWER, same_name

# Replies are bounded by the tokens a model may write; what is longer comes from no model.
_READ_CHARS = 100_000
_STARTS = 32
_DEEP = 4

_ACTION = ("action", "tool", "toolname", "function", "name", "actionname")
_INPUT = ("actioninput", "input", "toolinput", "arguments", "args", "parameters", "query", "content", "text")
_ANSWERS = ("finalanswer", "answer", "response", "reply", "output")

_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)
_LABELS = re.compile(r"(?:\s{0,20}(?:ai|assistant|bot|system|response|reply|answer)\s{0,5}:)+\s*", re.IGNORECASE)
_FENCES = re.compile(r"```[a-zA-Z]{0,12}")
_LINES = re.compile(
    r"^[ \t*]{0,8}Action[ \t*]{0,8}:[ \t*]{0,8}([^\n]{1,80}?)[ \t*]{0,8}\n\s{0,8}[*]{0,2}Action[ _]?Input[ \t*]{0,8}:"
    r"[ \t*]{0,8}([^\n]{0,8000})",
    re.IGNORECASE | re.MULTILINE,
)
_ANSWER_LINE = re.compile(r"^[ \t*]{0,8}Final[ _]?Answer[ \t*]{0,8}:[ \t*]{0,8}", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Parsed:
    """What a reply comes to.

    Attributes:
        action: A tool's name as the model wrote it, or `FINAL_ANSWER`.
        action_input: What it is given.
        form: `exact` (one JSON object with the two keys and nothing else), `mended` (an action that took some reading),
            `text` (plain text, taken as a final answer), `broken` (text that was meant to be an action and is not
            readable as one) or `empty`.
    """

    action: str
    action_input: Any
    form: Literal["exact", "mended", "text", "broken", "empty"]


def parse_reply(text: str) -> Parsed:
    """Read a reply; never raises, in time linear in its length."""
    exact = _exact(text)
    if exact is not None:
        return exact
    text = _THOUGHT.sub("", text[:_READ_CHARS])
    for value in _objects(text):
        found = _find_action(value, 0)
        if found is not None:
            return Parsed(*found, "mended")
    if lines := _LINES.search(text):
        return _finished(lines[1].strip("\"'` "), _unquoted(lines[2]))
    if label := _ANSWER_LINE.search(text):
        return _finished(FINAL_ANSWER, text[label.end() :].strip())
    plain = _FENCES.sub("", text)
    if junk := _LABELS.match(plain):
        plain = plain[junk.end() :]
    plain = plain.strip()
    if not plain:
        return Parsed(FINAL_ANSWER, "", "empty")
    meant = plain[0] in "{[" or '"action' in plain or "'action" in plain
    return Parsed(FINAL_ANSWER, plain, "broken" if meant else "text")


def _exact(text: str) -> Parsed | None:
    if len(text) > _READ_CHARS:
        return None
    try:
        value = json.loads(text, object_pairs_hook=_without_doubles)
        text.encode()
        if "\\ud" in text.lower():  # half a surrogate pair is no character
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict) and set(value) == {"action", "action_input"} and isinstance(value["action"], str):
        if value["action"] != FINAL_ANSWER and same_name(value["action"], [FINAL_ANSWER]):
            return Parsed(FINAL_ANSWER, value["action_input"], "mended")
        return Parsed(value["action"], value["action_input"], "exact") if value["action"] else None
    return None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")  # the first counts, as everywhere else
    return found


def _finished(action: str, action_input: Any) -> Parsed:
    action = FINAL_ANSWER if same_name(action, [FINAL_ANSWER]) else action
    return Parsed(action, action_input, "mended" if action_input or action != FINAL_ANSWER else "empty")


def _objects(text: str) -> list[Any]:
    """What stands at the first braces of a text, read loosely."""
    found: list[Any] = []
    at = text.find("{")
    while at >= 0 and len(found) < _STARTS:
        value, end = read_value(text, at)
        found.append(value)
        # An object inside one that was read is found by looking into it.
        at = text.find("{", max(end, at + 1))
    return found


def _find_action(value: Any, depth: int) -> tuple[str, Any] | None:
    if isinstance(value, list) and depth < _DEEP:
        return next((found for item in value[:_STARTS] if (found := _find_action(item, depth + 1))), None)
    if not isinstance(value, Mapping):
        return None
    keys = {"".join(c for c in str(key)[:40].casefold() if c.isalnum()): key for key in reversed(value)}
    named = next((keys[key] for key in _ACTION if key in keys), None)
    given = next((keys[key] for key in _INPUT if key in keys), None)
    if named is not None and isinstance(value[named], str) and value[named].strip():
        action, others = value[named].strip(), [item for key, item in value.items() if key != named]
        action = FINAL_ANSWER if same_name(action, [FINAL_ANSWER]) else action
        given_input = value[given] if given is not None else (others[0] if len(others) == 1 else "")
        return action, _unwrapped(given_input)
    answer = next((keys[key] for key in _ANSWERS if key in keys and isinstance(value[keys[key]], str)), None)
    if answer is not None:
        return FINAL_ANSWER, value[answer]
    if depth < _DEEP:
        inner = (found for item in list(value.values())[:_STARTS] if (found := _find_action(item, depth + 1)))
        return next(inner, None)
    return None


def _unwrapped(value: Any) -> Any:
    """Arguments as OpenAI's function calls have them: JSON inside a string."""
    if isinstance(value, str) and value.lstrip()[:1] == "{" and len(value) < _READ_CHARS:
        try:
            inner = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return inner if isinstance(inner, dict) else value
    return value


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`" else text
