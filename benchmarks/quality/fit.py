"""Fit the answerability model that ragwright comes with: what each piece of evidence is worth, whatever the FAQ.

Evidence is put on the scale of each FAQ's own held-out questions first, as a re-index does, so that only the
coefficients are learnt here, from questions about other FAQs. Oblique questions and remote details, which this encoder
cannot tell apart, are measured but not fitted.

    python benchmarks/quality/fit.py --data FOLDER
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from corpora import FILES, RELATED, Faq, LocalEmbedder, question_set

from ragwright.abstention import AnswerabilityModel, Evidence, Judgement, Scale, default_models, gather
from ragwright.evaluation.holdout import WithoutHidden, hiding
from ragwright.evaluation.questions import Question
from ragwright.packing import sections
from ragwright.settings import AnsweringSettings, load_settings

# Held-out paraphrases may be answered by another row, and questions about other subjects are easy.
WEIGHTS = {"paraphrase": 1.0, "detail": 1.0, "keywords": 1.0, "near-miss": 1.0, "held-out": 0.4, "other-faq": 0.5}
RIDGE = 0.02
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One question put to one FAQ, and the evidence on it, on the FAQ's own scale."""

    faq: str
    kind: str
    answerable: bool
    values: dict[str, float]


def collect(faqs: Sequence[Faq], settings: AnsweringSettings) -> tuple[list[Case], list[dict[str, Scale]]]:
    """All cases of all FAQs, and each FAQ's scales."""
    cases: list[Case] = []
    scales: list[dict[str, Scale]] = []
    for faq in faqs:
        scales.append(faq.calibration(settings).scales)
        questions = [*question_set(faq, faqs).questions, *(faq.held_out() if faq.name != "covid" else ())]
        for question in questions:
            found = evidence(faq, question, settings).to_dict()
            values = {name: (found[name] - scale.centre) / scale.spread for name, scale in scales[-1].items()}
            cases.append(Case(faq.name, question.kind, question.answerable, values))
    return cases, scales


def evidence(faq: Faq, question: Question, settings: AnsweringSettings) -> Evidence:
    """What answering gathers on a question."""
    with hiding(question.without):
        found = WithoutHidden(faq).search(question.question, settings.candidates)
    reader = faq.readers[settings.late_interaction]
    readings = reader.read(question.question, found.query_vector, sections(found.matches), found.statistics)
    return gather(question.question, readings, found.statistics)


def fit(cases: Sequence[Case], prior: AnswerabilityModel) -> AnswerabilityModel:
    """Ridge-penalised logistic regression; FAQs weigh the same, and so do answerable and unanswerable."""
    names = list(prior.coefficients)
    kept = [case for case in cases if case.kind in WEIGHTS]
    truth = np.array([case.answerable for case in kept], np.float64)
    weight = np.array([WEIGHTS[case.kind] for case in kept])
    groups = np.array([f"{case.faq} {case.answerable}" for case in kept])
    for group in set(groups):
        weight[groups == group] /= weight[groups == group].sum()
    weight /= weight.mean()
    design = np.column_stack([np.ones(len(kept)), [[case.values[name] for name in names] for case in kept]])
    penalty = RIDGE * len(kept) * np.diag([0.0] + [1.0] * len(names))
    beta = np.zeros(design.shape[1])
    for _ in range(50):  # Newton's method
        chance = 1 / (1 + np.exp(-design @ beta))
        gradient = design.T @ (weight * (chance - truth)) + penalty @ beta
        hessian = (design * (weight * chance * (1 - chance))[:, None]).T @ design + penalty
        beta -= np.linalg.solve(hessian, gradient)
    return replace(prior, coefficients=dict(zip(names, beta[1:].tolist(), strict=True)), bias=float(beta[0]))


def without(cases: Sequence[Case], faq: str) -> list[Case]:
    """Cases of FAQs that have nothing to do with one."""
    return [case for case in cases if case.faq != faq and {case.faq, faq} not in RELATED]


def models_for(cases: Sequence[Case], settings: AnsweringSettings) -> Judgement:
    """The models that ragwright would come with had it seen only these cases."""
    default = default_models()
    name = "by_word" if settings.late_interaction else "by_text"
    return replace(default, **{name: fit(cases, getattr(default, name))})


def main() -> None:
    """Fit on all five, and print what `abstention.default_models` should say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the FAQs")
    data = parser.parse_args().data
    settings = load_settings()
    embedder = LocalEmbedder(settings)
    faqs = [Faq(name, data, embedder) for name in FILES]
    for way in (True, False):
        chosen = settings.answering.model_copy(update={"late_interaction": way})
        cases, scales = collect(faqs, chosen)
        judgement = models_for(cases, chosen)
        model = judgement.by_word if way else judgement.by_text
        print("by word:" if way else "by text:")
        for name, coefficient in model.coefficients.items():
            centre = np.mean([each[name].centre for each in scales])
            spread = np.mean([each[name].spread for each in scales])
            print(f"  {name:20} {coefficient:6.2f} times (value - {centre:.2f}) / {spread:.2f}")
        print(f"  {'bias':20} {model.bias:6.2f}")
    embedder.close()


if __name__ == "__main__":
    main()
