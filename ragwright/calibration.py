"""Fitting the answerability model to a corpus without labels: its own questions, asked with their rows put aside.

Such a question is about the corpus's subjects, in its words, and the corpus does not answer it: a near miss. What the
evidence looks like for them gives the scales; how many of them, and of questions about something else altogether, would
be answered gives the threshold. Some held-out questions are answered by another row, so the rate that is kept is
higher than the one that readers meet: docs/evaluation.md has both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ragwright.abstention import Calibration, Evidence, Judgement, Scale, default_models, gather
from ragwright.answering import Retrieved, Retriever
from ragwright.documents import Match
from ragwright.packing import sections
from ragwright.progress import Progress, silent
from ragwright.reading import Reader
from ragwright.settings import AnsweringSettings

# A question this near to the one that is held out asks the same.
_SAME_QUESTION = 0.9
# Sections that are retrieved in place of those that are put aside.
_ALIKE = 3
# Questions whose sections are read together.
_TOGETHER = 8
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

    def tell(done: int) -> None:
        progress("calibration", done, len(questions))

    near_misses = list(_evidence(retriever, reader, [(text, key) for key, text in questions], settings, tell))
    others = list(_evidence(retriever, reader, [(text, "") for text in unrelated], settings))
    by_word = any(evidence.by_word for evidence in [*near_misses, *others])
    models = models or default_models()
    default = models.by_word if by_word else models.by_text
    scales = {name: _scale([e.to_dict()[name] for e in near_misses], default.scales[name]) for name in default.scales}
    model = replace(default, scales=scales)
    chances = [np.array([model.decide(e).probability for e in found]) for found in (near_misses, others)]
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


def _evidence(
    retriever: Retriever,
    reader: Reader,
    questions: Sequence[tuple[str, str]],
    settings: AnsweringSettings,
    tell: Callable[[int], None] | None = None,
) -> Iterator[Evidence]:
    """The evidence on each question, its row (by key; empty: none) put aside; none where nothing else is found.

    What several questions need of the encoder is asked for at once: one by one it would wait between them.
    """
    for start in range(0, len(questions), _TOGETHER):
        group = questions[start : start + _TOGETHER]
        found = [retriever.search(text, held_out_k(settings) if key else settings.retrieved) for text, key in group]
        reader.embed([match.question for one in found for match in one.matches])
        left = [sections(_without(one, reader, key)) for one, (_, key) in zip(found, group, strict=True)]
        reader.prepare([section for candidates in left for section in candidates])
        for done, (one, candidates, (text, _)) in enumerate(zip(found, left, group, strict=True), start=start + 1):
            if candidates:
                readings = reader.read(text, one.query_vector, candidates, one.statistics)
                yield gather(text, readings, one.statistics)
            if tell:
                tell(done)


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
