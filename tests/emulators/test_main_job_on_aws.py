"""The main job in an account: it does its work, and whatever becomes of it, nothing that costs money is left."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from emulators.aws_cloud import AwsCloud
from emulators.aws_main_job import BILLED, BUCKET, EMBEDDER, GENERATOR, MainJob
from emulators.forked_flows import WarmFlows
from emulators.pinecone_server import PineconeServer
from prefect.client.orchestration import get_client
from prefect.states import Cancelling
from prefect_on_loopback import PrefectServer

from flows.pipeline import pipeline

RAGWRIGHT = Path(sys.executable).with_name("ragwright")
KILLS = 3
CALLS = range(1, 150)
"""How often an undisturbed run calls the cloud, more or less."""


@pytest.fixture(scope="module")
def flows(prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmFlows]:
    with WarmFlows(tmp_path_factory.mktemp("flows"), api_url=prefect_server.url) as flows:
        yield flows


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[AwsCloud, PineconeServer]]:
    with AwsCloud(models="hashing") as cloud, PineconeServer() as pinecone:
        yield cloud, pinecone


@pytest.fixture
def job(
    running: tuple[AwsCloud, PineconeServer], tmp_path: Path, model_cache: Path, request: pytest.FixtureRequest
) -> Iterator[MainJob]:
    cloud, pinecone = running
    name = f"index-{request.session.items.index(request.node)}"  # Pinecone's indexes outlive a test, as in an account
    with MainJob(cloud, pinecone, tmp_path, model_cache, name).prepared() as job:
        yield job


def test_a_failed_endpoint_is_told_with_its_reason_and_nothing_is_left(job: MainJob, flows: WarmFlows) -> None:
    job.cloud.switches.failing_starts[GENERATOR] = "the disk of the host broke"
    run = job.start(flows)
    assert run.wait() == 1
    assert "the disk of the host broke" in run.said
    assert job.cloud.left() == {}
    assert not job.published()


def at_once(job: MainJob) -> bool:
    return True


def checked(job: MainJob) -> bool:
    return "generations/00000001/quality.html" in job.objects()


def written(job: MainJob) -> bool:
    return job.pinecone.requests["upsert"] > 0


def published(job: MainJob) -> bool:
    return job.published() > 0


def no_source(job: MainJob) -> None:
    job.cloud.client("s3").delete_object(Bucket=BUCKET, Key="faq.csv")


def no_embedding(job: MainJob) -> None:
    job.cloud.throttle("sagemaker:InvokeEndpoint", 1)


def denied(action: str) -> Callable[[MainJob], None]:
    return lambda job: job.cloud.deny(action)


@pytest.mark.long
@pytest.mark.parametrize(
    ("moment", "fault"),
    [
        pytest.param(at_once, no_source, id="validate"),
        pytest.param(checked, no_embedding, id="embed"),
        pytest.param(written, denied("s3:GetObject"), id="verify"),
        pytest.param(published, denied("s3:PutObject"), id="evaluate"),
    ],
)
def test_an_exception_in_any_stage_leaves_nothing(
    job: MainJob, flows: WarmFlows, moment: Callable[[MainJob], bool], fault: Callable[[MainJob], None]
) -> None:
    run = job.start(flows)
    assert job.once(run, lambda: moment(job))
    fault(job)
    assert run.wait() == 1, run.said
    assert job.cloud.left() == {}


@pytest.mark.long
@pytest.mark.parametrize(
    ("kept", "said"),
    [
        pytest.param("generations/*/chunks/*", "chunks/00000.parquet", id="chunk"),
        pytest.param("generations/*/plan.parquet", "plan.parquet", id="plan"),
        pytest.param("generations/*/answerability.json", "answerability.json", id="calibrate"),
        pytest.param("generations/*/gate.json", "gate.json", id="gate"),
        pytest.param("log/*", "log/00000001.json", id="publish"),
    ],
)
def test_a_stage_that_cannot_keep_what_it_made_fails_the_run_and_leaves_nothing(
    job: MainJob, flows: WarmFlows, kept: str, said: str
) -> None:
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    objects = f"arn:aws:s3:::{BUCKET}/ragwright/*/{kept}"
    job.cloud.allow_only({"Statement": [everything, {"Effect": "Deny", "Action": "s3:PutObject", "Resource": objects}]})
    run = job.start(flows)
    assert run.wait() == 1, run.said
    assert f"{said}' cannot be written" in run.said
    assert job.cloud.left() == {}
    assert not job.published()


@pytest.mark.long
def test_what_a_run_may_not_delete_its_schedule_deletes(job: MainJob, flows: WarmFlows) -> None:
    job.cloud.deny("sagemaker:DeleteEndpoint")
    run = job.start(flows)
    assert run.wait() == 1
    assert "sagemaker:DeleteEndpoint" in run.said
    assert job.cloud.left()["endpoints"] == [GENERATOR, EMBEDDER]
    job.fire_schedules()
    assert not BILLED & job.cloud.left().keys()
    job.reap()
    assert job.cloud.left() == {}


@pytest.mark.long
def test_killed_at_random_moments_what_is_left_goes_and_the_next_run_publishes(job: MainJob, flows: WarmFlows) -> None:
    chance, killed = random.Random(5), 0
    while killed < KILLS:
        if not job.kill(flows, calls=chance.choice(CALLS)):
            continue  # it was faster
        killed += 1
        if killed % 2:
            job.fire_schedules()  # the schedules' turn, without anybody's help
            assert not BILLED & job.cloud.left().keys()
        job.reap()
        assert job.cloud.left() == {}
    deadline = time.monotonic() + 60
    # A dead writer's requests may still be under way in an account, so others wait until its lease has lapsed.
    while (run := job.start(flows)).wait() and "WriterBusy" in run.said and time.monotonic() < deadline:
        assert job.cloud.left() == {}
        time.sleep(3)
    assert run.wait() == 0, run.said
    assert job.cloud.left() == {}
    assert job.published()


@pytest.mark.long
def test_cancelling_a_deployment_s_run_takes_its_endpoints_down(job: MainJob, prefect_server: PrefectServer) -> None:
    parameters = {"source": f"s3://{BUCKET}/faq.csv", "questions": {"file": str(job.questions)}}
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(
            client.create_flow(pipeline), "cancelled", entrypoint="flows.pipeline.pipeline", path="."
        )
        run = client.create_flow_run_from_deployment(deployment, parameters=parameters).id
        # What a worker starts for each run.
        command = [sys.executable, "-m", "prefect", "flow-run", "execute", str(run)]
        environment = os.environ | job.environment | prefect_server.environment()
        with (job.folder / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=job.folder, env=environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 120
            while len(job.cloud.left().get("endpoints", [])) < 2:
                assert process.poll() is None, (job.folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            client.set_flow_run_state(run, Cancelling())  # as the UI does
            process.wait(timeout=120)
        finally:
            process.kill()
            process.wait()
        state = client.read_flow_run(run).state
    assert state is not None
    assert state.is_cancelled(), (job.folder / "log").read_text()
    assert job.cloud.left() == {}
    assert not job.published()


@pytest.mark.long
def test_the_demo_runs_in_an_account_on_a_flag(job: MainJob, prefect_server: PrefectServer) -> None:
    environment = os.environ | job.environment | prefect_server.environment()
    del environment["RAGWRIGHT_PROFILE"]
    command = [str(RAGWRIGHT), "demo", "--profile", "aws", "--sample", "8", "--json"]
    done = subprocess.run(command, cwd=job.folder, env=environment, capture_output=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr.decode()
    first = job.cloud.calls.index
    assert first(("scheduler", "CreateSchedule")) < first(("sagemaker", "CreateEndpoint")), "the switch comes first"
    report = json.loads(done.stdout)
    assert report["reindex"]["published"]
    assert report["reindex"]["ledger"]["added"] == report["reindex"]["ledger"]["source_rows"] >= 120
    assert report["evaluation"]["questions"] == 8
    assert job.cloud.left() == {}
    of_generation = {f"generations/00000001/{name}" for name in ("quarantine.parquet", "quality.html", "report.html")}
    assert {"log/00000001.json", *of_generation} <= job.objects()
    assert sum(len(space.seen("counts")) for space in job.pinecone.index(job.name).namespaces.values()) >= 120
    assert not (job.home / "store").exists()
    assert not (job.home / "catalog").exists()


def test_the_demo_asks_for_what_it_lacks_before_anything_is_made(job: MainJob) -> None:
    environment = os.environ | job.environment | {"RAGWRIGHT_CATALOG": "", "PINECONE_API_KEY": ""}
    command = [str(RAGWRIGHT), "demo", "--json"]
    done = subprocess.run(command, cwd=job.folder, env=environment, capture_output=True, check=False, timeout=60)
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert "RAGWRIGHT_CATALOG" in error["message"]
    assert "PINECONE_API_KEY" in error["message"]
    assert job.cloud.calls == [], "nobody was asked"
