"""Whatever a model replies is read as an action or as a final answer."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragwright.agent.parser import parse_reply
from ragwright.agent.protocol import FINAL_ANSWER, write_action

CALL = ("Calculator", "4**2.1")
GREET = (FINAL_ANSWER, "I am fine, thank you.")

MALFORMED: list[tuple[str, tuple[str, Any]]] = [
    # Around the object.
    ('```json\n{"action": "Calculator", "action_input": "4**2.1"}\n```', CALL),
    ('```\n{"action": "Calculator", "action_input": "4**2.1"}\n```', CALL),
    ('```json\n{"action": "Calculator", "action_input": "4**2.1"}', CALL),
    ('~~~{"action": "Calculator", "action_input": "4**2.1"}~~~', CALL),
    ('AI: \nAssistant: {"action": "Calculator", "action_input": "4**2.1"}', CALL),
    ('AI: \nAssistant: ```json\n{"action": "Calculator", "action_input": "4**2.1"}\n```', CALL),
    ('Sure! Here is the JSON:\n{"action": "Calculator", "action_input": "4**2.1"}\nI hope this helps.', CALL),
    ('  \n\n{"action": "Calculator", "action_input": "4**2.1"}\n\n ', CALL),
    ('\ufeff{"action": "Calculator", "action_input": "4**2.1"}', CALL),
    ('<s>{"action": "Calculator", "action_input": "4**2.1"}</s>', CALL),
    ('<think>Should I {"action": "Search"}?</think>{"action": "Calculator", "action_input": "4**2.1"}', CALL),
    ('{"thoughts": "easy"}\n{"action": "Calculator", "action_input": "4**2.1"}', CALL),
    ('[{"action": "Calculator", "action_input": "4**2.1"}]', CALL),
    ('{"response": {"action": "Calculator", "action_input": "4**2.1"}}', CALL),
    ('{{"action": "Calculator", "action_input": "4**2.1"}}', CALL),
    ('json {"action": "Calculator", "action_input": "4**2.1"}', CALL),
    # Several objects: what came after the first was made up.
    (
        '{"action": "Calculator", "action_input": "4**2.1"}\n{"action": "Final Answer", "action_input": "18"}',
        CALL,
    ),
    (
        '{"action": "Calculator", "action_input": "4**2.1"}\nObservation: 17\n'
        '{"action": "Final Answer", "action_input": 17}',
        CALL,
    ),
    # Quotes.
    ("{'action': 'Calculator', 'action_input': '4**2.1'}", CALL),
    ("{'action': \"Calculator\", 'action_input': '4**2.1'}", CALL),
    ("{`action`: `Calculator`, `action_input`: `4**2.1`}", CALL),
    ("{\u201caction\u201d: \u201cCalculator\u201d, \u201caction_input\u201d: \u201c4**2.1\u201d}", CALL),
    ('{action: "Calculator", action_input: "4**2.1"}', CALL),
    ("{action: Calculator, action_input: 4**2.1}", CALL),
    ('{"action": Calculator, "action_input": 4**2.1}', CALL),
    ('{"action": "Calculator", "action_input": """4**2.1"""}', CALL),
    ("{'action': 'Final Answer', 'action_input': 'It's fine'}", (FINAL_ANSWER, "It's fine")),
    ("{'action': 'Final Answer', 'action_input': 'It\\'s fine'}", (FINAL_ANSWER, "It's fine")),
    ('{"action": "Final Answer", "action_input": "He said "hi" to me"}', (FINAL_ANSWER, 'He said "hi" to me')),
    ('{"action": "Final Answer", "action_input": "He said "hi", ok"}', (FINAL_ANSWER, 'He said "hi", ok')),
    # Commas, braces, colons.
    ('{"action": "Calculator", "action_input": "4**2.1",}', CALL),
    ('{"action": "Calculator" "action_input": "4**2.1"}', CALL),
    ('{"action": "Calculator",, "action_input": "4**2.1"}', CALL),
    ('{"action": "Calculator"; "action_input": "4**2.1"}', CALL),
    ('{"action": "Calculator", "action_input": "4**2.1"', CALL),
    ('{"action": "Calculator", "action_input": "4**2.1', CALL),
    ('{"action": "Calculator", "action_input": "4**2.1"]', CALL),
    ('{"action": "Calculator", "action_input": "4**2.1"}}}', CALL),
    ('{"action" = "Calculator", "action_input" = "4**2.1"}', CALL),
    ('{"action" => "Calculator", "action_input" => "4**2.1"}', CALL),
    ('{\n  // compute\n  "action": "Calculator",\n  "action_input": "4**2.1"\n}', CALL),
    ('{"action": "Final Answer", "action_input": "I am fine, thank you.', GREET),
    ('{"action": "Final Answer", "action_input": "I am fine, thank you."', GREET),
    # Keys and names.
    ('{"Action": "Calculator", "Action Input": "4**2.1"}', CALL),
    ('{"action": "Calculator", "actionInput": "4**2.1"}', CALL),
    ('{"tool": "Calculator", "tool_input": "4**2.1"}', CALL),
    ('{"name": "Calculator", "arguments": "4**2.1"}', CALL),
    ('{"action": "Calculator", "input": "4**2.1", "thought": "easy"}', CALL),
    ('{"thought": "easy", "action": "Calculator", "action_input": "4**2.1"}', CALL),
    ('{"action": "Calculator", "expression": "4**2.1"}', CALL),
    ('{"name": "Calculator", "arguments": "{\\"expression\\": \\"1\\"}"}', ("Calculator", {"expression": "1"})),
    ('{"action": "final_answer", "action_input": "I am fine, thank you."}', GREET),
    ('{"action": "FinalAnswer", "action_input": "I am fine, thank you."}', GREET),
    ('{"Final Answer": "I am fine, thank you."}', GREET),
    ('{"answer": "I am fine, thank you."}', GREET),
    ('{"response": "I am fine, thank you."}', GREET),
    # Values.
    ('{"action": "Final Answer", "action_input": "two\nlines"}', (FINAL_ANSWER, "two\nlines")),
    ('{"action": "Final Answer", "action_input": "a\ttab"}', (FINAL_ANSWER, "a\ttab")),
    ('{"action": "Final Answer", "action_input": "a \\_ b"}', (FINAL_ANSWER, "a \\_ b")),
    # A lone half of a pair stands for no character.
    ('{"action": "Final Answer", "action_input": "caf\\u00e9 \\ud83d\\ude00 \\ud83d",}',
     (FINAL_ANSWER, "café 😀 \ufffd")),
    ('{"action": "Flag", "action_input": True}', ("Flag", True)),
    ('{"action": "Flag", "action_input": None}', ("Flag", None)),
    ("{'action': 'Flag', 'action_input': {'on': False, 'n': -1.5e3, 'all': [1, 'two',]}}",
     ("Flag", {"on": False, "n": -1500.0, "all": [1, "two"]})),
    ("{action: Calculator, action_input: pow(2, 3)}", ("Calculator", "pow(2, 3)")),
    ('{"action": "Clock"}', ("Clock", "")),
    # No object at all.
    ("Action: Calculator\nAction Input: 4**2.1", CALL),
    ("Thought: I compute.\nAction: Calculator\nAction Input: \"4**2.1\"\nObservation: 17", CALL),
    ("**Action:** Calculator\n**Action Input:** 4**2.1", CALL),
    ("Final Answer: I am fine, thank you.", GREET),
    ("Thought: done\nFinal Answer: I am fine, thank you.", GREET),
    ("I am fine, thank you.", GREET),
    ("AI: I am fine, thank you.", GREET),
    ("AI: \nAssistant: I am fine, thank you.", GREET),
    ("```\nI am fine, thank you.\n```", GREET),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "meant"), MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_reply_is_read_as_it_was_meant(reply: str, meant: tuple[str, Any]) -> None:
    parsed = parse_reply(reply)
    assert (parsed.action, parsed.action_input) == meant
    assert parsed.form in ("mended", "text", "exact")


def test_the_table_is_long_enough() -> None:
    assert len(MALFORMED) >= 60
    assert len({reply for reply, _ in MALFORMED}) == len(MALFORMED)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.text(min_size=1), JSON)
def test_a_well_formed_reply_is_read_as_it_is(action: str, action_input: Any) -> None:
    parsed = parse_reply(json.dumps({"action": action, "action_input": action_input}))
    assert (parsed.action, parsed.action_input, parsed.form) == (action, action_input, "exact")


PIECES = st.sampled_from(
    ['{', '}', '[', ']', '"', "'", ':', ',', '\\', '\n', '```', '"action"', '"action_input"', 'Calculator', 'Action:',
     'Final Answer:', 'AI:', '<think>', '\\u', '//', 'True', '1', '"""', ' ', '\ud7ff', '(', 'x']
)  # fmt: skip


