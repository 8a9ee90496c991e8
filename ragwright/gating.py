"""The gate at work: a candidate that is written but not published is asked what the live generation was asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow.compute as pc

from ragwright.abstention import Calibration
from ragwright.assembly import load_questions
from ragwright.errors import FingerprintMismatch
from ragwright.evaluation.gate import GateVerdict, judge
from ragwright.evaluation.gate_report import markdown
from ragwright.evaluation.holdout import is_named, named
from ragwright.evaluation.questions import Question, QuestionSet
from ragwright.evaluation.run import EvaluationResult
from ragwright.evaluation.stored import carry_over
from ragwright.index.attempt import calibration_of, manifest_of, open_catalog
from ragwright.index.catalog import Catalog, folder
from ragwright.measuring import Calls, measure
from ragwright.settings import Settings
from ragwright.stores import VectorStore, open_store

# A set of which this share asks about rows that are not there says little about the FAQ as it is.
_TOO_MANY_UNKNOWN = 0.1


@dataclass(frozen=True)
class Gatekeeper:
    """Judges candidates of one index, given their number.

    Attributes:
        settings: Of the index.
        questions: What to ask; None: there is nothing to ask.
        chosen: Whether a person chose the questions, rather than a default that may be about another FAQ.
        calls: Who wants to know how far it is.
    """

    settings: Settings
    questions: QuestionSet | None
    chosen: bool
    calls: Calls = field(default_factory=Calls)

    @classmethod
    def of(
        cls, settings: Settings, path: Path | None = None, *, sample: int | None = None, calls: Calls | None = None
    ) -> Gatekeeper:
        """Read the question set before anything else is done: the one named, else the settings' own.

        Raises:
            SourceError: It cannot be read, or holds something else; a default that is not there is no error.
        """
        chosen = path is not None or "questions" in settings.evaluation.model_fields_set
        path = path or settings.evaluation.questions
        wanted = settings.gate.mode != "off" and path is not None and (chosen or path.exists())
        questions = load_questions(settings, path, at_most=sample or settings.gate.sample) if wanted else None
        return cls(settings, questions, chosen, calls or Calls())

    def __call__(self, generation: int) -> GateVerdict:
        """Decide whether a candidate may be published; the verdict is kept with it.

        Raises:
            RagwrightError: It cannot be told; the candidate must not be published.
        """
        with (
            open_catalog(self.settings) as catalog,
            open_store(
                self.settings.store_spec, retry=self.settings.retry, memory_mb=self.settings.lancedb.memory_mb
            ) as store,
        ):
            verdict = self._decide(catalog, store, generation)
            catalog.write_json(f"{folder(generation)}/gate.json", verdict.to_json())
            catalog.write(f"{folder(generation)}/gate.md", markdown(verdict, generation).encode())
        return verdict

    def _decide(self, catalog: Catalog, store: VectorStore, generation: int) -> GateVerdict:
        if self.settings.gate.mode == "off":
            return GateVerdict("off", ("the gate is switched off",))
        live = catalog.begin_of(generation).live
        if live and _shows_the_same(catalog, live, generation):
            carry_over(catalog, live, generation)
            return GateVerdict("passed", (f"identical to generation {live}",), live=live)
        if self.questions is None:
            return GateVerdict("off", (self._nothing_to_ask(),))
        known = _Known.find(catalog, store, self.questions, generation, live)
        if not known.share >= self.settings.gate.known_share:
            what = f"{known.text} of {self.questions.source or 'the question set'}: it is about something else"
            return GateVerdict("warned" if self.chosen else "off", (what,), live=live or None)
        return self._ask(generation, live, known)

    def _nothing_to_ask(self) -> str:
        path = self.settings.evaluation.questions
        return "no question set is configured" if path is None else f"there is no question set {str(path)!r}"

    def _ask(self, generation: int, live: int, known: _Known) -> GateVerdict:
        assert self.questions is not None  # noqa: S101 # for the type checker
        settings = self.settings
        candidate = measure(settings, self.questions, generation, calls=self.calls)
        warnings = list(known.warnings)
        before: EvaluationResult | None = None
        if live:
            try:
                before = measure(settings, self.questions, live, calls=self.calls).result
            except FingerprintMismatch as error:
                warnings.append(f"generation {live} could not be asked for comparison: {error.what}")
        verdict = judge(candidate.result, before, settings.gate, warnings=warnings, remarks=known.remarks)
        if live and before is None and settings.gate.mode == "block":
            # Nothing says that it is no worse; who means it can publish it by name.
            verdict = replace(verdict, verdict="blocked")
        return replace(verdict, live=live or None, asked=candidate.asked)


@dataclass(frozen=True)
class _Known:
    """Of which questions the rows that answer them are there.

    Attributes:
        questions: How many name such rows.
        here: Of how many the candidate has one.
        gone: Of how many only the live generation has one.
    """

    questions: int
    here: int
    gone: int

    @classmethod
    def find(cls, catalog: Catalog, store: VectorStore, questions: QuestionSet, generation: int, live: int) -> _Known:
        asked = [question for question in questions.questions if question.gold]
        missing = _without_rows(catalog, store, generation, asked)
        lost = _without_rows(catalog, store, live, missing) if live else missing
        return cls(len(asked), len(asked) - len(missing), len(missing) - len(lost))

    @property
    def share(self) -> float:
        """Of the questions that name rows, those whose rows the FAQ has or had; not a number if none names any."""
        return (self.here + self.gone) / self.questions if self.questions else float("nan")

    @property
    def text(self) -> str:
        """How many rows are known, in words."""
        if not self.questions:
            return "no row that answers a question is named in any"
        return f"the FAQ has the rows that answer {self.here + self.gone} of {self.questions} questions"

    @property
    def warnings(self) -> list[str]:
        """What should not pass unseen."""
        absent = self.questions - self.here - self.gone
        if absent <= _TOO_MANY_UNKNOWN * self.questions:
            return []
        return [f"{absent} of {self.questions} questions ask about rows that the FAQ never had; they count as wrong"]

    @property
    def remarks(self) -> list[str]:
        """What a reader of the verdict should know."""
        return (
            [f"{self.gone} of {self.questions} questions ask about rows that the source no longer has; they count"]
            if self.gone
            else []
        )


def _without_rows(
    catalog: Catalog, store: VectorStore, generation: int, questions: Sequence[Question]
) -> list[Question]:
    """The questions none of whose gold rows a generation shows."""
    wanted = named(name for question in questions for name in question.gold)
    space = catalog.begin_of(generation).space
    left = list(questions)
    for batch in store.scan(space, as_of=generation, columns=["row_key", "question", "part"]):
        if not left:
            break
        rows = batch.filter(pc.equal(batch["part"], 0))
        pairs = zip(rows["row_key"].to_pylist(), rows["question"].to_pylist(), strict=True)
        found = [pair for pair in pairs if is_named(wanted, *pair)]
        left = [q for q in left if not any(is_named(named(q.gold), *pair) for pair in found)]
    return left


def _shows_the_same(catalog: Catalog, live: int, generation: int) -> bool:
    """Whether a candidate is made of the very records of the live generation, and answers by the same model."""
    if catalog.begin_of(live).space != catalog.begin_of(generation).space:
        return False
    one, other = (manifest_of(catalog, number)["record_id"].combine_chunks().sort() for number in (live, generation))
    return bool(one.equals(other)) and _judgement(catalog, live) == _judgement(catalog, generation)


def _judgement(catalog: Catalog, generation: int) -> Calibration | None:
    """What decides whether a generation answers, but for how old it is."""
    found = calibration_of(catalog, generation)
    return found and found.model_copy(update={"changed": 0})
