"""Late interaction: a question's words beside a text's, with vectors that are known."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragwright.embedding import HashingEmbedder, TokenVectors
from ragwright.errors import RequestRejected
from ragwright.interaction import Interaction, Meeting, _nearest
from ragwright.terms import CorpusStatistics

AXES = ["spot", "training", "price", "lower", "gpu", "quota", "how", "?"]
CORPUS = CorpusStatistics.from_texts(["spot training", "spot price", "spot", "training quota"])


class OneAxisAWord:
    """Gives each word its own direction, so that cosines are 0 or 1; counts what it is asked for."""

    max_tokens = 70

    def __init__(self) -> None:
        self.asked: list[str] = []

    def count_tokens(self, texts: list[str]) -> npt.NDArray[np.int32]:
        return np.array([len(text.split()) for text in texts], np.int32)

    def token_vectors(self, texts: list[str]) -> list[TokenVectors]:
        self.asked += texts
        if any(self.count_tokens(texts) > self.max_tokens):
            raise RequestRejected("a text is over the limit")
        found = []
        for text in texts:
            tokens = [token for token in text.replace("?", " ?").split() if token in AXES]
            spans, at = [], 0
            for token in tokens:
                at = text.index(token, at)
                spans.append((at, at + len(token)))
                at += len(token)
            vectors = np.eye(len(AXES), dtype=np.float32)[[AXES.index(token) for token in tokens]]
            found.append(TokenVectors(vectors.reshape(-1, len(AXES)), np.array(spans, np.int32).reshape(-1, 2)))
        return found


def meet(question: str, *texts: str) -> list[Meeting]:
    found = Interaction(OneAxisAWord()).meet(question, [[text] for text in texts], CORPUS)
    assert found is not None
    return found


def test_a_word_counts_by_the_nearest_of_the_text() -> None:
    [meeting] = meet("how spot gpu?", "spot training")
    assert meeting.nearest.tolist() == [0, 1, 0, 0]
    assert meeting.likeness == 0.25
    assert meeting.by_word == {"spot": 1.0, "gpu": 0.0}


def test_a_rare_word_weighs_more_and_marks_and_common_words_nothing() -> None:
    [meeting] = meet("how spot gpu?", "spot")
    how, spot, gpu, mark = meeting.weights.tolist()
    assert how == mark == 0
    assert 0 < spot < gpu
    assert spot + gpu == pytest.approx(1)
    assert meeting.unmet == pytest.approx(gpu)


def test_the_weakest_two_words_tell_a_near_miss() -> None:
    answered, near_miss = meet("lower spot training price", "lower spot training price", "spot training")
    assert answered.weakest == 1
    assert near_miss.weakest == 0
    assert near_miss.relevance < answered.relevance


def test_a_question_of_common_words_is_compared_all_the_same() -> None:
    [meeting] = meet("how how", "how")
    assert meeting.likeness == meeting.weakest == 1
    assert meeting.unmet == 0


def test_an_empty_text_meets_nothing() -> None:
    [meeting] = meet("spot", "")
    assert meeting.nearest.tolist() == [-1]
    assert meeting.unmet == 1


def test_pieces_of_a_text_are_met_together() -> None:
    found = Interaction(OneAxisAWord()).meet("spot price", [["spot training"], ["spot", "price"]], CORPUS)
    assert found is not None
    assert [meeting.likeness for meeting in found] == [0.5, 1]


def test_texts_are_embedded_once_and_the_oldest_are_forgotten() -> None:
    embedder = OneAxisAWord()
    interaction = Interaction(embedder, remember=4)
    interaction.meet("how", [["spot training"], ["price"]], CORPUS)
    interaction.meet("how", [["spot training"]], CORPUS)
    assert embedder.asked == ["how", "spot training", "price", "how"]
    interaction.meet("how", [["gpu quota"]], CORPUS)  # price has been waiting longest
    interaction.meet("how", [["spot training"], ["price"]], CORPUS)
    assert embedder.asked.count("spot training") == 1
    assert embedder.asked.count("price") == 2


def test_of_a_text_over_the_limit_the_beginning_counts() -> None:
    [meeting] = meet("spot gpu", "spot " * 128 + "gpu")
    assert meeting.by_word == {"spot": 1.0, "gpu": 0.0}


def test_a_refusal_for_another_reason_is_passed_on() -> None:
    class Refuses(OneAxisAWord):
        def token_vectors(self, texts: list[str]) -> list[TokenVectors]:
            if texts != ["how"]:
                self.asked += texts
                raise RequestRejected("401: the key is wrong")
            return super().token_vectors(texts)

    embedder = Refuses()
    with pytest.raises(RequestRejected, match="the key is wrong"):
        Interaction(embedder).meet("how", [["spot"]], CORPUS)
    assert embedder.asked == ["how", "spot"]


def test_an_embedder_without_token_vectors_compares_nothing() -> None:
    assert Interaction(HashingEmbedder(16)).meet("spot", [["spot"]], CORPUS) is None


@given(st.lists(st.sampled_from(AXES[:-1]), min_size=1, max_size=6), st.lists(st.sampled_from(AXES[:-1]), max_size=6))
def test_a_longer_text_never_meets_a_question_worse(asked: list[str], text: list[str]) -> None:
    shorter, longer = meet(" ".join(asked), " ".join(text), " ".join([*text, "gpu"]))
    assert longer.likeness >= shorter.likeness
    assert longer.relevance >= shorter.relevance - 1e-6
    assert longer.weakest >= shorter.weakest
    assert longer.unmet <= shorter.unmet + 1e-6
    assert abs(shorter.relevance) <= 1 + 1e-6


def test_threads_share_an_interaction() -> None:
    interaction = Interaction(OneAxisAWord(), remember=3)
    found: list[npt.NDArray[np.float32]] = []

    def ask() -> None:
        for text in ("spot training", "price", "gpu quota") * 20:
            meetings = interaction.meet("spot gpu", [[text]], CORPUS)
            assert meetings is not None
            found.append(meetings[0].nearest)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 * 60
    assert all(set(nearest.tolist()) <= {0.0, 1.0} for nearest in found)


@given(st.lists(st.lists(st.sampled_from([*AXES[:-1], "word"]), max_size=4).map(" ".join), max_size=6))
def test_texts_meet_a_question_together_as_they_do_alone(texts: list[str]) -> None:
    question = "how spot training price?"
    together = meet(question, *texts)
    for text, meeting in zip(texts, together, strict=True):
        [alone] = meet(question, text)
        assert meeting.nearest.tolist() == alone.nearest.tolist()
        assert set(alone.nearest.tolist()) <= ({0.0, 1.0} if set(text.split()) & set(AXES) else {-1.0})


@given(st.integers(1, 40), st.lists(st.integers(0, 300), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_every_token_meets_the_nearest_of_each_text(asked: int, lengths: list[int], seed: int) -> None:
    """Products are made a part of the rows at a time; no row is forgotten, and none is taken for another text's."""
    random = np.random.default_rng(seed)
    question, *texts = (random.standard_normal((length, 24)).astype(np.float32) for length in (asked, *lengths))
    expected = [(question @ text.T).max(axis=1) if len(text) else np.full(asked, -1) for text in texts]
    assert np.allclose(_nearest(question, texts), expected, atol=1e-4)
