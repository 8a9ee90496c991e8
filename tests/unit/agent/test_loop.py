"""A turn ends, within bounds, in a reply; tools are used as the user's own words allow."""

from __future__ import annotations

import pytest
from agent_world import Faq, Script, agent_on, call, final

from ragwright.agent import Memory, calculator_tool, tool
from ragwright.agent.protocol import Step
from ragwright.errors import BadReply, ConfigurationError, RequestRejected

POWER, PRODUCT = "18.37917367995256", "55.13752103985769"


@pytest.mark.parametrize("family", ["chatml", "llama-2", "llama-3", "mistral", "plain"])
def test_three_turns_greet_compute_and_go_on_with_the_result(family: str) -> None:
    script = Script(
        f"AI: \nAssistant: {final('I am fine, thank you!')}",
        f"```json\n{call('Calculator', '4**2.1')}\n```",
        final(f"It is {POWER}."),
        call("Calculator", f"{POWER} * 3"),
        final(f"That makes {PRODUCT}."),
    )
    agent = agent_on(script, family=family, constrained="off")
    greeting, power, product = map(
        agent.turn, ("hey how are you today?", "what is 4 to the power of 2.1?", "can you multiply that by 3?")
    )
    assert (greeting.reply, greeting.steps) == ("I am fine, thank you!", ())
    assert power.steps == (Step("Calculator", "4**2.1", POWER),)
    assert power.reply == f"It is {POWER}."
    assert product.steps == (Step("Calculator", f"{POWER} * 3", PRODUCT),)
    assert product.reply == f"That makes {PRODUCT}."
    assert product.repairs == 0
    assert len(product.raw) == 2
    assert set(product.timings_ms) == {"model", "tools", "total"}


def test_a_call_that_can_be_read_off_the_turn_is_made_without_the_model_where_that_is_set() -> None:
    script = Script(final("7"))
    turn = agent_on(script, routing="take").turn("what is 3 + 4?")
    assert turn.steps == (Step("Calculator", "3 + 4", "7"),)
    assert len(turn.raw) == 1


def test_a_reply_that_garbles_the_result_is_replaced() -> None:
    turn = agent_on(Script(call("Calculator", "4**2.1"), final("It is 18.73917."))).turn("what is 4 ** 2.1?")
    assert turn.reply == f"The result is {POWER}."


def test_a_rounded_result_may_stand() -> None:
    turn = agent_on(Script(call("Calculator", "4**2.1"), final("About 18.4."))).turn("what is 4 ** 2.1?")
    assert turn.reply == "About 18.4."


def test_an_unknown_tool_is_answered_with_the_known_ones() -> None:
    script = Script(call("Wikipedia", "x"), final("hello"))
    turn = agent_on(script, constrained="off").turn("hello")
    assert (turn.reply, turn.repairs, turn.steps) == ("hello", 1, ())
    assert "no action 'Wikipedia'; the known ones are Final Answer" in script.prompts[1][-1].content


def test_replies_are_asked_for_again_only_so_often() -> None:
    turn = agent_on(Script('{"action": 7}'), max_repairs=2, constrained="off").turn("hello")
    assert (turn.repairs, len(turn.raw)) == (2, 3)
    assert turn.reply == "I don't know."


def test_a_turn_takes_only_so_many_steps() -> None:
    count = iter(range(100))
    script = Script(lambda prompt: call("Calculator", f"1 + {next(count)}"))
    turn = agent_on(script, routing="off", max_steps=3, constrained="off").turn("how much is 1 and 2 plus more?")
    assert len(turn.steps) == 3
    assert turn.reply == "3"


def test_the_same_call_again_ends_the_calls() -> None:
    turn = agent_on(Script(call("Calculator", "1+1")), routing="off", constrained="off").turn("what is 1 + 1?")
    assert len(turn.steps) == 2
    assert turn.reply == "2"


def test_plain_text_is_a_final_answer() -> None:
    assert agent_on(Script("Good day to you."), constrained="off").turn("hello").reply == "Good day to you."


def test_an_endpoint_without_grammars_is_asked_without_from_then_on() -> None:
    script = Script("no JSON")
    agent = agent_on(script)
    agent.turn("hello")
    agent.turn("hello")
    assert len(script.prompts) == 3  # the first was sent twice
    with pytest.raises(BadReply):
        agent_on(Script("no JSON"), constrained="on").turn("hello")


