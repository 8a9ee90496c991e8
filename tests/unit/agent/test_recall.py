"""What a user told is found again by the words of the question, and no question about the FAQ is mistaken for one."""

from __future__ import annotations

import pytest
from agent_world import Faq, Script, agent_on, final

from ragwright.agent import Exchange
from ragwright.agent.recall import recall, restate

TOLD = (
    "I live in Porto.",
    "My cat is called Pepper.",
    "Our budget is 300 dollars. I drive a blue Fiat.",
    "The meeting room is Jupiter.",
    "My bus goes at 7:10.",
    "What is an endpoint?",
    "My endpoint is slow.",
    'My friend wrote "I like figs".',
    "I use managed spot training.",
)
EXCHANGES = tuple(Exchange(text, "ok") for text in TOLD)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Which town do I live in?", "I live in Porto."),
        ("What is my cat's name?", "My cat is called Pepper."),
        ("what is our budget", "Our budget is 300 dollars."),
        ("Which car do I drive?", "I drive a blue Fiat."),
        ("What is the meeting room?", "The meeting room is Jupiter."),
        ("When does my bus go?", "My bus goes at 7:10."),
    ],
)
def test_a_question_goes_back_to_what_the_user_told(text: str, said: str) -> None:
    assert recall(text, EXCHANGES) == said


@pytest.mark.parametrize(
    "text",
    [
        "What does my endpoint cost?",
        "How do I change my endpoint?",
        "Which instances can I use with managed spot training?",
        "What is managed spot training?",
        "What is an endpoint?",
        "What do I like, figs?",
        "What is my job?",
        "hello",
        "",
    ],
)
def test_other_questions_do_not(text: str) -> None:
    assert recall(text, EXCHANGES) is None


def test_the_latest_statement_counts() -> None:
    moved = (Exchange("I live in Porto.", "ok"), Exchange("I live in Faro now.", "ok"))
    assert recall("Where do I live?", moved) == "I live in Faro now."


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        ("You live in Porto.", "You live in Porto."),
        ("Porto", "Porto"),
        ("Hello! How can I help you?", "You told me: I live in Porto."),
        ("You live in a city.", "You told me: I live in Porto."),
    ],
)
def test_a_reply_without_the_fact_is_replaced(reply: str, shown: str) -> None:
    assert restate(reply, "I live in Porto.", "Where do I live?") == shown


def test_what_was_told_is_shown_to_the_model_and_not_searched_for() -> None:
    faq = Faq("x")
    script = Script(final("Nice!"), final("Yes."))
    agent = agent_on(script, faq=faq, constrained="off")
    agent.turn("I live in Porto.")
    turn = agent.turn("Where do I live?")
    assert (turn.reply, turn.steps, faq.asked) == ("You told me: I live in Porto.", (), [])
    shown = [message.content for message in script.prompts[-1]]
    assert shown[-1].startswith("I told you: I live in Porto.\nWhere do I live?\n\nReply with")
    assert not any("Nice!" in content for content in shown)


def test_without_routing_a_model_remembers_by_itself() -> None:
    agent = agent_on(Script(final("Nice!"), final("Yes.")), routing="off")
    agent.turn("I live in Porto.")
    assert agent.turn("Where do I live?").reply == "Yes."
