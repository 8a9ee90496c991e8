"""Cases and attacks put to an agent; whatever happens is recorded, a failure included."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ragwright.agent.benchmark.cases import Case
from ragwright.agent.benchmark.scoring import StepRecord, TurnRecord
from ragwright.agent.protocol import Turn
from ragwright.errors import BadReply, RequestRejected, TimedOut
from ragwright.progress import Progress, silent


class Talks(Protocol):
    """What takes a user's turn: an agent."""

    def turn(self, text: str) -> Turn:
        """Reply to it."""


NewAgent = Callable[[], Talks]
"""Makes an agent that remembers nothing yet."""


def record_turn(agent: Talks, text: str) -> TurnRecord:
    """One turn and what it took.

    A turn that its model breaks off (it says what breaks the contract, takes too long, or what it is given does not fit
    into its context) is recorded with the reason.

    Raises:
        RagwrightError: The model's server is not there, which says nothing about the model.
    """
    started = time.perf_counter()
    try:
        turn = agent.turn(text)
    except (BadReply, RequestRejected, TimedOut) as error:
        return TurnRecord(text, "", seconds=time.perf_counter() - started, error=str(error))
    return TurnRecord(
        said=text,
        reply=turn.reply,
        steps=tuple(StepRecord(step.action, _text(step.action_input), step.observation) for step in turn.steps),
        raw=tuple(turn.raw),
        seconds=time.perf_counter() - started,
        # 0: the server does not count.
        prompt_tokens=turn.prompt_tokens or None,
        new_tokens=turn.new_tokens or None,
        repairs=turn.repairs,
    )


def play(
    cases: Sequence[Case], new_agent: NewAgent, *, what: str, progress: Progress = silent
) -> list[tuple[Case, list[TurnRecord]]]:
    """Every conversation from its first turn to its last, each with an agent of its own."""
    played = []
    for done, case in enumerate(cases):
        progress(what, done, len(cases))
        agent = new_agent()
        played.append((case, [record_turn(agent, turn.say) for turn in case.turns]))
    progress(what, len(cases), len(cases))
    return played


def _text(argument: Any) -> str:
    return argument if isinstance(argument, str) else json.dumps(argument, ensure_ascii=False, default=str)
