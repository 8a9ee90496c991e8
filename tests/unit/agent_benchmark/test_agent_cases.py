"""The cases that come with ragwright: enough of them, well formed, and not answered by their own words."""

from __future__ import annotations

import csv
import math
from collections import Counter
from pathlib import Path

import pytest

from ragwright.agent.benchmark.cases import Attack, Case, CaseTurn, load_attacks, load_cases, sample
from ragwright.agent.benchmark.numeric import states
from ragwright.bundled import bundled
from ragwright.errors import SourceError
from ragwright.evaluation.matching import normalise, satisfies

CASES, ATTACKS = load_cases(), load_attacks()


def test_there_are_enough_of_every_kind() -> None:
    kinds = Counter(case.kind for case in CASES)
    assert kinds == {
        "small-talk": 15,
        "arithmetic": 40,
        "follow-up": 15,
        "no-tool": 10,
        "search": 20,
        "unanswerable": 10,
        "memory": 15,
    }
    assert Counter(attack.where for attack in ATTACKS) == {"faq": 15, "user": 15}
    recalled = Counter(turn.recall for case in CASES for turn in case.turns if turn.recall)
    assert recalled == {1: 3, 2: 3, 3: 3, 4: 3, 5: 3}


@pytest.mark.parametrize("case", [case for case in CASES if case.kind == "memory"], ids=lambda case: case.id)
def test_a_fact_lies_as_many_turns_back_as_is_said(case: Case) -> None:
    *before, last = case.turns
    assert last.recall == len(before)
    told = [satisfies(turn.say, last.accept) for turn in before]
    assert [at for at, found in enumerate(told) if found] in ([0], [])  # "18:45" is told, "6:45" may be said


def test_no_user_states_the_number_that_is_asked_for() -> None:
    given_away = [
        case.id
        for case in CASES
        for turn in case.turns
        if turn.number is not None and any(states(before.say, turn.number) for before in case.turns)
    ]
    assert given_away == []


def test_the_classic_conversation_is_among_them() -> None:
    chain = next(case for case in CASES if case.turns[0].say == "what is 4 to the power of 2.1?" and case.turns[1:])
    assert [turn.number for turn in chain.turns] == [18.37917367995256, 55.13752103985769]


def test_every_searched_answer_stands_in_the_faq() -> None:
    with bundled("sagemaker_faq.csv").open(encoding="utf-8", newline="") as file:
        answers = [row["answer"] for row in csv.DictReader(file)]
    searched = [case.turns[-1] for case in CASES if case.kind == "search"]
    assert len(searched) == 20
    for turn in searched:
        assert satisfies(turn.say, turn.about), "a search for the question itself is about the right thing"
        assert 1 <= sum(satisfies(answer, turn.accept) for answer in answers) <= 15, turn.say


def test_a_canary_comes_from_the_attack_and_from_nowhere_else() -> None:
    for attack in ATTACKS:
        if attack.canary:
            assert normalise(attack.canary) in normalise(attack.say + " " + attack.passage)
    assert sum(bool(attack.canary) for attack in ATTACKS) >= 8


def test_a_sample_keeps_the_proportions_and_the_order() -> None:
    few = sample(CASES, 25, seed=7)
    assert [case.id for case in few] == [case.id for case in CASES if case in few]
    assert Counter(case.kind for case in few)["arithmetic"] == 8
    assert len(Counter(case.kind for case in few)) == 7
    assert few == sample(CASES, 25, seed=7)
    assert few != sample(CASES, 25, seed=8)
    assert sample(CASES, 1000, seed=7) == CASES


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "Invalid JSON"),
        ('{"id": "a", "kind": "x", "turns": []}', "turns"),
        ('{"id": "a", "kind": "x", "turns": [{"say": "1", "tool": "Clock"}]}', "Clock"),
        ('{"id": "a", "kind": "x", "turns": [{"say": "1", "number": 3}]}', "set tool to Calculator"),
        ('{"id": "a", "kind": "x", "turns": [{"say": "1", "recall": 2}]}', "needs accept"),
        ('{"id": "a", "kind": "x", "turns": [{"say": "1", "abstain": true, "accept": [["b"]]}]}', "neither"),
        ('{"id": "a", "kind": "x", "turns": [{"say": "1"}], "extra": 1}', "extra"),
    ],
)
def test_a_line_that_is_no_case_is_named(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"id": "fine", "kind": "x", "turns": [{"say": "hi"}]}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(SourceError, match="line 2") as caught:
        load_cases(path)
    assert says in str(caught.value)


def test_an_id_names_one_case(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"id": "a", "kind": "x", "turns": [{"say": "hi"}]}\n' * 2, encoding="utf-8")
    with pytest.raises(SourceError, match="taken"):
        load_cases(path)
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(SourceError, match="nothing"):
        load_cases(path)
    with pytest.raises(SourceError, match="cannot be read"):
        load_attacks(tmp_path / "none.jsonl")


def test_an_attack_stands_in_one_place() -> None:
    with pytest.raises(ValueError, match="passage"):
        Attack(id="a", where="faq", say="hi")
    with pytest.raises(ValueError, match="passage"):
        Attack(id="a", where="user", say="hi", passage="there")


def test_numbers_are_numbers() -> None:
    numbers = [turn.number for case in CASES for turn in case.turns if turn.number is not None]
    assert len(numbers) >= 70
    assert all(math.isfinite(number) for number in numbers)
    assert CaseTurn(say="hi").tool is None
