"""Fitting the answerability model to a corpus without labels: its own questions, asked with their rows put aside.

Such a question is about the corpus's subjects, in its words, and the corpus does not answer it: a near miss. What the
evidence looks like for them gives the scales; how many of them, and of questions about something else altogether, would
be answered gives the threshold. Some held-out questions are answered by another row, so the rate that is kept is
higher than the one that readers meet: docs/evaluation.md has both.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ragwright.abstention import Calibration, Evidence, Judgement, Scale, default_models, gather
from ragwright.answering import Retrieved, Retriever
from ragwright.documents import Match
from ragwright.packing import Section, sections
from ragwright.progress import Progress, silent
from ragwright.reading import Reader
from ragwright.settings import AnsweringSettings

# A question this near to the one that is held out asks the same.
_SAME_QUESTION = 0.9
# Sections that are retrieved in place of those that are put aside.
_ALIKE = 3
# Questions that are searched for together, so that the FAQ's own questions in what they find are embedded at once.
_SEARCHED = 64
# Sections whose words are asked for together. Twice as many are in memory, and `Interaction` remembers more than that.
_TOGETHER = 92
# What is known of other corpora counts as much as so many questions of this one.
_PRIOR_QUESTIONS = 20

Floats = npt.NDArray[np.float64]


def calibrate(
    retriever: Retriever,
    reader: Reader,
    questions: Sequence[tuple[str, str]],
    unrelated: Sequence[str],
    settings: AnsweringSettings,
    *,
    records: int,
    models: Judgement | None = None,
    progress: Progress = silent,
) -> Calibration:
    """Fit the answerability model to what a retriever reads.

    Args:
        retriever: Reads the generation.
        reader: With the embedder that the generation was made with.
        questions: Row key and question of rows, each to be held out once.
        unrelated: Questions that the corpus certainly does not answer.
        settings: Retrieval, and the operating point.
        records: That the generation shows.
        models: Whose coefficients to use; those that come with ragwright by default.
        progress: Told after each question.
    """
    asked = [*((text, key) for key, text in questions), *((text, "") for text in unrelated)]
    near_misses: list[Evidence] = []
    others: list[Evidence] = []
    with closing(_evidence(retriever, reader, asked, settings)) as found:
        for done, evidence in enumerate(found, start=1):
            if evidence is not None:
                (near_misses if done <= len(questions) else others).append(evidence)
            if done <= len(questions):
                progress("calibration", done, len(questions))
    by_word = any(evidence.by_word for evidence in [*near_misses, *others])
    models = models or default_models()
    default = models.by_word if by_word else models.by_text
    scales = {name: _scale([e.to_dict()[name] for e in near_misses], default.scales[name]) for name in default.scales}
    model = replace(default, scales=scales)
    chances = [np.array([model.decide(e).probability for e in kind]) for kind in (near_misses, others)]
    threshold = _threshold(chances, settings.max_false_answer_rate, prior=default.threshold)
    return Calibration(
        by_word=by_word,
        scales=scales,
        threshold=threshold,
        candidates=settings.retrieved,
        lexical_candidates=settings.lexical_candidates,
        max_false_answer_rate=settings.max_false_answer_rate,
        false_answer_rate=_false_answers(chances, threshold),
        held_out=len(near_misses),
        unrelated=len(others),
        records=records,
    )


def held_out_k(settings: AnsweringSettings) -> int:
    """Sections that are retrieved for a question whose row is put aside."""
    return settings.retrieved + _ALIKE


@dataclass(frozen=True)
class _Asked:
    """A question, what was found for it, and what of that is read."""

    text: str
    found: Retrieved
    candidates: Sequence[Section]


def _evidence(
    retriever: Retriever, reader: Reader, questions: Sequence[tuple[str, str]], settings: AnsweringSettings
) -> Generator[Evidence | None, None, None]:
    """The evidence on each question, its row (by key; empty: none) put aside; None where nothing else is found."""
    with closing(_prepared(reader, _grouped(_searched(retriever, reader, questions, settings)))) as groups:
        for group in groups:
            for one in group:
                if not one.candidates:
                    yield None
                    continue
                statistics = one.found.statistics
                readings = reader.read(one.text, one.found.query_vector, one.candidates, statistics)
                yield gather(one.text, readings, statistics)


def _searched(
    retriever: Retriever, reader: Reader, questions: Sequence[tuple[str, str]], settings: AnsweringSettings
) -> Iterator[_Asked]:
    """Questions with what is found for them; the encoder is asked for many of the FAQ's own questions at once."""
    for start in range(0, len(questions), _SEARCHED):
        some = questions[start : start + _SEARCHED]
        found = [retriever.search(text, held_out_k(settings) if key else settings.retrieved) for text, key in some]
        reader.embed([match.question for one in found for match in one.matches])
        for one, (text, key) in zip(found, some, strict=True):
            yield _Asked(text, one, sections(_without(one, reader, key)))


