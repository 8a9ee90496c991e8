"""Writing a conversation as the one text that a model continues."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ragwright.errors import ConfigurationError, RequestRejected
from ragwright.generation.port import Message

_MARKERS = {
    "chatml": ("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
    "llama-2": ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<s>", "</s>"),
    "llama-3": ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>"),
    "mistral": ("[INST]", "[/INST]", "<s>", "</s>"),
    "plain": (),
}


def render_chat(messages: Sequence[Message], family: str | None) -> tuple[str, tuple[str, ...]]:
    """Apply a model family's chat format.

    No message can open or close a turn: markers of the family inside one are broken with a blank. The beginning-of-text
    token is left to the server's tokenizer, which adds it by itself.

    Args:
        messages: The conversation so far, the user's turn last.
        family: `chatml` (SmolLM2, Qwen), `llama-2` (Meta's reference code, system prompt between `<<SYS>>` tags inside
            the first turn), or `plain` (None is the same) for models without a chat format.

    Returns:
        The text, and the strings at which the model's turn ends.

    Raises:
        ConfigurationError: The family is unknown.
        RequestRejected: The turns are not in an order that the family can express.
    """
    family = family or "plain"
    if family not in _MARKERS:
        raise ConfigurationError(f"unknown chat format {family!r}", hint=f"Name one of {', '.join(_MARKERS)}.")
    if not messages:
        raise RequestRejected("the conversation is empty")
    safe = [Message(message.role, _broken(message.content, _MARKERS[family])) for message in messages]
    match family:
        case "chatml":
            return _chatml(safe), ("<|im_end|>",)
        case "llama-2":
            return _llama_2(safe), ("</s>",)
        case "llama-3":
            return _llama_3(safe), ("<|eot_id|>",)
        case "mistral":
            return _mistral(safe), ("</s>",)
        case _:
            return _plain(safe)


def _broken(text: str, markers: Sequence[str]) -> str:
    for marker in markers:
        text = text.replace(marker, f"{marker[0]} {marker[1:]}")
    return text


def _chatml(messages: Sequence[Message]) -> str:
    turns = (f"<|im_start|>{message.role}\n{message.content}<|im_end|>\n" for message in messages)
    return f"{''.join(turns)}<|im_start|>assistant\n"


def _llama_2(messages: Sequence[Message]) -> str:
    return _inst(messages, lambda system: f"<<SYS>>\n{system}\n<</SYS>>\n\n", end=" </s><s>")


def _llama_3(messages: Sequence[Message]) -> str:
    turns = (f"<|start_header_id|>{m.role}<|end_header_id|>\n\n{m.content.strip()}<|eot_id|>" for m in messages)
    return f"{''.join(turns)}<|start_header_id|>assistant<|end_header_id|>\n\n"


def _mistral(messages: Sequence[Message]) -> str:
    return _inst(messages, lambda system: f"{system.strip()}\n\n", end="</s>")


def _inst(messages: Sequence[Message], framed: Callable[[str], str], *, end: str) -> str:
    """Turns between `[INST]` marks, the system's words as part of the first; `end` follows each reply."""
    system = ""
    if messages[0].role == "system":
        system, messages = framed(messages[0].content), messages[1:]
    turns = _alternating(messages)
    turns[0] = system + turns[0]
    told = "".join(
        f"[INST] {user} [/INST] {assistant}{end}" for user, assistant in zip(turns[:-1:2], turns[1::2], strict=True)
    )
    return f"{told}[INST] {turns[-1]} [/INST]"


def _alternating(messages: Sequence[Message]) -> list[str]:
    expected = ["user", "assistant"] * len(messages)
    roles = [message.role for message in messages]
    if roles != expected[: len(roles)] or len(roles) % 2 == 0:
        raise RequestRejected(
            f"the roles {roles} do not alternate from a user's turn to a user's turn",
            hint="This chat format knows no other order; join neighbouring turns of one role.",
        )
    return [message.content.strip() for message in messages]


def _plain(messages: Sequence[Message]) -> tuple[str, tuple[str, ...]]:
    """One question needs no labels; a longer conversation does."""
    if [message.role for message in messages if message.role != "system"] == ["user"]:
        return "\n\n".join(message.content for message in messages), ()
    labels = {"system": "", "user": "User: ", "assistant": "Assistant: "}
    turns = [f"{labels[message.role]}{message.content}\n" for message in messages]
    return f"{''.join(turns)}Assistant:", ("\nUser:",)
