"""What is shown of a reply while it is written is the beginning of what its reader will have, however it is cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_parser import MALFORMED

from ragwright.agent.parser import parse_reply
from ragwright.agent.protocol import FINAL_ANSWER, same_name, write_action
from ragwright.agent.watching import ReplyReader


def shown_of(pieces: list[str]) -> tuple[str, str | None]:
    reader = ReplyReader()
    shown = "".join(reader.read(piece) for piece in pieces)
    return shown, reader.action


def check(reply: str, pieces: list[str]) -> str:
    """What is shown never says what the whole does not, and a tool that is announced is the one that is meant."""
    parsed = parse_reply(reply)
    reader, shown = ReplyReader(), ""
    said = parsed.action_input.strip() if isinstance(parsed.action_input, str) else json.dumps(parsed.action_input)
    for piece in pieces:
        shown += reader.read(piece)
        assert not shown or (parsed.action == FINAL_ANSWER and parsed.form in ("exact", "mended"))
        assert said.startswith(shown)
    if reader.action is not None:
        assert same_name(reader.action, [parsed.action])
    return shown


def cuts(reply: str, size: int) -> list[str]:
    return [reply[at : at + size] for at in range(0, len(reply), size)]


BEGUN = '{"action": "Final Answer", "action_input": "'
FRAGMENTS = st.sampled_from([
    '"', "'", "`", "\\", '\\"', "\\n", "\\u00e9", "\\ud83d", "\\ude00", "\\ud83d\\ude00", "\\u12", "\\x", "\\/",
    "{", "}", "[", "]", ",", ", ", ":", " ", "\n", "<", "<th", "<think>", "</think>", "<THINK>", "```", "```json\n",
    "//", "a", "b c", "é", "😀", '"action"', '"action_input"', BEGUN, '", "action_input": "x"',
    '", "action": "Calculator"',
    "Final Answer", "Calculator", "}\n", '"}', "'}", "]}", "null", "1.5", "AI: ", "Action: ",
]) | st.text(max_size=3)  # fmt: skip
OPENINGS = st.sampled_from([
    "", BEGUN, '{"action":"final_answer","action_input":"', '```json\n{"action": "Final Answer",\n "action_input": "',
    f'<think>{{"a": 1}}</think>{BEGUN}', 'AI: {"action": "Calculator", "action_input": "',
    '{ "action" : "FinalAnswer" , "action_input" : "',
])  # fmt: skip


@given(OPENINGS, st.lists(FRAGMENTS, max_size=12), st.integers(1, 9))
@example(BEGUN, ["see [1]"], 1)
@example(BEGUN, ["a", '", "action_input": "b"}'], 3)
@example(BEGUN, ["a", '", "action": "Calculator"}'], 3)
@example(BEGUN, [" <think>", 'x"}'], 2)
@example(BEGUN, ['{\\"a\\": 1}"}'], 2)
@example(BEGUN, ["\\ud83d", "\\u0041", '"}'], 2)
def test_any_cut_of_any_reply_shows_a_beginning_of_it(opening: str, fragments: list[str], size: int) -> None:
    reply = opening + "".join(fragments)
    shown = check(reply, cuts(reply, size))
    # Held back or not does not depend on where the pieces were cut.
    assert shown == check(reply, list(reply))


@given(st.text(), st.integers(1, 9), st.booleans())
def test_any_answer_in_the_format_is_shown_but_for_its_end(text: str, size: int, ascii_only: bool) -> None:
    reply = json.dumps({"action": FINAL_ANSWER, "action_input": text}, ensure_ascii=ascii_only)
    shown = check(reply, cuts(reply, size))
    whole = text.strip()
    if "<think>" not in text.lower() and not whole.startswith("{"):
        rest = whole[len(shown) :]
        assert all(sign.isspace() or sign in "\"'`}]" for sign in rest)


@pytest.mark.parametrize("reply", [reply for reply, _ in MALFORMED], ids=range(len(MALFORMED)))
def test_a_malformed_reply_shows_nothing_that_it_does_not_mean(reply: str) -> None:
    check(reply, list(reply))
    check(reply, [reply])


def test_a_sentence_is_shown_as_it_is_written_and_its_tool_is_known_before_its_input() -> None:
    reader = ReplyReader()
    assert reader.read('{"action": "Final Answer", "action_input": "The cat') == "The cat"
    assert reader.read(" sat") == " sat"
    assert reader.read(" on\\u00e9 ") == " on\u00e9"
    assert reader.read("\\ud83d") == ""
    assert reader.read('\\ude00 mat."}') == " \U0001f600 mat."
    tool = ReplyReader()
    assert tool.read('{"action": "Calculator", "action_') == ""
    assert tool.action is None
    assert tool.read('input": "1') == ""
    assert tool.action == "Calculator"


def test_plain_text_and_other_layouts_are_left_to_the_whole_reply() -> None:
    for reply in (
        "I am fine.",
        '{"action_input": "a", "action": "Final Answer"}',
        "Final Answer: a",
        '{"answer": "a"}',
    ):
        assert shown_of(list(reply)) == ("", None)


def test_a_long_reply_is_read_in_time_proportional_to_its_length() -> None:
    reply = write_action(FINAL_ANSWER, "word <'}] " * 8_000)
    assert len(shown_of(list(reply))[0]) > 79_000
    assert shown_of(["<think>"] + ["x"] * 50_000) == ("", None)
