"""The pages of the Prefect UI, as a browser shows them."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from headless_chromium import PAGE_SECONDS, Page, browser, installed
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import FlowRun
from prefect_on_loopback import PrefectServer

from flows.reindex import reindex

ROOT = Path(__file__).resolve().parents[2]
INDEX = "seen"
ROWS = [(f"What is thing number {n}?", f"Thing {n} comes after <b>thing</b> {n - 1} | and more.") for n in range(34)]

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        installed() is None, reason="Chromium is not installed: `apt-get install chromium`, or `.ci/run` as root"
    ),
]


@dataclass(frozen=True)
class Site:
    """The UI with our deployments, after a re-index.

    Attributes:
        url: Its root.
        run: The re-index.
        names: Of its task runs.
        report: Id of the artifact.
        deployments: Their ids by name.
    """

    url: str
    run: FlowRun
    names: list[str]
    report: str
    deployments: dict[str, str]


@pytest.fixture(scope="module")
def site(prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("seen")
    questions = [{"id": str(n), "question": q, "answerable": True, "gold": [q]} for n, (q, _) in enumerate(ROWS)]
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, questions)), encoding="utf-8")
    with (folder / "faq.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("question", "answer"), *ROWS, ("What is blank?", " ")])
    with pytest.MonkeyPatch.context() as patch, get_client(sync_client=True) as client:
        patch.setenv("RAGWRIGHT_HOME", str(folder / "home"))
        patch.setenv("RAGWRIGHT_EMBEDDING__ENDPOINT", "hashing:384")
        patch.setenv("RAGWRIGHT_GENERATION__ENDPOINT", "none")
        patch.setenv("RAGWRIGHT_SOURCE__PARTITION_ROWS", "1")
        patch.setenv("RAGWRIGHT_ANSWERING__CALIBRATION_ROWS", "0")
        patch.setenv("RAGWRIGHT_GATE__FLOORS", json.dumps({"over_refusal_rate": None, "answerable_correctness": None}))
        state = reindex(
            source=str(folder / "faq.csv"),
            index=INDEX,
            gate={"questions": str(folder / "questions.jsonl")},
            return_state=True,
        )
        assert state.is_completed(), state
        run = client.read_flow_run(state.state_details.flow_run_id)
        (report,) = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[f"{INDEX}-report"]))
        )
        deployments = {name: deployed(name, made) for name, made in listed().items()}
        yield Site(
            prefect_server.url.removesuffix("/api"),
            run,
            recorded(client, run),
            str(report.id),
            deployments,
        )
        for identity in deployments.values():
            client.delete_deployment(identity)


def recorded(client: SyncPrefectClient, run: FlowRun) -> list[str]:
    """Names of a run's task runs, once the server has taken in what it was told of them."""
    of_run = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    names: list[str] = []
    deadline = time.monotonic() + PAGE_SECONDS
    while True:
        before = names
        names = sorted(task.name for task in client.read_task_runs(flow_run_filter=of_run))
        if names == before and "Publish generation 1" in names:
            return names
        assert time.monotonic() < deadline, f"the last task run is not among {names}"
        time.sleep(0.5)


def listed() -> dict[str, dict[str, Any]]:
    """The deployments of prefect.yaml by name."""
    text = (ROOT / "prefect.yaml").read_text(encoding="utf-8")
    return {deployment["name"]: deployment for deployment in yaml.safe_load(text)["deployments"]}


def deployed(name: str, made: dict[str, Any]) -> str:
    """Its id on the server, where it has a name of its own: others deploy there too."""
    module, _, attribute = made["entrypoint"].rpartition(".")
    found: Flow[..., Any] = getattr(import_module(module), attribute)
    deployment = found.to_deployment(
        f"{name}-seen", description=made["description"], parameters=made.get("parameters"), tags=["seen"]
    )
    return str(deployment.apply())


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as found:
        yield found


def test_a_re_index_of_many_partitions_is_told_in_few_task_runs(site: Site) -> None:
    assert len(site.names) <= 100
    assert "Embed and write partition 1 of 34" in site.names
    assert "Embed and write partitions 33 to 34 of 34" in site.names


def test_the_page_of_a_run_shows_its_name_and_its_task_runs(site: Site, page: Page) -> None:
    page.open(f"{site.url}/runs/flow-run/{site.run.id}")
    page.wait_for(site.run.name, "Completed", f"{len(site.names)} Task runs", "Artifacts")
    page.click("Task Runs")
    page.wait_for("Publish generation 1", "Judge generation 1")
    page.click("Artifacts")
    shown = page.wait_for(f"{INDEX}-report", f"{INDEX}-gate", f"{INDEX}-embed-and-write")
    assert shown.index(f"{INDEX}-report") < shown.index(f"{INDEX}-gate")


def test_the_report_is_shown_as_it_was_meant(site: Site, page: Page) -> None:
    page.open(f"{site.url}/artifacts/artifact/{site.report}")
    shown = page.wait_for(
        "Generation 1 is live", "Ledger", "Quality", "Gate: passed", "Cost", "Pages", "Sample answers"
    )
    assert "source rows added updated unchanged quarantined failed removed 35 34 0 0 1 0 0" in shown
    assert "Thing 0 comes after <b>thing</b> -1 | and more." in shown
    assert page.evaluate("document.querySelectorAll('.markdown-renderer script, .markdown-renderer b').length") == 0


def test_no_table_of_the_report_is_cut_off(site: Site, page: Page) -> None:
    page.size(1_280, 900)
    page.open(f"{site.url}/artifacts/artifact/{site.report}")
    page.wait_for("Sample answers")
    overhang = page.evaluate(
        "[...document.querySelectorAll('.markdown-renderer__table')].map(e => e.scrollWidth - e.clientWidth)"
    )
    page.size(1_400, 1_000)
    assert len(overhang) >= 4  # ledger, quality, gate, evaluation
    assert max(overhang) <= 1


def test_the_deployments_page_lists_all_of_ours(site: Site, page: Page) -> None:
    page.open(f"{site.url}/deployments")
    page.evaluate("localStorage.setItem('deployment-list-limit', '100')")  # the server has those of other tests, too
    page.open(f"{site.url}/deployments")
    page.wait_for(*(f"{name}-seen" for name in site.deployments))


def test_the_form_of_a_deployment_explains_each_parameter(site: Site, page: Page) -> None:
    page.open(f"{site.url}/deployments/deployment/{site.deployments['nightly-reindex']}/run")
    page.wait_for(
        "The FAQ: a path, s3:// or https:// (CSV, JSONL or Parquet).",
        "Name of the index.",
        "How far this run may change the index.",
        "Accept a source that lost more than half of its rows.",
        "What the new generation must show before readers see it.",
    )
