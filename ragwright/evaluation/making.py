"""A question set for any FAQ, made from its rows without labels.

Answerable questions are rows' own questions, perturbed (`perturbing`); gold is every row with that question.
Unanswerable ones are near misses and strangers:

- `held-out`: a row's own question, asked while the row and those that may answer it too are hidden (`holdout`);
- `swapped-subject`: a row's question whose weightiest word is replaced by one that the FAQ has nowhere;
- `other-domain`: questions of another FAQ, or everyday ones, that no row shares much of the wording of.

The abstention model is fitted on rows held out, too, so `held-out` flatters it; figures by kind show how much. A set
written by people is worth more than one made here. The same rows and seed give the same set, byte for byte, and a few
changed rows change few of its questions: what is drawn hangs on hashes, not on the order of the rows.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ragwright.documents import content_hash
from ragwright.errors import SourceError
from ragwright.evaluation.everyday import QUESTIONS, SUBJECTS
from ragwright.evaluation.metrics import normalise
from ragwright.evaluation.perturbing import ENGLISH, KINDS, reads_as_english
from ragwright.evaluation.questions import Question, QuestionSet
from ragwright.progress import Progress, silent
from ragwright.settings import SourceSettings
from ragwright.sources import open_source
from ragwright.terms import CorpusStatistics, Vocabulary, stem, terms

log = logging.getLogger(__name__)

TYPO, HELD_OUT, SWAPPED, ELSEWHERE = "typo", "held-out", "swapped-subject", "other-domain"

MAY_ANSWER = 0.8
"""A row with this share of a question's words, weighed by rarity, may well answer it."""
SHARES_WORDING = 1 / 3
"""A row with this share of a stranger's words is too close for the stranger to be called one."""
MOST_HIDDEN = 4
"""Rows hidden for one question at most; a question that more may answer is left out."""
MAX_CHARS = 400
"""Longer questions are left alone: a few words more might be too many for the embedder."""

# Words to swap: letters with inner hyphens and apostrophes, in scripts that put spaces between them.
_WORD = re.compile(r"[^\W\d_\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+(?:[-'][^\W\d_]+)*")


_BEFORE_VERBS = frozenset(("i", "we", "you", "to", "not"))
_NAME = re.compile(r"(?<=[\w,;:] )[^\W\d_a-z\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff][^\W\d_]{3,}\b")


class Row(NamedTuple):
    """One row of an FAQ, and the name by which a question set refers to it: its question, or its key."""

    key: str
    question: str
    answer: str
    name: str


@dataclass(frozen=True)
class Made:
    """A question set, and what could not be made for it."""

    questions: QuestionSet
    notes: tuple[str, ...] = ()


def read_rows(spec: str | Path, settings: SourceSettings, *, progress: Progress = silent) -> list[Row]:
    """The rows of a source that have a question and an answer; how many have not is logged.

    Rows are named by key where a key column is configured, for it outlives edits, else by question, for it can be read.

    Raises:
        SourceError: The source cannot be read.
    """
    rows: list[Row] = []
    records = 0
    with open_source(spec, settings, progress=progress) as source:
        for partition in source.partitions(progress=progress):
            columns = (partition.rows[name].to_pylist() for name in ("row_key", "question", "answer"))
            rows += [
                Row(key, question, answer, key if settings.key_column else " ".join(question.split()))
                for key, question, answer in zip(*columns, strict=True)
                if normalise(question) and answer
            ]
            records += partition.records
    if len(rows) < records:
        log.warning("%s: %d of %d records have no question or no answer to read", spec, records - len(rows), records)
    return rows


def make(rows: Sequence[Row], *, count: int = 200, seed: int = 7, others: Iterable[Sequence[Row]] = ()) -> Made:
    """Draw a question set, half answerable and half not, the kinds of each half in equal parts.

    Args:
        rows: Of the FAQ; all are held in memory.
        count: Questions wanted; fewer are made where the FAQ has not enough to offer, and a note says so.
        seed: Another one draws another set.
        others: Rows of FAQs about something else, as strangers' questions and subjects.

    Raises:
        SourceError: No row has a question to start from.
    """
    if not any(terms(row.question) for row in rows):
        raise SourceError(
            f"none of {len(rows)} rows has a question with words in it",
            hint="Check RAGWRIGHT_SOURCE__QUESTION_COLUMN and RAGWRIGHT_SOURCE__ANSWER_COLUMN.",
        )
    maker = _Maker(rows, seed, [row for other in others for row in other], count)
    unanswerable = count // 2
    answerable = maker.take({kind: maker.perturbed(kind) for kind in KINDS}, count - unanswerable)
    strangers = maker.take(
        {HELD_OUT: maker.held_out(), SWAPPED: maker.swapped(), ELSEWHERE: maker.elsewhere()}, unanswerable
    )
    return Made(QuestionSet(tuple(answerable + strangers)), tuple(maker.notes))


