"""Stored conversations are continued, listed and deleted; none can be half written or lie elsewhere."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ragwright.agent.conversations import Conversations
from ragwright.agent.memory import Exchange
from ragwright.agent.protocol import Step, Turn
from ragwright.errors import ConfigurationError

TURN = Turn("what is 1+1?", "2", (Step("Calculator", "1+1", "2"),))


def test_what_was_said_is_there_again(tmp_path: Path) -> None:
    stored = Conversations(tmp_path / "c")
    assert stored.load("work") == ()
    stored.append("work", TURN)
    stored.append("work", Turn("bye", "see you"))
    assert Conversations(tmp_path / "c").load("work") == (
        Exchange(TURN.text, TURN.reply, TURN.steps),
        Exchange("bye", "see you"),
    )
    assert [(info.name, info.turns) for info in stored.all()] == [("work", 2)]
    assert os.stat(tmp_path / "c" / "work.json").st_mode & 0o077 == 0
    stored.delete("work")
    assert stored.all() == []
    with pytest.raises(ConfigurationError, match="'work'"):
        stored.delete("work")


@pytest.mark.parametrize(
    "name", ["", "..", "../x", "a/b", "/etc/passwd", ".hidden", "a b", "x" * 65, "a\x00b", "é", "a\n"]
)
def test_a_name_is_a_plain_file_name(tmp_path: Path, name: str) -> None:
    stored = Conversations(tmp_path)
    for attempt in (lambda: stored.load(name), lambda: stored.append(name, TURN), lambda: stored.delete(name)):
        with pytest.raises(ConfigurationError, match="cannot name"):
            attempt()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"exchanges": 1}'])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "work.json").write_text(content)
    with pytest.raises(ConfigurationError, match="damaged") as refused:
        Conversations(tmp_path).load("work")
    assert "work.json" in str(refused.value)
    Conversations(tmp_path).delete("work")


def test_turns_added_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    threads = [threading.Thread(target=lambda: Conversations(tmp_path).append("work", TURN)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Conversations(tmp_path).load("work")) == 8
    assert {path.name for path in tmp_path.iterdir()} == {"work.json", ".lock"}
