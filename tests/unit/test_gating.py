"""Candidates of a real index at the gate: what is worse stays out, and readers notice nothing."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ragwright.assembly import open_answerer
from ragwright.documents import Fingerprint
from ragwright.errors import CatalogError, ConfigurationError, FingerprintMismatch, GateBlocked, SourceError, StoreError
from ragwright.evaluation.gate import GateVerdict
from ragwright.evaluation.questions import QuestionSet, load, sample
from ragwright.evaluation.stored import Conditions, recall
from ragwright.gating import Gatekeeper
from ragwright.index.attempt import ReindexRequest, open_catalog
from ragwright.index.history import generations, rollback
from ragwright.index.reindex import ReindexReport, reindex, writer_lease
from ragwright.index.release import release
from ragwright.measuring import measure, settings_of
from ragwright.settings import Settings
from ragwright.stores import open_store

pytestmark = pytest.mark.usefixtures("cheap_validation")

DATA = Path(__file__).resolve().parents[2] / "data"
ASKED = "What happens to a Spot training job when the capacity is taken back?"

Rows = list[tuple[str, str]]


@dataclass
class Index:
    """An index of the FAQ that comes along, without a model, and the questions that its candidates are asked."""

    settings: Settings
    folder: Path
    questions: QuestionSet
    rows: Rows

    def write(self, rows: Rows, name: str = "faq.csv") -> str:
        path = self.folder / name
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("question", "answer"), *rows])
        return str(path)

    def run(self, rows: Rows, settings: Settings | None = None, **options: object) -> ReindexReport:
        settings = settings or self.settings
        request = ReindexRequest(source=self.write(rows), **options)
        return reindex(settings, request, gate=Gatekeeper(settings, self.questions, chosen=True))

    def live(self) -> int:
        with open_catalog(self.settings) as catalog:
            return catalog.head().live

    def states(self) -> dict[int, str]:
        with open_catalog(self.settings) as catalog:
            return {info.generation: info.state for info in generations(catalog)}

    def told(self, generation: int | None = None) -> list[str]:
        """What some of the questions get."""
        with open_answerer(self.settings, generation=generation) as answerer:
            return [answerer.answer(question.question).answer for question in self.questions.questions[:25]]

    def publish(self, generation: int, reason: str = "It is meant.") -> None:
        with (
            open_catalog(self.settings) as catalog,
            open_store(self.settings.store_spec) as store,
            writer_lease(self.settings) as lease,
        ):
            release(catalog, store, lease, generation, reason=reason, timeout=0.5)


def settings_in(folder: Path, **more: object) -> Settings:
    """Floors are off: an embedder that knows no meaning reaches none of them."""
    none = dict.fromkeys(
        ["answer_correctness", "answerable_correctness", "hit_at_5", "false_answer_rate", "over_refusal_rate"]
    )
    return Settings(
        home=folder / "home",
        store=f"memory:{folder}",
        embedding={"endpoint": "hashing:384"},
        generation={"endpoint": "none"},
        gate={"floors": none, **more},
    )


def read_faq() -> Rows:
    with (DATA / "sagemaker_faq.csv").open(newline="", encoding="utf-8") as file:
        return [(question, answer) for question, answer in list(csv.reader(file))[1:]]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """One live generation; what the tests that share it add is blocked."""
    folder = tmp_path_factory.mktemp("gated")
    made = Index(settings_in(folder), folder, sample(load(DATA / "questions.jsonl"), 150), read_faq())
    assert made.run(made.rows).gate.verdict == "passed"
    return made


@pytest.fixture
def small(tmp_path: Path) -> Index:
    """A dozen rows and as many questions as the gate needs to block."""
    rows = [(f"What is thing number {n}?", f"Thing {n} is the one that comes after {n - 1}.") for n in range(40)]
    lines = [
        {"id": str(n), "question": rows[n][0], "answerable": True, "gold": [rows[n][0]], "kind": "same"}
        for n in range(len(rows))
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return Index(settings_in(tmp_path), tmp_path, load(path), rows)


def without_a_fifth(rows: Rows) -> Rows:
    kept = set(random.Random(3).sample(range(len(rows)), len(rows) - len(rows) // 5))
    return [row for n, row in enumerate(rows) if n in kept]


def with_shuffled_answers(rows: Rows) -> Rows:
    answers = [answer for _, answer in rows]
    random.Random(3).shuffle(answers)
    return [(question, answer) for (question, _), answer in zip(rows, answers, strict=True)]


@pytest.mark.parametrize("spoil", [without_a_fifth, with_shuffled_answers])
def test_a_spoiled_source_is_blocked_and_readers_notice_nothing(index: Index, spoil: Callable[[Rows], Rows]) -> None:
    before = index.told()
    with pytest.raises(GateBlocked, match="was not published") as caught:
        index.run(spoil(index.rows))
    assert (index.live(), index.told()) == (1, before)
    report = caught.value.report
    assert not report["published"]
    assert report["gate"]["verdict"] == "blocked"
    assert report["gate"]["changed"]
    gone = "ask about rows that the source no longer has" in report["gate"]["reason"]
    assert gone == (spoil is without_a_fifth)
    assert index.states()[report["generation"]] == "blocked"


def test_a_candidate_of_the_wrong_embedder_is_blocked(index: Index) -> None:
    wrong = index.settings.model_copy(
        update={"embedding": index.settings.embedding.model_copy(update={"endpoint": "hashing:16"})}
    )
    with pytest.raises(GateBlocked):
        index.run(index.rows, wrong)
    assert index.live() == 1
    # Both can be read, each with the embedder that made it, whichever is set.
    for settings in (wrong, index.settings):
        for generation in (1, index_newest(index)):
            assert measure(settings, index.questions, generation).asked == 0
            few = QuestionSet(index.questions.questions[:3])
            assert measure(settings, few, generation, again=True).result.generation == generation


def index_newest(index: Index) -> int:
    with open_catalog(index.settings) as catalog:
        return catalog.attempts()[-1]


def test_the_same_rows_embedded_again_pass(index: Index) -> None:
    """In a space of their own, so that every question is asked; a copy, because this one goes live."""
    folder = index.folder / "again"
    folder.mkdir()
    copy = replace(index, settings=settings_in(folder), folder=folder)
    copy.run(copy.rows)
    report = copy.run(copy.rows, full=True)
    assert (report.gate.verdict, report.gate.asked, report.gate.changes) == ("passed", 150, ())
    assert "no worse than generation 1 on 150 questions" in report.gate.reason


def test_nothing_is_asked_of_an_unchanged_index(small: Index) -> None:
    small.run(small.rows)
    report = small.run(small.rows)
    assert (report.generation, report.gate.verdict, report.gate.asked) == (2, "passed", 0)
    assert report.gate.reason == "identical to generation 1"
    conditions = Conditions.of(small.settings, small.questions)
    with open_catalog(small.settings) as catalog:
        carried = recall(catalog, 2, conditions)
        latest = catalog.read_json("generations/00000002/evaluation.json")
    assert carried is not None
    assert carried.generation == 2
    assert latest is not None
    assert latest["generation"] == 2
    # So the next candidate is compared without asking the live generation again.
    third = small.run([*small.rows, ("Is there more?", "There is.")])
    assert (third.gate.verdict, third.gate.live, third.gate.asked) == ("passed", 2, 40)


def test_a_live_generation_is_asked_again_when_the_questions_are_others(small: Index) -> None:
    small.run(small.rows)
    fewer = replace(small, questions=QuestionSet(small.questions.questions[:30]))
    report = fewer.run([*small.rows, ("Is there more?", "There is.")])
    assert (report.gate.live, report.gate.questions) == (1, 30)
    with open_catalog(small.settings) as catalog:
        assert recall(catalog, 1, Conditions.of(small.settings, fewer.questions)) is not None
        other = small.settings.model_copy(
            update={"answering": small.settings.answering.model_copy(update={"top_k": 3})}
        )
        assert recall(catalog, 1, Conditions.of(other, fewer.questions)) is None


def test_a_candidate_that_cannot_be_compared_is_blocked(small: Index) -> None:
    small.run(small.rows)
    with pytest.raises(FingerprintMismatch, match="nobodys-model"):
        settings_of(small.settings, Fingerprint("nobodys-model", "1", "mean", True, 384))
    with open_catalog(small.settings) as catalog:
        begin = catalog.begin_of(1)
        gone = begin.model_copy(update={"fingerprint": replace(begin.fingerprint, model="nobodys-model")})
        catalog.write_json("generations/00000001/begin.json", gone.model_dump(mode="json"))
    # What is known of it still counts; what is not can no longer be asked.
    assert small.run([*small.rows, ("Is there more?", "There is.")]).gate.live == 1
    with open_catalog(small.settings) as catalog:
        assert rollback(catalog, 1).generation == 1
    fewer = replace(small, questions=QuestionSet(small.questions.questions[:30]))
    with pytest.raises(GateBlocked, match="generation 1 could not be asked for comparison"):
        fewer.run([*small.rows, ("Is there less?", "There is not.")])


def test_a_blocked_candidate_can_be_read_and_published_by_name(small: Index) -> None:
    small.run(small.rows)
    fewer = small.rows[:28]
    with pytest.raises(GateBlocked, match="12 of 40 questions ask about rows that the source no longer has"):
        small.run(fewer)
    with open_answerer(small.settings, generation=2) as answerer:
        assert answerer.answer(small.rows[0][0]).generation == 2
    small.publish(2, "These were dropped on purpose.")
    assert (small.live(), small.states()) == (2, {2: "live", 1: "retained"})
    with open_catalog(small.settings) as catalog:
        entry = catalog.head().last
        end = catalog.read_json("generations/00000002/end.json")
        assert generations(catalog)[0].reason == "These were dropped on purpose."
    assert entry is not None
    assert (entry.kind, entry.counts["records"]) == ("publish", 28)
    assert end is not None
    assert (end["outcome"], end["report"]["gate"]["verdict"]) == ("published", "blocked")
    # History goes on from there as from any other.
    assert small.run(fewer).gate.reason == "identical to generation 2"
    with open_catalog(small.settings) as catalog:
        assert rollback(catalog, 1).generation == 1
    assert small.run(small.rows).gate.reason == "identical to generation 1"


def test_a_vacuum_in_between_leaves_a_blocked_candidate_publishable(small: Index) -> None:
    from ragwright.index.vacuum import vacuum

    for rows in (small.rows, [*small.rows, ("Is there more?", "There is.")]):
        small.run(rows)
    with pytest.raises(GateBlocked):
        small.run(small.rows[:28])
    with (
        open_catalog(small.settings) as catalog,
        open_store(small.settings.store_spec) as store,
        writer_lease(small.settings) as lease,
    ):
        vacuum(catalog, store, lease, keep=1, settle=0)
    small.publish(3)
    assert small.live() == 3


def blocked_once(small: Index) -> None:
    small.run(small.rows)
    with pytest.raises(GateBlocked):
        small.run(small.rows[:28])


def test_what_is_not_blocked_is_not_published_by_name(small: Index) -> None:
    blocked_once(small)
    with pytest.raises(CatalogError, match="it was published before"):
        small.publish(1)
    with pytest.raises(CatalogError, match="generation 9 is unknown"):
        small.publish(9)
    with pytest.raises(ConfigurationError, match="for a reason"):
        small.publish(2, " ")
    with pytest.raises(SourceError):
        small.run([])
    with pytest.raises(CatalogError, match="it is failed, and only a blocked one"):
        small.publish(3)
    assert small.live() == 1


def test_a_candidate_that_was_overtaken_is_not_published(small: Index) -> None:
    blocked_once(small)
    assert small.run([*small.rows, ("Is there more?", "There is.")]).published
    with pytest.raises(CatalogError, match="since it began a publish made generation 3 live"):
        small.publish(2)
    assert small.live() == 3


def test_a_candidate_whose_records_a_later_run_changed_is_not_published(small: Index) -> None:
    blocked_once(small)
    with pytest.raises(GateBlocked):
        small.run(small.rows[12:])  # ends, and revives, other records than generation 2 did
    with pytest.raises(StoreError, match="generation 2 is not what was judged any more"):
        small.publish(2)
    assert small.live() == 1
    small.publish(3)
    assert small.live() == 3
    assert small.run(small.rows[12:]).written == 0


@pytest.mark.parametrize(("chosen", "verdict"), [(False, "off"), (True, "warned")])
def test_questions_about_another_faq_do_not_gate_this_one(small: Index, chosen: bool, verdict: str) -> None:
    foreign = load(DATA / "questions.jsonl")
    gate = Gatekeeper(small.settings, foreign, chosen=chosen)
    report = reindex(small.settings, ReindexRequest(source=small.write(small.rows)), gate=gate)
    assert report.published
    assert (report.gate.verdict, report.gate.asked) == (verdict, 0)
    assert "has the rows that answer 0 of 190 questions" in report.gate.reason


def test_gold_rows_that_were_never_there_are_a_warning(small: Index) -> None:
    asked = [replace(q, gold=("No such row",)) if int(q.id) < 8 else q for q in small.questions.questions]
    report = replace(small, questions=QuestionSet(tuple(asked))).run(small.rows)
    assert report.gate.verdict == "warned"
    assert "8 of 40 questions ask about rows that the FAQ never had" in report.gate.reason


def test_the_gate_can_be_switched_off_and_can_merely_warn(small: Index) -> None:
    small.run(small.rows)
    for mode, verdict in (("off", "off"), ("warn", "warned")):
        settings = small.settings.model_copy(update={"gate": small.settings.gate.model_copy(update={"mode": mode})})
        report = small.run(small.rows[:28] if mode == "off" else small.rows[:20], settings)
        assert (report.published, report.gate.verdict) == (True, verdict)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_default_question_set_that_is_not_there_is_no_error(elsewhere: Path) -> None:
    gate = Gatekeeper.of(settings_in(elsewhere))
    assert gate.questions is None
    chosen = settings_in(elsewhere).model_copy(
        update={"evaluation": Settings(evaluation={"questions": "mine.jsonl"}).evaluation}
    )
    with pytest.raises(SourceError, match="cannot be read"):
        Gatekeeper.of(chosen)
    with pytest.raises(SourceError, match="cannot be read"):
        Gatekeeper.of(settings_in(elsewhere), Path("mine.jsonl"))
    assert Gatekeeper.of(chosen.model_copy(update={"gate": settings_in(elsewhere, mode="off").gate})).questions is None


def test_a_foreign_faq_without_questions_goes_live_and_says_why_nothing_was_asked(elsewhere: Path) -> None:
    (elsewhere / "faq.csv").write_text("question,answer\nWhat?,That.\n", encoding="utf-8")
    settings = settings_in(elsewhere)
    report = reindex(settings, ReindexRequest(source="faq.csv"), gate=Gatekeeper.of(settings))
    assert report.published
    assert report.gate == GateVerdict("off", ("there is no question set 'data/questions.jsonl'",))
    with open_catalog(settings) as catalog:
        assert catalog.read_json("generations/00000001/gate.json") == report.gate.to_json()
        assert catalog.read("generations/00000001/gate.md") is not None
