"""Whether an answer says only what the FAQ says, and what to quote when it does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ragwright.embedding import Vectors
from ragwright.packing import Section
from ragwright.reading import Reading
from ragwright.terms import NEGATIONS, STOPWORDS, CorpusStatistics, numbers, sentences, stem, terms, words

# A sentence may rephrase a little: this share of its content, weighed by rarity, must be in the section it rests on.
_MIN_OVERLAP = 0.8
# A word rarer than this carries a claim of its own and is never taken on trust.
_RARE = 0.5
# Least cosine of a sentence to the source sentence it is nearest to: the right words in another order can say anything.
_MIN_LIKENESS = 0.75
# A generated sentence may be this much less like the question than the best sentence of the FAQ; one that is further
# away answers something else.
_DRIFT = 0.1
# A passage that supports an answer may be this much less like the question than the best passage is. Text planted in
# an FAQ ("ignore all previous instructions") is in the section but not about the question.
_RELEVANCE_MARGIN = 0.3


@dataclass(frozen=True)
class Support:
    """What of an answer stands.

    Attributes:
        text: The longest run of leading sentences that are supported; empty if the first is not.
        sections: What they rest on, in order of use.
        faults: Why the rest fell, for `--explain`.
    """

    text: str
    sections: tuple[Section, ...]
    faults: tuple[str, ...]


def check(
    answer: str,
    question: str,
    query: npt.NDArray[np.float32],
    readings: Sequence[Reading],
    statistics: CorpusStatistics,
    embed: Callable[[Sequence[str]], Vectors],
) -> Support:
    """Keep an answer's leading sentences as long as each rests on one section.

    A sentence rests on a section when all its numbers, names and rare words occur there, most of its other content
    does too, it does not turn a statement into its opposite, it means about what a sentence there means, and the
    sentences it draws on are about the question. The first sentence must itself be about the question.

    Args:
        answer: What the language model wrote.
        question: As asked; repeating it is no answer.
        query: float32 [d], the question's vector.
        readings: Of the sections that the model was shown.
        statistics: Of the corpus.
        embed: Texts to float32 [n, d], rows of length one.
    """
    kept: list[str] = []
    used: dict[Section, None] = {}
    best = max((reading.best_similarity for reading in readings), default=-1.0)
    written = list(dict.fromkeys(sentences(answer)))  # small models repeat themselves
    vectors = embed(written) if written else np.zeros((0, len(query)), np.float32)
    if written and float(vectors[0] @ query) < (best - _DRIFT) * float(np.linalg.norm(query)):
        return Support("", (), ("it is less about the question than the FAQ is",))
    for sentence, vector in zip(written, vectors, strict=True):
        faults: list[str] = []
        for reading in readings:
            fault = _fault(sentence, question, vector, reading, statistics, floor=best - _RELEVANCE_MARGIN)
            if fault is None:
                kept.append(sentence)
                used[reading.section] = None
                break
            faults.append(fault)
        else:
            return Support(" ".join(kept), tuple(used), tuple(dict.fromkeys(faults)))
    return Support(" ".join(kept), tuple(used), ())


def best_passage(reading: Reading, max_tokens: int, count: Callable[[str], int]) -> str:
    """The part of a section to quote: all of it if it is short, else the sentences around the one nearest the question.

    Args:
        reading: The section, read.
        max_tokens: How long a quote may be; one sentence is quoted whole however long it is.
        count: Tokens of a text.
    """
    text = reading.section.text.strip()
    if count(text) <= max_tokens or not reading.sentences:
        return text
    best = int(reading.similarities.argmax())
    first, last = best, best
    while True:
        # Grow towards the neighbour that is nearer to the question while the quote still fits.
        neighbours = [index for index in (first - 1, last + 1) if 0 <= index < len(reading.sentences)]
        neighbours.sort(key=lambda index: -reading.similarities[index])
        wider = [(min(first, index), max(last, index)) for index in neighbours]
        fitting = [span for span in wider if count(_quote(reading, *span)) <= max_tokens]
        if not fitting:
            return _quote(reading, first, last)
        first, last = fitting[0]


def _quote(reading: Reading, first: int, last: int) -> str:
    """The section's own text from one sentence to another, line breaks and all."""
    text = reading.section.text
    start = 0
    begin = end = 0
    for index, sentence in enumerate(reading.sentences[: last + 1]):
        position = text.index(sentence, start)
        start = position + len(sentence)
        begin = position if index == first else begin
        end = start
    return text[begin:end].strip()


def _fault(
    sentence: str,
    question: str,
    vector: npt.NDArray[np.float32],
    reading: Reading,
    statistics: CorpusStatistics,
    *,
    floor: float,
) -> str | None:
    """Why a sentence does not rest on a section, None if it does."""
    if sentence.endswith("?"):
        return "it is a question"
    if not set(words(sentence)) - set(words(question)) - set(words(reading.section.question)):
        return "it only repeats the question"
    fault = _vocabulary_fault(sentence, reading, statistics)
    if fault is not None:
        return fault
    if not len(reading.vectors) or float((reading.vectors @ vector).max()) < _MIN_LIKENESS:
        return f"no sentence of row {reading.section.row} means the same"
    return _passage_fault(sentence, reading, floor)


def _vocabulary_fault(sentence: str, reading: Reading, statistics: CorpusStatistics) -> str | None:
    """Compare numbers, names and other words with the whole section."""
    row, source = reading.section.row, reading.section.full_text
    invented = numbers(sentence) - numbers(source)
    if invented:
        return f"numbers {sorted(invented)!r} are not in row {row}"
    known = set(terms(source))
    weights = {term: 0.1 + statistics.rarity(term) for term in terms(sentence)}
    missing = weights.keys() - known
    claims = missing & (_names(sentence) | {term for term in missing if statistics.rarity(term) > _RARE})
    if claims:
        return f"words {sorted(claims)!r} are not in row {row}"
    total = sum(weights.values())
    if not total or sum(weights[term] for term in weights.keys() & known) / total < _MIN_OVERLAP:
        return f"too little of it is in row {row}"
    return None


def _passage_fault(sentence: str, reading: Reading, floor: float) -> str | None:
    """Compare with the source sentences that share most with it: same polarity, and about the question."""
    content = set(terms(sentence))
    shared = [len(content & set(terms(source))) for source in reading.sentences]
    most = max(shared, default=0)
    drawn_on = [index for index, count in enumerate(shared) if count and count >= most / 2]
    if not drawn_on:
        return f"no sentence of row {reading.section.row} says it"
    if max(float(reading.similarities[index]) for index in drawn_on) < floor:
        return f"what it says of row {reading.section.row} is not about the question"
    closest = [reading.sentences[index] for index in drawn_on if shared[index] == most]
    if _negated(sentence) not in {_negated(source) for source in closest}:
        return f"it turns a statement of row {reading.section.row} into its opposite"
    opening = words(sentence)[:1]
    if opening in (["yes"], ["no"]) and opening[0] not in words(reading.section.text):
        return f"row {reading.section.row} does not say {opening[0]!r}"
    return None


def _names(sentence: str) -> set[str]:
    """Stems of capitalised words and of words with digits; the first word counts only if it is no stopword."""
    capitalised = (
        word for token in sentence.split() if any(c.isupper() or c.isdigit() for c in token) for word in words(token)
    )
    return {stem(word) for word in capitalised if word not in STOPWORDS}


def _negated(sentence: str) -> bool:
    return any(word in NEGATIONS for word in words(sentence))
