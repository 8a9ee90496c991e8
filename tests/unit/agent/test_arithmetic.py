"""Arithmetic is read off a user's own words, and only where a turn is about nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragwright.agent.arithmetic import read_arithmetic, wants_arithmetic
from ragwright.agent.calculator import calculate, is_arithmetic


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("what is 4 to the power of 2.1?", 18.37917367995256),
        ("What's 15% of 80?", 12),
        ("what is 15 percent of 80", 12),
        ("add five and twenty-three", 28),
        ("what is the square root of 144?", 12),
        ("divide 1,000 by 8", 125),
        ("how much is 3 x 4?", 12),
        ("2+2", 4),
        ("what is the sum of 3, 4 and 5?", 12),
        ("what's the average of 3, 4 and 8?", 5),
        ("what is (3+4)*2?", 14),
        ("what is 7 factorial", 5040),
        ("what is twelve times eleven", 132),
        ("three hundred and five minus 6", 299),
        ("What is 5 squared plus 3?", 28),
        ("sqrt(2) * sqrt(2) please", 2.0000000000000004),
        ("What is 2 to the 10th power?", 1024),
        ("subtract 8 from 20", 12),
        ("what is 2.5 million divided by 4?", 625_000),
        ("If you add 12 to 30, what do you get?", 42),
        ("what do you get when you multiply 6 by 7?", 42),
        ("Compute 17 * 23 please.", 391),
        ("what is half of 7?", 3.5),
        ("what is 10 modulo 3", 1),
        ("raise 2 to the power of 8", 256),
        ("the remainder when 17 is divided by 5?", 2),
        ("how much is $20 plus $5?", 25),
        ("what is 1.5 times -2?", -3),
        ("increase 200 by 10%", 220),
        ("what is two point five times two?", 5),
        ("can you calculate the product of 6 and 7?", 42),
    ],
)
def test_what_is_asked_in_words_is_computed(text: str, value: float) -> None:
    expression = read_arithmetic(text)
    assert expression is not None
    assert calculate(expression) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("can you multiply that by 3?", 30),
        ("divided by 4?", 2.5),
        ("now subtract 5", 5),
        ("and what is 20 percent of that?", 2),
        ("double it", 20),
        ("square the result", 100),
        ("add 5 to it", 15),
        ("what is the last result plus 1?", 11),
        ("take the square root of that", 10**0.5),
        ("add 10 to it and multiply by 2", 40),
    ],
)
def test_that_is_the_last_number(text: str, value: float) -> None:
    expression = read_arithmetic(text, "10")
    assert expression is not None
    assert calculate(expression) == pytest.approx(value)
    alone = read_arithmetic(text)
    assert alone is None or "10" in text


@pytest.mark.parametrize(
    "text",
    [
        "hey how are you today?",
        "Does SageMaker work 24/7?",
        "How many instances can I use?",
        "What is EC2?",
        "call me at 555-1234",
        "I was born on 1990-05-01",
        "Which of the 3 options is the best?",
        "Is ml.p3.2xlarge - 8 GPUs - available?",
        "is it true?",
        "",
        "   ",
        "x" * 5_000,
    ],
)
def test_what_is_about_something_else_is_left_alone(text: str) -> None:
    assert read_arithmetic(text, "10") is None


def test_a_word_problem_is_left_to_the_model_but_may_need_the_calculator() -> None:
    text = "I have 3 boxes with 4 apples each. How many apples do I have?"
    assert read_arithmetic(text) is None
    assert wants_arithmetic(text)
    assert not wants_arithmetic("hello there")


@given(st.text(max_size=200), st.none() | st.just("7"))
def test_whatever_is_read_is_arithmetic(text: str, last: str | None) -> None:
    found = read_arithmetic(text, last)
    assert found is None or is_arithmetic(found)