@given(st.text() | st.lists(PIECES, max_size=40).map("".join))
def test_any_text_gives_an_action_or_a_final_answer(text: str) -> None:
    parsed = parse_reply(text)
    assert isinstance(parsed.action, str)
    assert parsed.action
    assert parsed.form in ("exact", "mended", "text", "broken", "empty")
    if parsed.form in ("text", "broken", "empty"):
        assert parsed.action == FINAL_ANSWER
        assert isinstance(parsed.action_input, str)


AROUND = st.text(alphabet="abc \n.:,", max_size=30)


@given(st.sampled_from(["Calculator", "Search"]), st.text(min_size=1), AROUND, AROUND)
def test_an_action_is_found_whatever_stands_around_it(action: str, given: str, before: str, after: str) -> None:
    parsed = parse_reply(f"{before}x{write_action(action, given)}{after}x")
    assert (parsed.action, parsed.action_input) == (action, given) or given.lstrip()[:1] == "{"


@pytest.mark.parametrize(
    "piece",
    ["{", '{"a":', "[", '{"', '"action', ', x"', "AI:", "//", "{//", "Action:\n", "<think>", "\\", " ", "{a", ' "', "'",
     "{'a':'", "{[", "Final Answer", "\n", "```", "{}", '{"a":"b"},', "**Action:** x\n"],
)  # fmt: skip
def test_reading_takes_time_in_proportion_to_the_length(piece: str) -> None:
    for reply in (piece * (1_000_000 // len(piece)), '{"action": "' + piece * (1_000_000 // len(piece))):
        started = time.perf_counter()
        parse_reply(reply)
        assert time.perf_counter() - started < 2
