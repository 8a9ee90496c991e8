"""Fit the answerability model that ragwright comes with, and say how it does on an FAQ it was not fitted on.

Four FAQs: Amazon SageMaker, Amazon EMR (two-column CSV) and Azure (JSONL) with the questions beside this file, and a
public-health FAQ with people's paraphrases (covid_qa of deepset). Each has answerable paraphrases; unanswerable are
near misses, questions about the other FAQs, and the paraphrases again with their row and its like held out. Oblique
questions and remote details, which this encoder cannot tell apart, are measured but not fitted.

    python benchmarks/answerability/fit.py --data FOLDER
"""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ragwright.abstention import Evidence, default_model, gather
from ragwright.answering import Retrieved
from ragwright.chunking import chunk_rows
from ragwright.documents import Fingerprint, Match
from ragwright.embedding import Kind, Vectors
from ragwright.evaluation.metrics import normalise
from ragwright.evaluation.questions import load
from ragwright.models import get_model
from ragwright.packing import sections
from ragwright.progress import silent
from ragwright.reading import Reader
from ragwright.serving.runtimes import open_encoder
from ragwright.settings import ChunkingSettings, SourceSettings, load_settings
from ragwright.sources import read
from ragwright.terms import CorpusStatistics

FAQS = {
    "sagemaker": "amazon_sagemaker_faqs.csv",
    "emr": "amazon_emr_faqs.csv",
    "azure": "azure_faq.jsonl",
    "covid": "covid_qa/faq_covidbert.csv",
}
FEATURES = ("question_similarity", "sentence_similarity", "margin", "coverage", "meaning_coverage", "unseen")
# Held-out paraphrases may be answered by another row, and questions about other subjects are easy.
WEIGHTS = {"paraphrase": 1.0, "near-miss": 1.0, "held-out": 0.4, "other-faq": 0.5}
OPPOSED = (
    ("paraphrase", "near-miss"),
    ("paraphrase", "held-out"),
    ("paraphrase", "other-faq"),
    ("oblique", "remote-detail"),
)
Floats = npt.NDArray[np.float64]


