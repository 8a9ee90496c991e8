"""Giving a candidate generation its answerability model: the live one's while little has changed, or its own."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ragwright.abstention import Calibration
from ragwright.answering import Retrieved
from ragwright.calibration import calibrate, held_out_k
from ragwright.embedding import Embedder, Kind, TokenVectors, Vectors
from ragwright.evaluation.everyday import QUESTIONS
from ragwright.index import tables
from ragwright.index.attempt import CALIBRATION, Attempt, calibration_of
from ragwright.index.catalog import folder
from ragwright.index.plan import Op
from ragwright.index.reader import IndexReader
from ragwright.progress import Progress, silent
from ragwright.reading import Reader
from ragwright.retry import RetryPolicy
from ragwright.settings import AnsweringSettings
from ragwright.stores import BatchSearcher

# Share of the records that may change before a calibration is made anew, so that its cost follows the change.
_STALE = 0.1
_LEAST_UNRELATED = 10
_FEWER_UNRELATED = 4  # one in so many, all over their subjects
# To read the sections that a question finds, word by word, costs the encoder more than to embed them. So the questions
# read at most so large a share of the records, or so many where that is more, but are never fewer than these.
_READ_SHARE, _READ_AT_LEAST, _LEAST_QUESTIONS = 0.05, 1_000, 40


def calibrate_candidate(
    attempt: Attempt,
    embedder: Embedder,
    settings: AnsweringSettings,
    *,
    progress: Progress = silent,
) -> Calibration | None:
    """Fit the answerability model to what the candidate shows, or carry over the live generation's.

    Args:
        attempt: Written and verified.
        embedder: The one the generation was made with.
        settings: Retrieval, and the operating point.
        progress: Told after each question.

    Returns:
        What readers of the generation will use; None if the settings say not to fit, or nothing is shown.
    """
    if not settings.calibration_rows or not attempt.outline.shown:
        return None
    made = calibration_of(attempt.catalog, attempt.generation) or _carried_over(attempt, settings)
    if made is None:
        rows = affordable(settings, attempt.outline.shown)
        questions = _drawn(attempt, rows)
        unrelated = QUESTIONS[: max(len(questions), _LEAST_UNRELATED)]
        if rows < settings.calibration_rows:
            unrelated = QUESTIONS[::_FEWER_UNRELATED]  # hardly one of them is ever answered
        prepared = _Prepared(embedder, [*(question for _, question in questions), *unrelated])
        view = IndexReader(
            attempt.catalog,
            attempt.store,
            prepared,
            generation=attempt.generation,
            lexical=settings.lexical_candidates,
        )
        patient = _Patient(view, attempt.retry)
        if isinstance(attempt.store, BatchSearcher):
            patient.ask(
                [
                    *((one, held_out_k(settings)) for _, one in questions),
                    *((one, settings.retrieved) for one in unrelated),
                ]
            )
        reader = Reader(prepared, interaction=settings.late_interaction, closely=settings.top_k)
        made = calibrate(
            patient, reader, questions, unrelated, settings, records=attempt.outline.shown, progress=progress
        )
    attempt.catalog.write_json(f"{folder(attempt.generation)}/{CALIBRATION}", made.model_dump(mode="json"))
    return made


def affordable(settings: AnsweringSettings, records: int) -> int:
    """Rows whose questions are held out: fewer where reading what they find would cost much beside the embedding.

    What is fitted are means, spreads and a rate, drawn towards what other FAQs have: 40 questions give the rate of
    false answers to within 6 points, 150 to within 3, whatever the size of the FAQ.

    Args:
        settings: The most to hold out.
        records: That the generation shows. A small FAQ is read whole, whoever asks.
    """
    if records <= _READ_AT_LEAST:
        return settings.calibration_rows
    read = max(_READ_AT_LEAST, _READ_SHARE * records) / held_out_k(settings)
    return min(settings.calibration_rows, max(_LEAST_QUESTIONS, int(read)))


def _carried_over(attempt: Attempt, settings: AnsweringSettings) -> Calibration | None:
    live = attempt.begin.live
    found = calibration_of(attempt.catalog, live) if live else None
    if (
        found is None
        or attempt.catalog.begin_of(live).fingerprint != attempt.begin.fingerprint
        or found.max_false_answer_rate != settings.max_false_answer_rate
        or (found.candidates, found.lexical_candidates) != (settings.retrieved, settings.lexical_candidates)
        or found.by_word > settings.late_interaction
    ):
        return None
    counts = attempt.outline.counts
    changed = found.changed + max(counts[Op.INSERT], counts[Op.MARK] + counts[Op.DELETE])
    return found.model_copy(update={"changed": changed}) if changed <= _STALE * found.records else None


def _drawn(attempt: Attempt, at_most: int) -> list[tuple[str, str]]:
    """Row key and question of some rows: the same ones in every generation that has them."""
    lines = tables.batches(attempt.catalog, attempt.path("manifest.parquet"), ["row_key", "record_id", "part"])
    drawn = heapq.nsmallest(at_most, (row for batch in lines for row in _hashed_rows(batch)))
    wanted = [record for _, record in drawn]
    found = attempt.store.fetch(attempt.space, wanted, columns=["record_id", "row_key", "question"]).to_pylist()
    by_record = {record["record_id"]: (record["row_key"], record["question"]) for record in found}
    return [by_record[record] for record in wanted if record in by_record and by_record[record][1].strip()]


def _hashed_rows(lines: pa.RecordBatch) -> Iterator[tuple[bytes, str]]:
    """Hash of the key, and first record, of each row that begins among some lines of a manifest."""
    first = lines.filter(pc.equal(lines["part"], 0))
    for key, record in zip(first["row_key"].to_pylist(), first["record_id"].to_pylist(), strict=True):
        yield hashlib.blake2b(key.encode(), digest_size=8).digest(), record


class _Patient:
    """A retriever that asks again when what went wrong may pass: one of many questions must not cost the others."""

    def __init__(self, view: IndexReader, retry: RetryPolicy) -> None:
        self._view, self._retry = view, retry
        self._found: dict[tuple[str, int], Retrieved] = {}

    def ask(self, questions: Sequence[tuple[str, int]]) -> None:
        """Search for questions, each with its k, at once: a large space is read once, and not once a question."""
        found = self._retry.call(lambda: self._view.search_many(questions))
        self._found |= zip(questions, found, strict=True)

    def search(self, question: str, k: int) -> Retrieved:
        """As the view."""
        known = self._found.get((question, k))
        return known or self._retry.call(lambda: self._view.search(question, k))


class _Prepared:
    """An embedder that has embedded certain questions beforehand, in as few requests as they fit into."""

    def __init__(self, embedder: Embedder, questions: Sequence[str]) -> None:
        self.fingerprint, self.max_tokens = embedder.fingerprint, embedder.max_tokens
        self._embedder = embedder
        self._queries = dict(zip(questions, embedder.embed(questions, kind="query"), strict=True))
        self._tokens = dict(zip(questions, embedder.token_vectors(questions) or (), strict=False))

    def embed(self, texts: Sequence[str], *, kind: Kind = "document") -> Vectors:
        """As the embedder; questions that were prepared cost nothing."""
        if kind == "query" and texts and all(text in self._queries for text in texts):
            return np.stack([self._queries[text] for text in texts])
        return self._embedder.embed(texts, kind=kind)

    def token_vectors(self, texts: Sequence[str]) -> list[TokenVectors] | None:
        """As the embedder; questions that were prepared cost nothing."""
        if texts and all(text in self._tokens for text in texts):
            return [self._tokens[text] for text in texts]
        return self._embedder.token_vectors(texts)

    def count_tokens(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        """As the embedder."""
        return self._embedder.count_tokens(texts)

    def close(self) -> None:
        """Nothing of its own to give back."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
