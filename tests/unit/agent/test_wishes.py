"""What a user's own words ask for, and what passes for them."""

from __future__ import annotations

import time

import pytest

from ragwright.agent.wishes import asks_for_arithmetic, asks_for_knowledge, own_words


@pytest.mark.parametrize(
    "text",
    [
        "Which instances can I use with Managed Spot Training?",
        "how do I descale the kettle",
        "Tell me about encryption.",
        "Hi, can you look up the warranty?",
        "Is my data encrypted at rest?",
    ],
)
def test_a_question_about_the_world_asks_for_knowledge(text: str) -> None:
    assert asks_for_knowledge(own_words(text))


TALK = (
    "hey how are you today?",
    "Thanks!",
    "Hello there",
    "My name is Anna.",
    "What is my name?",
    "What did I just ask?",
    "Tell me a joke.",
)


@pytest.mark.parametrize("text", TALK)
def test_talk_and_memories_do_not(text: str) -> None:
    assert not asks_for_knowledge(own_words(text))


ARITHMETIC = {
    "double it": True,
    "what is '6*7'?": True,
    "what is seven factorial?": True,
    'he said "6*7 now"': False,
    "hello": False,
}


@pytest.mark.parametrize(("text", "asks"), ARITHMETIC.items())
def test_arithmetic_is_asked_for_in_ones_own_words(text: str, asks: bool) -> None:
    assert asks_for_arithmetic(own_words(text)) == asks


PIECES = ['"', "'", "`", "“", "<a", "{", "}", ",", "hi", "!", "translate", "system", "9+", "the", "1,", ">", "?"]


@pytest.mark.parametrize("end", ["", " ", "\n"])
@pytest.mark.parametrize("piece", PIECES)
def test_a_turn_is_read_in_bounded_time(piece: str, end: str) -> None:
    piece += end
    text = (piece * 8_000)[:8_000] + "x"
    started = time.perf_counter()
    own = own_words(text)
    asks_for_arithmetic(own)
    asks_for_knowledge(own)
    assert time.perf_counter() - started < 1