@pytest.mark.parametrize("text", ["", " \n", "x" * 9_000, None])
def test_what_is_no_turn_is_refused_and_not_remembered(text: str) -> None:
    agent = agent_on(Script(final("hi")))
    with pytest.raises(RequestRejected):
        agent.turn(text)
    assert agent.memory.exchanges == ()


def test_a_found_answer_is_the_reply_word_by_word_with_its_source() -> None:
    faq = Faq("The tank is empty.")
    script = Script(call("Search", "What does the red lamp mean?"))
    turn = agent_on(script, faq=faq).turn("What does the red lamp mean?")
    assert turn.reply == "The tank is empty.\n[4] What does the red lamp mean?"
    assert faq.asked == ["What does the red lamp mean?"]
    assert len(turn.raw) == 1


def test_what_the_index_does_not_know_is_not_known() -> None:
    turn = agent_on(Script(call("Search", "x")), faq=Faq(None)).turn("What color is my desk?")
    assert turn.reply == "I don't know."


def test_the_oldest_exchanges_leave_a_full_context_first_and_the_protocol_stays() -> None:
    script = Script(final("word " * 60))
    agent = agent_on(script, context_tokens=600, max_new_tokens=100, window=5)
    for number in range(6):
        agent.turn(f"hello {number}")
    contents = [message.content for message in script.prompts[-1]]
    assert len(agent.memory.exchanges) == 5
    assert "hello 4" in contents
    assert "hello 1" not in contents
    assert '"action_input"' in contents[0]
    assert "Reply with one JSON object" in contents[-1]


def test_a_prompt_the_server_finds_too_long_is_sent_again_with_less_memory() -> None:
    script = Script(final("word " * 60))
    agent = agent_on(script, context=700, context_tokens=100_000, max_new_tokens=200)
    for number in range(8):
        assert agent.turn(f"hello {number}").reply
    assert "hello 7" in script.prompts[-1][-1].content


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="two actions"):
        agent_on(Script(""), tools=[calculator_tool()])


def test_a_tool_of_ones_own_is_called_with_checked_arguments() -> None:
    def repeat(word: str, times: int = 2) -> str:
        """Repeats a word."""
        return word * times

    script = Script(
        call("repeat", {"word": "ha", "times": "many"}), call("repeat", {"word": "ha", "times": 3}), final("hahaha")
    )
    turn = agent_on(script, tools=[tool(repeat)]).turn("Repeat the word ha three times")
    assert [step.observation for step in turn.steps][1] == "hahaha"
    assert turn.steps[0].observation.startswith("error: times:")
    assert "- repeat: Repeats a word." in script.prompts[0][0].content


def test_a_tool_without_a_condition_waits_to_be_named() -> None:
    def open_door(which: str) -> str:
        """Opens a door."""
        return which

    for text, wanted in (("hello", []), ("please open the front door", ["open_door"])):
        script = Script(call("open_door", "front"), final("done"))
        turn = agent_on(script, tools=[tool(open_door)], constrained="off").turn(text)
        assert [step.action for step in turn.steps] == wanted
        assert ("- open_door:" in script.prompts[0][0].content) == bool(wanted)


def test_a_step_is_told_before_the_model_is_asked_again() -> None:
    seen: list[str] = []
    script = Script(call("Calculator", "3 + 4"), lambda prompt: final(f"told {len(seen)}, it is {seen[-1]}"))
    agent = agent_on(script, on_step=lambda step: seen.append(step.observation))
    assert agent.turn("what is 3 + 4?").reply == "told 1, it is 7"


def test_a_turn_that_quotes_a_term_is_searched_for_whole() -> None:
    faq = Faq("It runs jobs on your machine.")
    agent_on(Script(final("x")), faq=faq, routing="take").turn('What does "local mode" do?')
    assert faq.asked == ['What does "local mode" do?']


def test_a_conversation_is_gone_on_with() -> None:
    first = agent_on(Script(call("Calculator", "6*7"), final("42")))
    first.turn("what is 6 times 7?")
    memory = Memory(5, first.memory.exchanges)
    script = Script(lambda prompt: call("Calculator", "42 - 2") if "42 - 2" in prompt[-1].content else final("40"))
    assert agent_on(script, memory=memory).turn("now subtract 2").steps[0].observation == "40"
