"""The report of a run: what happened, what readers see, what to do; whatever a FAQ holds stays text."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ragwright.endpoints import EndpointInfo, EndpointStatus
from ragwright.errors import CatalogError, GateBlocked, GuardRefused, RagwrightError, Unavailable
from ragwright.gating import Gatekeeper
from ragwright.index.attempt import ReindexRequest, open_catalog
from ragwright.index.reindex import reindex
from ragwright.measuring import measure
from ragwright.run_report import RunRecord, failure_markdown, linked, run_markdown
from ragwright.settings import Settings

EVIL = "Is `a|b` <img src=x onerror=alert(1)> __all__ [that](http://127.0.0.1/x) there is?"
ROWS = [(f"What is thing number {n}?", f"Thing {n} is the one that comes after thing {n - 1}.") for n in range(24)]
ROWS += [(EVIL, "Yes | and <script>alert(2)</script> too."), ("What is missing?", " ")]


@dataclass
class Index:
    settings: Settings
    folder: Path
    keeper: Gatekeeper

    def run(self, rows: list[tuple[str, str]]) -> RunRecord:
        """One run and how it ended, as a flow notes it."""
        source = self.folder / "faq.csv"
        with source.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("question", "answer"), *rows])
        record = RunRecord(self.settings)
        try:
            reindex(self.settings, ReindexRequest(source=str(source)), gate=self.keeper)
        except RagwrightError as error:
            record.error = error
        with open_catalog(self.settings) as catalog:
            record.generation = catalog.attempts()[-1]
        return record


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("reported")
    asked = [{"id": f"q|{n}`", "question": q, "answerable": True, "gold": [q]} for n, (q, _) in enumerate(ROWS[:25])]
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, asked)), encoding="utf-8")
    settings = Settings(
        home=folder / "home",
        embedding={"endpoint": "hashing:128"},
        generation={"endpoint": "none"},
        answering={"calibration_rows": 0},
        evaluation={"questions": folder / "questions.jsonl"},
        gate={"floors": {"over_refusal_rate": None, "answerable_correctness": None}},
    )
    return Index(settings, folder, Gatekeeper.of(settings, folder / "questions.jsonl"))


@pytest.fixture(scope="module")
def published(index: Index) -> str:
    return run_markdown(index.run(ROWS))


@pytest.fixture(scope="module")
def blocked(index: Index, published: str) -> str:
    record = index.run(ROWS[:14])
    assert isinstance(record.error, GateBlocked)
    return run_markdown(record)


def test_a_published_run_says_what_became_of_every_row(published: str) -> None:
    assert published.startswith("## Generation 1 is live\n")
    assert "| 26 | 25 | 0 | 0 | 1 | 0 | 0 |" in published
    assert "1 row is in quarantine" in published
    assert "- row 25, answer:" in published
    assert "### Gate: passed" in published
    assert "### Evaluation of generation 1" in published
    assert "#### Sample answers" in published
    assert "the re-index: nothing is billed." in published


def test_its_pages_are_where_it_says(index: Index, published: str) -> None:
    page = index.settings.home / "reports" / "faq" / "generation-00000001.html"
    docs = index.settings.home / "data-docs" / "faq" / "index.html"
    for path in (page, docs):
        assert f"`{path}`" in published
        assert path.stat().st_size > 1_000
    assert "](" not in published  # a browser opens no file from another page


@pytest.mark.parametrize("text", ["<img", "<script", "](http", "__all__", "`a", "|b"])
def test_no_text_of_a_source_becomes_markup(index: Index, published: str, blocked: str, text: str) -> None:
    assert not re.search(rf"(?<!\\){re.escape(text)}", published + blocked)
    assert r"\<img src=x" in published + blocked


def test_a_blocked_run_says_why_and_how_to_publish_it(blocked: str) -> None:
    assert blocked.startswith("## Generation 2 was blocked\n")
    assert "**The gate says**: " in blocked
    assert "**Readers see generation 1**" in blocked
    assert 'ragwright publish 2 --index faq --reason "..."' in blocked
    assert "prefect deployment run publish/publish -p generation=2 -p index=faq" in blocked
    assert "questions fare differently than in generation 1, 11 worse:" in blocked


def test_a_run_that_a_guard_stopped_says_what_to_do_next(index: Index, blocked: str) -> None:
    record = index.run(ROWS[:3])
    assert isinstance(record.error, GuardRefused)
    report = run_markdown(record)
    assert report.startswith("## The run failed\n")
    assert "**GuardRefused**: the source lost 22 of the 25 rows that are live" in report
    assert "**Next:** If that is meant, run again with --allow-mass-delete." in report
    assert "**Readers see generation 1**: what is live was not changed" in report


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyboardInterrupt(), "It was interrupted (KeyboardInterrupt)."),
        (ValueError("a <b>defect</b>\nof ours"), r"**ValueError**: a \<b\>defect\</b\> of ours"),
        (Unavailable("it is away", place="endpoint 'x'", hint="Wait."), "**Unavailable**: it is away (endpoint 'x')"),
    ],
)
def test_a_run_that_failed_before_it_began_still_says_what_readers_see(
    index: Index, published: str, error: BaseException, said: str
) -> None:
    report = run_markdown(RunRecord(index.settings, error=error))
    assert said in report
    assert "**Readers see generation 1**: what is live was not changed" in report


def test_a_run_that_failed_after_it_published_says_so(index: Index, published: str) -> None:
    report = run_markdown(RunRecord(index.settings, generation=1, error=Unavailable("the judge is away")))
    assert "**Readers see generation 1**, which this run had published before it failed." in report
    assert "### Ledger" in report


def test_an_index_that_never_was_published_shows_nothing(tmp_path: Path) -> None:
    report = run_markdown(RunRecord(Settings(home=tmp_path), error=Unavailable("away")))
    assert "**Readers see nothing yet**" in report


def test_an_evaluation_reports_no_ledger(index: Index, published: str) -> None:
    assert index.keeper.questions is not None
    measure(index.settings, index.keeper.questions, 1)
    report = run_markdown(RunRecord(index.settings, generation=1, measures_only=True))
    assert report.startswith("## Generation 1 was measured\n")
    assert "### Evaluation of generation 1" in report
    assert "### Ledger" not in report


def test_what_endpoints_cost_is_told_up_to_the_end(index: Index) -> None:
    created = datetime(2026, 1, 1, tzinfo=UTC)

    def endpoint(name: str, instance_type: str | None) -> EndpointInfo:
        return EndpointInfo(
            name=name,
            host="sagemaker",
            status=EndpointStatus.IN_SERVICE,
            model="all-minilm-l6-v2-int8",
            contract="tei",
            created_at=created,
            instance_type=instance_type,
        )

    endpoints = [endpoint("a-gpu", "ml.g5.xlarge"), endpoint("here", None), endpoint("odd", "ml.no-such.thing")]
    report = run_markdown(
        RunRecord(index.settings, endpoints=endpoints, started=created), at=created + timedelta(minutes=90)
    )
    line = next(line for line in report.splitlines() if "a-gpu" in line)
    assert "on ml.g5.xlarge, 1.50 h: at most 2." in line
    assert "`here` ran on this machine: nothing is billed." in report
    assert "`odd` on ml.no-such.thing, 1.50 h: not known" in report
    assert "The run took 1 h 30 min" in report


def test_a_run_without_a_catalog_is_reported_all_the_same(tmp_path: Path) -> None:
    record = RunRecord(Settings(home=tmp_path), error=Unavailable("the bucket is away", hint="Wait."))
    report = failure_markdown(record, CatalogError("no answer from `s3`"))
    assert "**Unavailable**: the bucket is away" in report
    assert "could not be looked up: no answer from \\`s3\\`" in report


def test_a_signed_address_is_not_shown(index: Index, published: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_catalog(index.settings) as catalog:
        begin = catalog.begin_of(1).model_copy(update={"source": "https://me:secret@bucket/faq.csv?X-Signature=secret"})
    monkeypatch.setattr("ragwright.index.catalog.Catalog.begin_of", lambda *_: begin)
    report = run_markdown(RunRecord(index.settings, generation=1))
    assert "made from `https://bucket/faq.csv`," in report
    assert "secret" not in report


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("/srv/home/report.html", "`/srv/home/report.html`"),
        (
            "s3://bucket/a b/report.html",
            "[s3://bucket/a b/report.html](https://console.aws.amazon.com/s3/object/bucket?prefix=a%20b/report.html)",
        ),
        ("s3://bucket/faq/", "[s3://bucket/faq/](https://console.aws.amazon.com/s3/buckets/bucket?prefix=faq/)"),
    ],
)
def test_only_what_a_browser_can_open_is_a_link(url: str, shown: str) -> None:
    assert linked(url) == shown
