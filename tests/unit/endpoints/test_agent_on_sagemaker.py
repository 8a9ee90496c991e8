"""The agent on a model behind SageMaker: whole replies and streamed ones, and a stream that breaks off."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from emulators.aws_cloud import AwsCloud

from ragwright.agent import open_agent
from ragwright.endpoints import EndpointSpec, Lease, open_host
from ragwright.errors import Unavailable
from ragwright.settings import Settings


@pytest.fixture
def settings(cloud: AwsCloud, on_sagemaker: Callable[..., Settings]) -> Settings:
    settings = on_sagemaker()
    with open_host(settings) as host:
        spec = EndpointSpec(name="talker", model="flan-t5-xl", contract="tgi")
        host.deploy(spec, Lease.lasting(owner="me", minutes=60))
        host.wait(["talker"], timeout=20)
    generation = settings.generation.model_copy(update={"endpoint": "talker", "model": "flan-t5-xl", "contract": "tgi"})
    return settings.model_copy(update={"generation": generation})


def action(name: str, given: str) -> str:
    return json.dumps({"action": name, "action_input": given})


def whole(text: str) -> tuple[int, bytes]:
    return 200, json.dumps([{"generated_text": text, "details": {"finish_reason": "eos_token"}}]).encode()


def streamed(text: str) -> tuple[int, bytes]:
    pieces = [text[at : at + 9] for at in range(0, len(text), 9)]
    events = [{"token": {"text": piece}, "generated_text": None} for piece in pieces]
    last = {"token": {"text": "</s>", "special": True}, "generated_text": text}
    return 200, b"".join(b"data:" + json.dumps(item).encode() + b"\n\n" for item in [*events, last])


def test_a_turn_calls_the_calculator_and_replies(cloud: AwsCloud, settings: Settings) -> None:
    cloud.switches.replies += [whole(action("Calculator", "12 * 7")), whole(action("Final Answer", "It is 84."))]
    with open_agent(settings, search=False) as agent:
        turn = agent.turn("what is 12 times 7?")
    assert (turn.reply, [step.observation for step in turn.steps]) == ("It is 84.", ["84"])
    assert not cloud.switches.replies


def test_a_reply_is_shown_as_its_parts_arrive(cloud: AwsCloud, settings: Settings) -> None:
    cloud.switches.part_bytes = 50
    cloud.switches.replies.append(streamed(action("Final Answer", "The cat sat on the mat, and purred.")))
    seen: list[str] = []
    with open_agent(settings, search=False, on_text=seen.append) as agent:
        reply = agent.turn("tell me a story").reply
    assert "".join(seen) == reply == "The cat sat on the mat, and purred."
    assert len(seen) > 2


def test_a_stream_that_breaks_off_leaves_nothing_behind(cloud: AwsCloud, settings: Settings) -> None:
    cloud.switches.part_bytes = 200
    cloud.switches.break_stream_after = (3, "ModelStreamError")
    cloud.switches.replies.append(streamed(action("Final Answer", "The cat sat on the mat, and purred.")))
    seen: list[str] = []
    with open_agent(settings, search=False, on_text=seen.append) as agent:
        with pytest.raises(Unavailable, match="broke off"):
            agent.turn("tell me a story")
        assert agent.memory.exchanges == ()
    assert "The cat sat on the mat, and purred.".startswith("".join(seen))
    assert seen
