"""Five FAQs in memory, each with questions that people or we ask about it, and the encoder in this process.

Amazon SageMaker and Amazon EMR (two-column CSV), Azure (JSONL) with the question sets beside this file; a public-health
FAQ with people's own paraphrases (covid_qa of deepset); and the FAQ and questions of ragwright itself. Unanswerable
are near misses, questions about another FAQ, and, where a set has no near misses, paraphrases with their row put aside.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ragwright.abstention import Calibration, Judgement
from ragwright.answering import Retrieved
from ragwright.calibration import calibrate
from ragwright.chunking import chunk_rows
from ragwright.documents import Fingerprint, Match
from ragwright.embedding import Kind, TokenVectors, Vectors
from ragwright.evaluation.everyday import QUESTIONS
from ragwright.evaluation.holdout import WithoutHidden
from ragwright.evaluation.matching import normalise
from ragwright.evaluation.questions import Question, QuestionSet, load
from ragwright.models import get_model, load_tokenizer
from ragwright.progress import silent
from ragwright.reading import Reader
from ragwright.serving.runtimes import open_encoder
from ragwright.settings import AnsweringSettings, ChunkingSettings, Settings, SourceSettings
from ragwright.sources import read
from ragwright.terms import CorpusStatistics

OWN = Path(__file__).resolve().parents[2] / "data"
FILES = {
    "own": OWN / "sagemaker_faq.csv",
    "sagemaker": Path("amazon_sagemaker_faqs.csv"),
    "emr": Path("amazon_emr_faqs.csv"),
    "azure": Path("azure_faq.jsonl"),
    "covid": Path("covid_qa/faq_covidbert.csv"),
}
RELATED = ({"own", "sagemaker"},)
"""FAQs on one subject: what was learnt from one may not be measured on the other."""
OTHERS = 18
"""Questions about each other FAQ."""


class LocalEmbedder:
    """The encoder in this process: what its endpoint answers, without the wire."""

    def __init__(self, settings: Settings) -> None:
        info = get_model(settings.embedding.model)
        self._encoder = open_encoder(info, cache=settings.model_folder, progress=silent)
        self._tokenizer = load_tokenizer(info.name, cache=settings.model_folder)
        self._asked: dict[str, Vectors] = {}
        self.max_tokens = self._encoder.max_tokens
        self.fingerprint = Fingerprint(info.name, "", "mean", True, self._encoder.dimension)

    def embed(self, texts: Sequence[str], *, kind: Kind = "document") -> Vectors:
        """float32 [n, d], rows of length one."""
        if not texts:
            return np.zeros((0, self._encoder.dimension), np.float32)
        vectors = self._encoder.sentence_vectors(self._encoder.tokenize(texts, truncate=False))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def embed_one(self, text: str) -> Vectors:
        """float32 [d], remembered: questions are asked again and again here."""
        if text not in self._asked:
            self._asked[text] = self.embed([text])[0]
        return self._asked[text]

    def token_vectors(self, texts: Sequence[str]) -> list[TokenVectors]:
        """A vector a token, without special tokens."""
        found: dict[int, TokenVectors] = {}
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(order), 8):
            batch = order[start : start + 8]
            cut = self._encoder.tokenize([texts[index] for index in batch], truncate=True)
            for index, rows in zip(batch, self._encoder.token_states(cut).by_text(), strict=True):
                state = rows.astype(np.float32)
                encoded = self._tokenizer.encode(texts[index])
                own = np.flatnonzero(np.asarray(encoded.special_tokens_mask) == 0)
                vectors = state[own] / np.linalg.norm(state[own], axis=1, keepdims=True)
                found[index] = TokenVectors(vectors, np.asarray(encoded.offsets, np.int32).reshape(-1, 2)[own])
        return [found[index] for index in range(len(texts))]

    def count_tokens(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        """Tokens of each text."""
        return np.array([len(text.ids) for text in self._encoder.tokenize(texts, truncate=False)], np.int32)

    def close(self) -> None:
        """Give back the model."""
        self._encoder.close()


class Faq:
    """One FAQ, embedded; a `Retriever`."""

    def __init__(self, name: str, data: Path, embedder: LocalEmbedder) -> None:
        self.name, self._data, self.embedder = name, data, embedder
        tables = list(read(data / FILES[name], SourceSettings()))
        self.rows = [row for table in tables for row in table.to_pylist()]
        self._chunks = [
            chunk for table in tables for chunk in chunk_rows(table, embedder, ChunkingSettings()).to_pylist()
        ]
        self._vectors = embedder.embed([chunk["embed_text"] for chunk in self._chunks])
        self.row_questions = embedder.embed([row["question"] for row in self.rows])
        self._statistics = CorpusStatistics.from_texts(f"{row['question']}\n{row['answer']}" for row in self.rows)
        self.readers = {way: Reader(embedder, interaction=way) for way in (True, False)}

    def search(self, question: str, k: int) -> Retrieved:
        """The k best matches by cosine."""
        query = self.embedder.embed_one(question)
        scores = self._vectors @ query
        matches = [self._match(index, float(scores[index])) for index in np.argsort(-scores)[:k]]
        return Retrieved(None, matches, query, self._statistics)

    def _match(self, index: int, score: float) -> Match:
        chunk = self._chunks[index]
        return Match(
            str(index), chunk["chunk_id"], chunk["row_key"], chunk["row"], chunk["part"], chunk["parts"],
            chunk["question"], chunk["text"], score,
        )  # fmt: skip

    @cached_property
    def asked(self) -> list[Question]:
        """The questions about this FAQ alone."""
        if self.name == "own":
            return list(load(OWN / "questions.jsonl").questions)
        if self.name != "covid":
            return list(load(Path(__file__).with_name(f"{self.name}.jsonl")).questions)
        known = {normalise(row["question"]) for row in self.rows}
        with (self._data / "covid_qa/eval_question_similarity_en.csv").open(encoding="utf-8", newline="") as file:
            pairs = {pair["question_2"]: pair["question_1"] for pair in csv.DictReader(file) if pair["similar"] == "1"}
        return [
            Question(f"covid-{number}", asked, True, "paraphrase", (gold,))
            for number, (asked, gold) in enumerate(pairs.items())
            if normalise(gold) in known
        ]

    def held_out(self) -> Iterator[Question]:
        """Each paraphrase again, unanswerable: its row and those that ask about the same are put aside."""
        places = {normalise(row["question"]): place for place, row in enumerate(self.rows)}
        for question in self.asked:
            if question.kind != "paraphrase" or not question.gold or normalise(question.gold[0]) not in places:
                continue
            alike = np.flatnonzero(self.row_questions @ self.row_questions[places[normalise(question.gold[0])]] > 0.85)
            aside = {*question.gold, *(self.rows[place]["question"] for place in alike)}
            yield Question(
                f"{question.id}-held-out", question.question, False, "held-out", without=tuple(sorted(aside))
            )

    def calibration(self, settings: AnsweringSettings, models: Judgement | None = None) -> Calibration:
        """What a re-index would fit."""
        drawn = random.Random(7).sample(self.rows, min(settings.calibration_rows, len(self.rows)))
        return calibrate(
            WithoutHidden(self),
            self.readers[settings.late_interaction],
            [(row["row_key"], row["question"]) for row in drawn],
            QUESTIONS,
            settings,
            records=len(self._chunks),
            models=models,
        )


def question_set(faq: Faq, faqs: Sequence[Faq]) -> QuestionSet:
    """Everything that is asked of a FAQ when it is measured."""
    chance = random.Random(1)
    questions = list(faq.asked)
    if all(question.answerable for question in questions):
        questions += faq.held_out()
    for other in faqs:
        if other is not faq and {other.name, faq.name} not in RELATED:
            elsewhere = [question for question in other.asked if question.kind == "paraphrase"]
            drawn = chance.sample(elsewhere, min(OTHERS, len(elsewhere)))
            questions += [
                replace(q, id=f"{other.name}-{q.id}", answerable=False, kind="other-faq", gold=(), accept=())
                for q in drawn
            ]
    return QuestionSet(tuple(questions), faq.name)
