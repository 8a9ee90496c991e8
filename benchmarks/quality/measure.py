"""How well questions are answered and refused over five FAQs, with nothing learnt from the one that is measured.

For each FAQ the coefficients of the answerability model are fitted to the other FAQs, its scales and threshold to its
own rows without labels, as a re-index does. Answers are quoted: no language model takes part. Beside it stands a
threshold on the similarity of the nearest section, tuned on the very labels it is measured with.

    python benchmarks/quality/measure.py --data FOLDER [--write docs/evaluation.md]
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from corpora import FILES, Faq, LocalEmbedder, question_set
from fit import Case, collect, models_for, without

from ragwright.answering import Answerer
from ragwright.evaluation.holdout import WithoutHidden
from ragwright.evaluation.matching import gold_places
from ragwright.evaluation.metrics import QuestionResult
from ragwright.evaluation.run import EvaluationResult, evaluate
from ragwright.packing import sections
from ragwright.reading import Reading
from ragwright.settings import AnsweringSettings, load_settings

RANKINGS: Mapping[str, Callable[[Reading], float]] = {
    "section": lambda reading: reading.section.score,
    "section and question": lambda reading: reading.section.score + 0.5 * reading.question_similarity,
    "late interaction too": lambda reading: reading.relevance,
}
MARKS = ("<!-- measured -->", "<!-- /measured -->")


def measured(faq: Faq, faqs: Sequence[Faq], cases: Sequence[Case], settings: AnsweringSettings) -> EvaluationResult:
    """Ask one FAQ everything, with models that have not seen it."""
    models = models_for(without(cases, faq.name), settings)
    judge = faq.calibration(settings, models).judgement(models)
    answerer = Answerer(WithoutHidden(faq), faq.embedder, None, settings, judge=judge)
    return evaluate(answerer, question_set(faq, faqs))


def tuned(faq: Faq, results: Sequence[QuestionResult], questions: Sequence[Any]) -> float:
    """Balanced accuracy of the best threshold there is on the similarity of the nearest section."""
    nearest = {q.id: _nearest(faq, q) for q in questions}
    answerable = np.array([nearest[r.id] for r in results if r.answerable])
    others = np.array([nearest[r.id] for r in results if not r.answerable])
    thresholds = np.concatenate([answerable, others])
    return max(float(((answerable >= t).mean() + (others < t).mean()) / 2) for t in thresholds)


def _nearest(faq: Faq, question: Any) -> float:
    hidden = set(question.without)
    found = faq.search(question.question, 5 + 5 * len(hidden))
    return max((match.score for match in found.matches if match.question not in hidden), default=-1.0)


def ranks(faq: Faq, settings: AnsweringSettings) -> dict[str, tuple[float, float]]:
    """Share of answerable questions whose row is first, and among the first five, by way of ranking."""
    places: dict[str, list[int]] = {name: [] for name in RANKINGS}
    reader = faq.readers[settings.late_interaction]
    for question in faq.asked:
        if not question.gold:
            continue
        found = faq.search(question.question, settings.candidates)
        readings = reader.read(question.question, found.query_vector, sections(found.matches), found.statistics)
        for name, key in RANKINGS.items():
            ordered = sorted(readings, key=lambda reading: -key(reading))
            named = [(reading.section.row_key, reading.section.question) for reading in ordered]
            at, _ = gold_places(question.gold, named)
            places[name].append(at[0] if at else 99)
    return {name: (float(np.mean(np.array(at) == 1)), float(np.mean(np.array(at) <= 5))) for name, at in places.items()}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure and print the tables; put them into a document if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the FAQs")
    parser.add_argument("--write", type=Path, help="document whose marked part to replace")
    flags = parser.parse_args()
    began = time.monotonic()
    tree = load_settings()
    settings = tree.answering
    embedder = LocalEmbedder(tree)
    faqs = [Faq(name, flags.data, embedder) for name in FILES]
    cases, _ = collect(faqs, settings)
    main_rows, kind_rows, rank_rows = [], [], []
    for faq in faqs:
        result = measured(faq, faqs, cases, settings)
        figures = result.aggregate
        best = tuned(faq, result.results, question_set(faq, faqs).questions)
        main_rows.append(
            [
                faq.name,
                f"{figures['answerable']} + {figures['unanswerable']}",
                *(f"{figures[name]:.2f}" for name in ("hit_at_1", "hit_at_5", "answerable_correctness")),
                *(f"{figures[name]:.2f}" for name in ("over_refusal_rate", "false_answer_rate", "auroc")),
                f"{figures['abstention_balanced_accuracy']:.2f}",
                f"{best:.2f}",
            ]
        )
        for kind, of_kind in result.by_kind.items():
            right = of_kind["answer_correctness"]
            found = "" if of_kind["hit_at_5"] is None else f"{of_kind['hit_at_5']:.2f}"
            kind_rows.append([faq.name, kind, str(of_kind["questions"]), found, f"{right:.2f}"])
        ways = ranks(faq, settings)
        rank_rows.append([faq.name, *(f"{first:.2f} / {five:.2f}" for first, five in ways.values())])
    embedder.close()
    text = "\n\n".join(
        [
            table(
                [
                    "FAQ", "answerable + not", "hit@1", "hit@5", "answered correctly", "refused", "false answers",
                    "AUROC", "balanced accuracy", "similarity, best threshold",
                ],
                main_rows,
            ),
            table(["FAQ", "kind", "questions", "hit@5", "treated correctly"], kind_rows),
            table(["hit@1 / hit@5 by", *RANKINGS], rank_rows),
        ]
    )  # fmt: skip
    print(text)
    print(f"\n{time.monotonic() - began:.0f} s")
    if flags.write:
        pattern = re.compile(f"{re.escape(MARKS[0])}.*{re.escape(MARKS[1])}", re.DOTALL)
        document = flags.write.read_text(encoding="utf-8")
        flags.write.write_text(pattern.sub(lambda _: f"{MARKS[0]}\n\n{text}\n\n{MARKS[1]}", document), encoding="utf-8")


if __name__ == "__main__":
    main()