class _Maker:
    """The FAQ as its questions are drawn from."""

    def __init__(self, rows: Sequence[Row], seed: int, others: Sequence[Row], count: int) -> None:
        self.rows = sorted(rows, key=lambda row: row.key)
        self.seed, self.others, self.count = seed, others, count
        self.notes: list[str] = []
        self.statistics = CorpusStatistics.from_texts(f"{row.question}\n{row.answer}" for row in rows)
        self.same: dict[str, list[Row]] = {}
        for row in self.rows:
            self.same.setdefault(normalise(row.question), []).append(row)
        # One of each question is enough to start from; the longest are left alone.
        self.starts = [
            same[0] for same in self.same.values() if len(same[0].question) <= MAX_CHARS and terms(same[0].question)
        ]
        self.english = 3 * sum(reads_as_english(row.question) for row in self.starts) >= len(self.starts) > 0
        self.asked: set[str] = set()
        if not self.english:
            self.notes.append(
                f"the FAQ does not read as English: {', '.join(sorted(ENGLISH))} and everyday questions are left out"
            )

    def take(self, kinds: dict[str, Iterator[Question]], count: int) -> list[Question]:
        """So many questions, one of each kind in turn, then put together by kind and numbered."""
        found: dict[str, list[Question]] = {kind: [] for kind in kinds}
        left = dict(kinds)
        for kind in itertools.cycle(kinds):
            if not left or sum(map(len, found.values())) >= count:
                break
            if kind in left and not self._add(left[kind], found[kind]):
                del left[kind]
        empty = [kind for kind in kinds if not found[kind] and len(kinds) <= count]
        made = sum(map(len, found.values()))
        if made < count:
            self.notes.append(
                f"{made} questions of {', '.join(kinds)} instead of {count}: the FAQ has no more to offer"
            )
        elif empty:
            self.notes.append(f"no question of kind {', '.join(empty)} could be made")
        return [
            Question(
                f"{kind}-{number:03d}",
                question.question,
                question.answerable,
                kind,
                question.gold,
                (),
                question.without,
            )
            for kind, questions in found.items()
            for number, question in enumerate(questions, start=1)
        ]

    def _add(self, offered: Iterator[Question], found: list[Question]) -> bool:
        for question in offered:
            if question.question not in self.asked:
                self.asked.add(question.question)
                found.append(question)
                return True
        return False

    def perturbed(self, kind: str) -> Iterator[Question]:
        """Rows' questions as another person would type them."""
        if kind in ENGLISH and not self.english:
            return
        for row in self._shuffled(self.starts, kind):
            question = " ".join(row.question.split())
            if kind in ENGLISH and not reads_as_english(question):
                continue
            asked = KINDS[kind](question, self._number(kind, "pick", row.key))
            if asked is None or asked == question or self._is_another(asked, question, kind):
                continue
            yield Question("", asked, True, kind, self._names(self.same[normalise(row.question)]))

    def held_out(self) -> Iterator[Question]:
        """Rows' own questions, with the rows that may answer them hidden."""
        drawn = self._shuffled(self.starts, HELD_OUT)[: 3 * self.count]
        covering = self._covering([row.question for row in drawn], MAY_ANSWER)
        for row, near in zip(drawn, covering, strict=True):
            hidden = {found.key: found for found in (*self.same[normalise(row.question)], *near)}
            names = self._names(hidden.values())
            if len(names) <= MOST_HIDDEN and 2 * len(hidden) <= len(self.rows):
                yield Question("", " ".join(row.question.split()), False, HELD_OUT, without=names)

    def swapped(self) -> Iterator[Question]:
        """Rows' questions about something that the FAQ never mentions."""
        subjects = sorted({*(SUBJECTS if self.english else ()), *self._foreign_subjects()})
        subjects = [subject for subject in subjects if not any(map(self.statistics.knows, terms(subject)))]
        if not subjects:
            self.notes.append(f"no subject is at hand for {SWAPPED}: name an FAQ in the same language with --other")
            return
        for row in self._shuffled(self.starts, SWAPPED):
            question = " ".join(row.question.split())
            word = self._weightiest(question, row.answer)
            if word is not None:
                subject = subjects[self._number(SWAPPED, "subject", row.key) % len(subjects)]
                yield Question("", _replaced(word, subject, question), False, SWAPPED)

    def elsewhere(self) -> Iterator[Question]:
        """Questions that belong to something else."""
        own = QUESTIONS if self.english else ()
        if not (own or self.others):
            self.notes.append(f"no question is at hand for {ELSEWHERE}: name an FAQ in the same language with --other")
        asked = {" ".join(row.question.split()) for row in self.others if len(row.question) <= MAX_CHARS}
        pool = [text for text in sorted(asked | set(own)) if terms(text) and normalise(text) not in self.same]
        drawn = sorted(pool, key=lambda text: self._number(ELSEWHERE, text))[: 3 * self.count]
        for text, near in zip(drawn, self._covering(drawn, SHARES_WORDING), strict=True):
            if not near:
                yield Question("", text, False, ELSEWHERE)

    def _number(self, *parts: str) -> int:
        return int(content_hash((str(self.seed), *parts)), 16)

    def _shuffled(self, rows: Sequence[Row], kind: str) -> list[Row]:
        return sorted(rows, key=lambda row: self._number(kind, row.key))

    def _names(self, rows: Iterable[Row]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.name for row in rows))

    def _is_another(self, asked: str, question: str, kind: str) -> bool:
        """Whether it became another row's question, or a slip of the finger made a word that the FAQ has."""
        name = normalise(asked)
        known_slip = kind == TYPO and any(map(self.statistics.knows, set(terms(asked)) - set(terms(question))))
        return known_slip or (name in self.same and name != normalise(question))

    def _weights(self, text: str) -> dict[str, float]:
        """The rarity of each word of a text, as shares of one."""
        rarities = {term: self.statistics.rarity(term) for term in terms(text)}
        total = sum(rarities.values())
        return {term: rarity / total for term, rarity in rarities.items()} if total else {}

    def _weightiest(self, question: str, answer: str) -> str | None:
        """The word that a question is about: a third of its weight or more, and in the answer too; None without one."""
        weights, told = self._weights(question), set(terms(answer))
        found = _WORD.findall(question)
        about = [
            (weights.get(stem(word.lower()), 0.0), at, word)
            for at, (before, word) in enumerate(zip(["", *found], found, strict=False))
            if len(word) >= 4 and stem(word.lower()) in told and before.lower() not in _BEFORE_VERBS
        ]
        weight, _, word = max(about, default=(0.0, 0, ""))
        return word if weight >= 1 / 3 else None

    def _foreign_subjects(self) -> set[str]:
        """Names in the questions of the other FAQs: words with a capital letter that do not begin a sentence."""
        found = (word for row in self.others for word in _NAME.findall(row.question))
        return {word for word in found if terms(word)}

    def _covering(self, questions: Sequence[str], share: float) -> list[list[Row]]:
        """For each question the first rows that have this share of its words, weighed by rarity."""
        asking: dict[str, list[tuple[int, float]]] = {}
        for number, question in enumerate(questions):
            for term, weight in self._weights(question).items():
                asking.setdefault(term, []).append((number, weight))
        found: list[list[Row]] = [[] for _ in questions]
        vocabulary = Vocabulary()
        for row in self.rows:
            shares: dict[int, float] = {}
            for term in vocabulary.terms(f"{row.question}\n{row.answer}") & asking.keys():
                for number, weight in asking[term]:
                    shares[number] = shares.get(number, 0.0) + weight
            for number, covered in shares.items():
                if covered >= share - 1e-9 and len(found[number]) <= MOST_HIDDEN:
                    found[number].append(row)
        return found


def _replaced(word: str, subject: str, question: str) -> str:
    """A question with one of its words replaced wherever it stands, a capital letter at its beginning kept."""
    asked = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", lambda _: subject, question)
    return asked[:1].upper() + asked[1:] if question[:1].isupper() else asked
