"""Each model family reads the conversation in the format it was trained on."""

from __future__ import annotations

import pytest

from ragwright.agent import FAMILIES, Exchange, Step, calculator_tool, family_of
from ragwright.agent.prompts import build_messages
from ragwright.errors import ConfigurationError
from ragwright.generation import Message

STEPS = (Step("Calculator", "1+1", "2"),)
SHORT = [Message("system", "S"), Message("user", "u1"), Message("assistant", "a1"), Message("user", "u2")]


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("llama-2", "[INST] <<SYS>>\nS\n<</SYS>>\n\nu1 [/INST] a1 </s><s>[INST] u2 [/INST]"),
        (
            "llama-3",
            "<|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nu1<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\na1<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nu2"
            "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        ("mistral", "[INST] S\n\nu1 [/INST] a1</s>[INST] u2 [/INST]"),
        (
            "chatml",
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nu1<|im_end|>\n<|im_start|>assistant\na1<|im_end|>\n"
            "<|im_start|>user\nu2<|im_end|>\n<|im_start|>assistant\n",
        ),
    ],
)
def test_a_conversation_is_written_as_the_family_reads_it(family: str, text: str) -> None:
    assert FAMILIES[family].render(SHORT) == text


@pytest.mark.parametrize("name", FAMILIES)
def test_turns_alternate_and_every_one_carries_the_reminder(name: str) -> None:
    family = FAMILIES[name]
    for steps in ((), STEPS, STEPS * 2):
        messages = build_messages(
            family,
            [calculator_tool()],
            [Exchange("hi", "hello")],
            "what is 1+1?",
            steps,
            ["Calculator", "Final Answer"],
        )
        roles = [message.role for message in messages if message.role != "system"]
        assert roles == (["user", "assistant"] * len(roles))[: len(roles)]
        assert roles[-1] == "user"
        assert (messages[0].role == "system") == family.system
        assert 'its action is "Calculator" or "Final Answer".' in messages[-1].content
        assert messages[-1].content.startswith("Reply with") == family.reminder_first
        assert '{"action": "Calculator", "action_input": "12 * 7"}' in "".join(message.content for message in messages)
        assert family.render(messages)


def test_an_unknown_family_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(ConfigurationError, match=r"'alpaca'.*chatml"):
        family_of("alpaca")
    assert family_of(None).name == "plain"
