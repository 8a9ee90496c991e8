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
        ("6 squared please", 36),
        ("sqrt(81), please", 9),
        ("give me a sixth of 90", 15),
        ("what's two thirds of 60?", 40),
        ("three quarters of 1,000", 750),
        ("a quarter of the square root of 64", 2),
        ("one half of 9", 4.5),
        ("five factorial plus 1", 121),
        ("what percent of 80 is 20?", 25),
        ("30 is what percentage of 40?", 75),
        ("5 as a percentage of 20", 25),
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
        ("and what is a quarter of that", 2.5),
        ("two fifths of the result?", 4),
    ],
)
def test_that_is_the_last_number(text: str, value: float) -> None:
    expression = read_arithmetic(text, "10")
    assert expression is not None
    assert calculate(expression) == pytest.approx(value)
    alone = read_arithmetic(text)
    assert alone is None or "10" in text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A pencil costs 0.40. How much are 30 of them?", 12),
        ("Each ticket is $7.50. What do 4 tickets cost?", 30),
        ("Parking costs 2.50 euros an hour. What would 8 hours cost?", 20),
        ("If 6 eggs cost 1.80, what does one egg cost?", 0.3),
        ("12 bottles cost $18. How much is a single bottle?", 1.5),
        ("A lamp costs 60 dollars and is 25% off. What does it cost now?", 45),
        ("Shoes for $90 are reduced by a discount of 10 percent. What is the new price?", 81),
        ("The bill is 40 dollars and I add a 15% tip. What is the total?", 46),
        ("My rent of 800 goes up by 5%. How much will it cost?", 840),
        ("The meal was 50 euros. How much is the tip at 10%, please?", 5),
        ("I bought 2 shirts at 15 each and a hat for 9.50. How much did I spend?", 39.5),
        ("She bought four apples for 3 dollars and a melon for 2. How much did she pay?", 5),
    ],
)
def test_a_question_about_prices_is_computed(text: str, value: float) -> None:
    expression = read_arithmetic(text)
    assert expression is not None
    assert calculate(expression) == pytest.approx(value)


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
        "a third of customers",
        "What is the third of 5 options?",
        "Which quarter of 2024 was the best?",
        "How much does one ml.m5.large hour cost in 3 Regions?",
        "A job costs 4 dollars. How long does it run?",
        "Spot saves up to 90%. What does a job of 3 hours cost in Ireland?",
        "I bought 3 books at 12 each and a pen. How much did I spend?",
        "A bag costs 10 dollars and is reduced by 20%, then raised by 10%. What does it cost now?",
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


@pytest.mark.parametrize(
    "text",
    [
        "How many GPUs does an ml.p4d.24xlarge have?",
        "How much memory is in an H100?",
        "Price per gigabyte in us-east-1?",
        "How many profiles fit into one domain?",
        "How many of them may one account have in total?",
    ],
)
def test_names_with_digits_and_a_lone_one_are_nothing_to_compute_with(text: str) -> None:
    assert not wants_arithmetic(text)


@pytest.mark.parametrize(
    "text",
    [
        "How many minutes are in 3 hours?",
        "I have one apple and buy two more, how many are there?",
        "what is one plus one?",
        "Two H100 at 40 dollars each, how much is that?",
        "twenty-one cookies for 3 children, how many does each get?",
    ],
)
def test_numbers_beside_them_still_are(text: str) -> None:
    assert wants_arithmetic(text)