def _grouped(questions: Iterable[_Asked]) -> Iterator[list[_Asked]]:
    """Questions in runs that read about as many sections."""
    group: list[_Asked] = []
    for one in questions:
        if group and sum(len(other.candidates) for other in [*group, one]) > _TOGETHER:
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _prepared(reader: Reader, groups: Iterable[list[_Asked]]) -> Generator[list[_Asked], None, None]:
    """Groups whose sections are ready to be read; while one is read, the encoder is asked for what the next one takes.

    What goes wrong with a group is raised in its turn. Closing it waits for what is on its way.
    """
    ahead = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
    under_way: deque[tuple[list[_Asked], Future[None]]] = deque()
    try:
        for group in groups:
            wanted = [section for one in group for section in one.candidates]
            under_way.append((group, ahead.submit(reader.prepare, wanted)))
            if len(under_way) > 1:
                yield _awaited(*under_way.popleft())
        while under_way:
            yield _awaited(*under_way.popleft())
    finally:
        ahead.shutdown(cancel_futures=True)


def _awaited(group: list[_Asked], prepared: Future[None]) -> list[_Asked]:
    prepared.result()
    return group


def _without(found: Retrieved, reader: Reader, row_key: str) -> Sequence[Match]:
    """What was found, less a row and those that ask the same."""
    if not row_key or not found.matches:
        return found.matches
    query = found.query_vector / (np.linalg.norm(found.query_vector) or 1.0)
    alike = reader.embed([match.question for match in found.matches]) @ query > _SAME_QUESTION
    aside = {match.row_key for match, same in zip(found.matches, alike, strict=True) if same} | {row_key}
    return [match for match in found.matches if match.row_key not in aside]


def _scale(values: Sequence[float], prior: Scale) -> Scale:
    """Mean and standard deviation, drawn towards what other corpora have where there are few values."""
    count = len(values)
    share = count / (count + _PRIOR_QUESTIONS)
    if count < 2:
        return prior
    centre = share * float(np.mean(values)) + (1 - share) * prior.centre
    variance = share * float(np.var(values)) + (1 - share) * prior.spread**2
    return Scale(centre, max(math.sqrt(variance), 1e-3))


def _threshold(chances: Sequence[Floats], most: float, *, prior: float) -> float:
    """The least threshold at which no more than `most` would be answered falsely; few questions move it little.

    It is never below the prior: nothing is answered that the FAQ more likely leaves open.
    """
    candidates = np.unique(np.concatenate([*chances, [1.0]]))
    kept = next((float(t) for t in candidates if _false_answers(chances, float(t)) <= most), 1.0)
    count = len(chances[0])
    share = count / (count + _PRIOR_QUESTIONS)
    odds = share * _log_odds(kept) + (1 - share) * _log_odds(prior)
    return max(1 / (1 + math.exp(-odds)), prior)


def _false_answers(chances: Sequence[Floats], threshold: float) -> float:
    """Share of questions answered, each kind weighing the same."""
    rates = [float((chance >= threshold).mean()) for chance in chances if len(chance)]
    return sum(rates) / len(rates) if rates else 0.0


def _log_odds(probability: float) -> float:
    clipped = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(clipped / (1 - clipped))
