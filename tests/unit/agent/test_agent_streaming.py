"""What is shown while a turn is answered: tools once they are named, and of the reply only what stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from agent_world import Faq, Script, call, final
from hypothesis import given
from hypothesis import strategies as st

from ragwright.agent import Agent, Memory, Tool, calculator_tool, family_of, search_tool, tool
from ragwright.errors import BadReply, RagwrightError, RequestRejected, Unavailable
from ragwright.generation import Generation, Message, ScriptedGenerator
from ragwright.settings import AgentSettings

Reply = str | RagwrightError | tuple[str, RagwrightError]


class Cut(ScriptedGenerator):
    """Replies one after the other, in pieces of a size; an error is raised, after the text that stands before it."""

    def __init__(self, *replies: Reply, size: int = 5) -> None:
        super().__init__(lambda _: pytest.fail("a whole reply was asked for"), context_tokens=8_000)
        self.replies, self.size = list(replies), size
        self.grammars: list[bool] = []

    def stream(
        self,
        prompt: Sequence[Message],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        grammar: Mapping[str, Any] | None = None,
    ) -> Iterator[str | Generation]:
        self.grammars.append(grammar is not None)
        reply = self.replies.pop(0)
        text, error = (
            reply if isinstance(reply, tuple) else ("", reply) if not isinstance(reply, str) else (reply, None)
        )
        for at in range(0, len(text), self.size):
            yield text[at : at + self.size]
        if error is not None:
            raise error
        yield Generation(text, "stop")


class Seen:
    """An agent with somebody who looks on; what they saw, in order: `>` and a tool, `=` and its answer, text."""

    def __init__(self, *replies: Reply, size: int = 5, tools: Sequence[Tool] = (), **settings: Any) -> None:
        self.log: list[str] = []
        self.generator = Cut(*replies, size=size)
        self.agent = Agent(
            self.generator,
            [calculator_tool(), *tools],
            settings=AgentSettings(**settings),
            family=family_of("chatml"),
            memory=Memory(5),
            on_step=lambda step: self.log.append(f"={step.observation}"),
            on_action=lambda name: self.log.append(f">{name}"),
            on_text=self.log.append,
        )

    @property
    def text(self) -> str:
        return "".join(item for item in self.log if item[:1] not in "=>")


def test_a_final_answer_is_shown_as_it_is_written() -> None:
    seen = Seen(final("The cat sat on the mat."), size=4)
    reply = seen.agent.turn("tell me a story").reply
    assert seen.text == reply == "The cat sat on the mat."
    assert len(seen.log) > 4


def test_a_tool_is_shown_before_it_answers_and_a_checked_reply_after_its_check() -> None:
    seen = Seen(call("Calculator", "12 * 7"), final("12 times 7 is 85."))
    reply = seen.agent.turn("what is 12 times 7?").reply
    # The reply was not the model's, and nothing of the model's was shown.
    assert seen.log == [">Calculator", "=84", reply]
    assert "84" in reply


def test_a_tool_taken_by_routing_is_shown_too() -> None:
    seen = Seen(final("It is 84."), routing="take")
    assert seen.agent.turn("what is 12 times 7?").reply == "It is 84."
    assert seen.log == [">Calculator", "=84", "It is 84."]


def test_a_told_fact_is_shown_once_it_is_known_to_be_in_the_reply() -> None:
    seen = Seen(final("Nice to meet you."), final("You asked me something."))
    seen.agent.turn("I live in Lisbon.")
    seen.log.clear()
    assert seen.agent.turn("Which city do I live in?").reply == "You told me: I live in Lisbon."
    assert seen.log == ["You told me: I live in Lisbon."]


def test_a_found_answer_that_is_the_reply_is_shown_whole() -> None:
    seen = Seen(call("Search", "q"), tools=[search_tool(Faq("The lamp is red."), verbatim=True)])
    reply = seen.agent.turn("What does the red lamp mean?").reply
    assert [item[:1] for item in seen.log[:2]] == [">", "="]
    assert seen.text == reply
    assert len(seen.log) == 3


def test_a_tool_that_is_not_offered_is_never_announced() -> None:
    def wipe(name: str) -> str:
        """Deletes an index for ever."""
        return "gone"

    seen = Seen(call("DeleteIndex", "a"), final("I will not."), tools=[tool(wipe, name="DeleteIndex")])
    assert seen.agent.turn("tell me a story").reply == "I will not."
    assert seen.log == [item for item in seen.log if not item.startswith(">")]
    assert seen.text == "I will not."


@pytest.mark.parametrize(
    "reply", ["I am fine.", '{"action": "Final Answer" "action_input": "I am fine."}', "AI: I am fine."]
)
def test_other_layouts_are_shown_when_they_are_whole(reply: str) -> None:
    seen = Seen(reply, constrained="off")
    assert seen.agent.turn("how are you?").reply == "I am fine."
    assert seen.log == ["I am fine."]


def test_a_reply_that_breaks_off_after_its_first_words_is_not_asked_for_again_nor_remembered() -> None:
    for error in (Unavailable("gone", place="endpoint x", hint="Ask again."), BadReply("bad"), RequestRejected("no")):
        seen = Seen((final("The cat sat on the mat.")[:60], error), final("never asked"))
        with pytest.raises(type(error)) as caught:
            seen.agent.turn("tell me a story")
        assert caught.value is error
        assert seen.text == "The cat sat on t"
        assert seen.agent.memory.exchanges == ()
        assert len(seen.generator.replies) == 1


def test_a_grammar_that_is_refused_before_the_first_word_is_left_out_and_nothing_is_shown_twice() -> None:
    seen = Seen(RequestRejected("no grammar"), final("Hello."), final("Again."))
    assert seen.agent.turn("hello").reply == seen.text == "Hello."
    seen.agent.turn("hello again")
    assert seen.text == "Hello.Again."
    assert seen.generator.grammars == [True, False, False]


def test_a_reply_that_broke_its_grammar_stands_if_it_was_being_read_already() -> None:
    broken = '{"action": "Final Answer", "action_input": "He said "hi" to me"}'
    seen = Seen(broken)
    assert seen.agent.turn("tell me a story").reply == seen.text == 'He said "hi" to me'
    with pytest.raises(BadReply):
        Seen(broken, constrained="on").agent.turn("tell me a story")


@given(
    st.lists(
        st.sampled_from([
            final("A story."), final('He said "hi".'), call("Calculator", "1 + 1"), call("Teapot", "x"), "plain words",
            '{"action": "Final Answer", "action_input": "cut', "{", '{"action": "Final Answer", "action_input": ""}',
            '```json\n{"action": "final answer", "action_input": "in a fence"}\n```', "",
            '{"action": "Final Answer", "action_input": "a", "action_input": "b"}',
        ]),
        min_size=30,
        max_size=30,
    ),
    st.sampled_from(["tell me a story", "what is 3 plus 4?", "I have 3 cats and buy 4 more, how many?", "hello"]),
    st.integers(1, 40),
    st.sampled_from(["auto", "off"]),
)  # fmt: skip
def test_whatever_the_model_says_the_pieces_together_are_the_reply(
    replies: list[str], turn: str, size: int, constrained: str
) -> None:
    seen = Seen(*replies, size=size, constrained=constrained)
    assert seen.agent.turn(turn).reply == seen.text
    named = [item[1:] for item in seen.log if item.startswith(">")]
    assert named == ["Calculator"] * len([item for item in seen.log if item.startswith("=")])


def test_without_anybody_who_looks_on_whole_replies_are_asked_for() -> None:
    script = Script(final("Hello."))
    generator = ScriptedGenerator(script)
    generator.stream = lambda *_, **__: pytest.fail("pieces were asked for")  # type: ignore[method-assign,assignment]
    with Agent(generator, [], settings=AgentSettings(), family=family_of("chatml")) as agent:
        assert agent.turn("hello").reply == "Hello."