class LocalEmbedder:
    """The encoder in this process."""

    def __init__(self) -> None:
        settings = load_settings()
        info = get_model(settings.embedding.model)
        self._encoder = open_encoder(info, cache=settings.home / "models", progress=silent)
        self.max_tokens = self._encoder.max_tokens
        self.fingerprint = Fingerprint(info.name, "", "mean", True, self._encoder.dimension)

    def embed(self, texts: Sequence[str], *, kind: Kind = "document") -> Vectors:
        """float32 [n, d], rows of length one."""
        if not texts:
            return np.zeros((0, self._encoder.dimension), np.float32)
        vectors = self._encoder.sentence_vectors(self._encoder.tokenize(texts, truncate=False))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def count_tokens(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        """Tokens of each text."""
        return np.array([len(text.ids) for text in self._encoder.tokenize(texts, truncate=False)], np.int32)

    def close(self) -> None:
        """Give back the model."""
        self._encoder.close()


@dataclass(frozen=True)
class Case:
    """One question put to one FAQ, and the evidence on it."""

    faq: str
    kind: str
    answerable: bool
    evidence: Evidence


class Faq:
    """One FAQ in memory, with questions about it."""

    def __init__(self, name: str, data: Path, embedder: LocalEmbedder) -> None:
        self.name, self._embedder = name, embedder
        self.rows = [row for table in read(data / FAQS[name], SourceSettings()) for row in table.to_pylist()]
        chunks = [
            chunk
            for table in read(data / FAQS[name], SourceSettings())
            for chunk in chunk_rows(table, embedder, ChunkingSettings()).to_pylist()
        ]
        self._chunks = chunks
        self._vectors = embedder.embed([chunk["embed_text"] for chunk in chunks])
        self._chunk_rows = np.array([chunk["row"] for chunk in chunks])
        self._questions = embedder.embed([row["question"] for row in self.rows])
        self.statistics = CorpusStatistics.from_texts(f"{row['question']}\n{row['answer']}" for row in self.rows)
        self._reader = Reader(embedder)
        self.asked = list(self._asked(data))

    def _asked(self, data: Path) -> Iterable[tuple[str, str, int | None]]:
        """Kind, question and row."""
        places = {normalise(row["question"]): position for position, row in enumerate(self.rows)}
        if self.name == "covid":
            with (data / "covid_qa/eval_question_similarity_en.csv").open(encoding="utf-8", newline="") as file:
                pairs = {pair["question_2"]: pair for pair in csv.DictReader(file) if pair["similar"] == "1"}
            for paraphrase, pair in pairs.items():
                if normalise(pair["question_1"]) in places:
                    yield "paraphrase", paraphrase, places[normalise(pair["question_1"])]
            return
        for question in load(Path(__file__).with_name(f"{self.name}.jsonl")).questions:
            yield question.kind, question.question, places[normalise(question.gold[0])] if question.gold else None

    def like(self, position: int) -> list[int]:
        """Row numbers of a row and of those that ask about the same."""
        alike = np.flatnonzero(self._questions @ self._questions[position] > 0.8)
        return [self.rows[index]["row"] for index in {position, *alike.tolist()}]

    def case(self, kind: str, question: str, *, answerable: bool, without: Sequence[int] = ()) -> Case:
        """Search, read and gather, as answering does."""
        query = self._embedder.embed([question])[0]
        scores = np.where(np.isin(self._chunk_rows, list(without)), -2, self._vectors @ query)
        matches = [self._match(index, float(scores[index])) for index in np.argsort(-scores)[:5] if scores[index] > -2]
        found = Retrieved(None, matches, query, self.statistics)
        readings = self._reader.read(question, query, sections(found.matches), self.statistics)
        return Case(self.name, kind, answerable, gather(question, readings, self.statistics))

    def _match(self, index: int, score: float) -> Match:
        chunk = self._chunks[index]
        return Match(
            str(index), chunk["chunk_id"], chunk["row_key"], chunk["row"], chunk["part"], chunk["parts"],
            chunk["question"], chunk["text"], score,
        )  # fmt: skip


def collect(faqs: Sequence[Faq]) -> list[Case]:
    """All cases of all FAQs."""
    generator = random.Random(1)
    cases: list[Case] = []
    for faq in faqs:
        for kind, question, position in faq.asked:
            cases.append(faq.case(kind, question, answerable=position is not None))
            if kind == "paraphrase" and position is not None:
                cases.append(faq.case("held-out", question, answerable=False, without=faq.like(position)))
        for other in faqs:
            if other is not faq:
                elsewhere = [question for kind, question, _ in other.asked if kind == "paraphrase"]
                drawn = generator.sample(elsewhere, 18)
                cases += [faq.case("other-faq", question, answerable=False) for question in drawn]
    return cases


def features(cases: Sequence[Case]) -> Floats:
    """Evidence as numbers: [n, features]."""
    return np.array([[getattr(case.evidence, name) for name in FEATURES] for case in cases])


def fit(cases: Sequence[Case], ridge: float = 0.02) -> tuple[Floats, Floats, float]:
    """Centres, coefficients and bias of a ridge-penalised logistic regression; FAQs and classes weigh the same."""
    kept = [case for case in cases if case.kind in WEIGHTS]
    truth = np.array([case.answerable for case in kept], np.float64)
    weight = np.array([WEIGHTS[case.kind] for case in kept])
    groups = np.array([f"{case.faq} {case.answerable}" for case in kept])
    for group in set(groups):
        weight[groups == group] /= weight[groups == group].sum()
    weight /= weight.mean()
    values = features(kept)
    centres, spreads = values.mean(axis=0), values.std(axis=0)
    design = np.column_stack([np.ones(len(kept)), (values - centres) / spreads])
    penalty = ridge * len(kept) * np.diag([0.0] + [1.0] * len(FEATURES))
    beta = np.zeros(design.shape[1])
    for _ in range(50):  # Newton's method
        chance = 1 / (1 + np.exp(-design @ beta))
        gradient = design.T @ (weight * (chance - truth)) + penalty @ beta
        hessian = (design * (weight * chance * (1 - chance))[:, None]).T @ design + penalty
        beta -= np.linalg.solve(hessian, gradient)
    return centres, beta[1:] / spreads, float(beta[0])


def auc(positive: Floats, negative: Floats) -> float:
    """Chance that an answerable question scores above an unanswerable one."""
    return float((positive[:, None] > negative).mean() + (positive[:, None] == negative).mean() / 2)


def best_threshold(positive: Floats, negative: Floats) -> float:
    """Balanced accuracy of the best threshold there is, chosen on the labels themselves."""
    return max(
        float(((positive >= t).mean() + (negative < t).mean()) / 2) for t in np.concatenate([positive, negative])
    )


def report(name: str, cases: Sequence[Case], chances: Floats, threshold: float) -> None:
    """One line for each opposition of kinds."""
    kinds = np.array([case.kind for case in cases])
    similarity = np.array([case.evidence.section_similarity for case in cases])
    print(f"{name}:")
    for asked, against in OPPOSED:
        positive, negative = kinds == asked, kinds == against
        if not positive.any() or not negative.any():
            continue
        answered, false = (chances[positive] >= threshold).mean(), (chances[negative] >= threshold).mean()
        print(
            f"  {asked:10} against {against:13} answered {answered:.2f}, falsely {false:.2f}, "
            f"balanced {(answered + 1 - false) / 2:.2f}, AUC {auc(chances[positive], chances[negative]):.2f}; "
            f"similarity with its best threshold {best_threshold(similarity[positive], similarity[negative]):.2f}, "
            f"AUC {auc(similarity[positive], similarity[negative]):.2f}"
        )


def main() -> None:
    """Fit on all but one FAQ, measure on that one; then fit on all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the four FAQs")
    data = parser.parse_args().data
    embedder = LocalEmbedder()
    cases = collect([Faq(name, data, embedder) for name in FAQS])
    embedder.close()
    threshold = default_model().threshold
    for name in FAQS:
        centres, coefficients, bias = fit([case for case in cases if case.faq != name])
        unknown = [case for case in cases if case.faq == name]
        chances = 1 / (1 + np.exp(-(bias + (features(unknown) - centres) @ coefficients)))
        report(f"{name}, fitted on the other three", unknown, chances, threshold)
    centres, coefficients, bias = fit(cases)
    print("fitted on all four:")
    for feature, coefficient, centre in zip(FEATURES, coefficients, centres, strict=True):
        print(f"  {feature:20} {coefficient:7.2f} around {centre:.2f}")
    print(f"  {'bias':20} {bias:7.2f}")


if __name__ == "__main__":
    main()
