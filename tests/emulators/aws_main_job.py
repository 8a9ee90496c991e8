"""The main job under the `aws` profile, against a cloud and a Pinecone on loopback, with what may befall it."""

from __future__ import annotations

import csv
import io
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pytest
from emulators.aws_cloud import ROLES, AwsCloud
from emulators.forked_flows import WarmFlows
from emulators.pinecone_server import PineconeServer
from forking import Fork

from ragwright.endpoints.sagemaker import SageMakerHost
from ragwright.settings import Settings

EMBEDDER, GENERATOR = "ragwright-minilm", "ragwright-flan-t5-xl"
BUCKET = "an-account-s-faqs"
FAQ = [(f"What is thing number {n}?", f"Thing {n} is the one that comes after thing {n - 1}.") for n in range(12)]
QUESTIONS = [
    {"id": "1", "question": "What is thing number 3?", "answerable": True, "gold": ["What is thing number 3?"]},
    {"id": "2", "question": "What color is my desk?", "answerable": False},
]
REGISTRY = "763104351884.dkr.ecr.us-east-1.amazonaws.com"
IMAGES = {
    "tei-cpu 1.8.2  us-east-1 ml.m5.xlarge": f"{REGISTRY}/tei-cpu:2.0.1-tei1.8.2-cpu-py310-ubuntu22.04",
    "hf-feature-extraction 4.49.0 pytorch2.6.0 us-east-1 ml.m5.xlarge": (
        f"{REGISTRY}/huggingface-pytorch-inference:2.6.0-transformers4.49.0-cpu"
    ),
    "tgi 3.3.6  us-east-1 ml.g5.4xlarge": f"{REGISTRY}/huggingface-pytorch-tgi-inference:2.7.0-tgi3.3.6-gpu-py311",
}
"""What the SDK that knows image addresses would say, which takes it seconds."""
BILLED = {"endpoints", "schedules"}
"""What a schedule takes away; models and configurations cost nothing and are the janitor's."""


@dataclass
class MainJob:
    """One index in one account, the runs that keep it, and what is left after them."""

    cloud: AwsCloud
    pinecone: PineconeServer
    folder: Path
    model_cache: Path
    name: str

    @contextmanager
    def prepared(self) -> Iterator[Self]:
        """A new account with a bucket that holds the FAQ; this process uses that account too while the block lasts."""
        with pytest.MonkeyPatch.context() as patch:
            for variable, value in self.cloud.environment().items():
                patch.setenv(variable, value)
            self._prepare()
            yield self

    def _prepare(self) -> None:
        self.cloud.reset()
        self.pinecone.faults.clear()
        self.pinecone.reset_counters()
        self.home.mkdir(parents=True)
        (self.home / "images.json").write_text(json.dumps(IMAGES))
        self.questions.write_text("\n".join(map(json.dumps, QUESTIONS)))
        self.cloud.client("s3").create_bucket(Bucket=BUCKET)
        self.write_faq()
        self.cloud.calls.clear()

    def write_faq(self, version: int = 0) -> None:
        """Put the FAQ into the bucket; each version has one answer that no other has."""
        rows = [*FAQ, ("Which version is this?", f"This is version {version} of the FAQ.")]
        text = io.StringIO()
        csv.writer(text).writerows([("question", "answer"), *rows])
        self.cloud.client("s3").put_object(Bucket=BUCKET, Key="faq.csv", Body=text.getvalue().encode())

    @property
    def home(self) -> Path:
        """Of the runs' state on this machine."""
        return self.folder / "home"

    @property
    def questions(self) -> Path:
        """The question set."""
        return self.folder / "questions.jsonl"

    @property
    def environment(self) -> dict[str, str]:
        """All that a run is told."""
        return {
            **self.cloud.environment(),
            **{name: role for name, role in ROLES.items() if name.endswith("ROLE_ARN")},
            **self.pinecone.environment(),
            "RAGWRIGHT_PROFILE": "aws",
            "RAGWRIGHT_HOME": str(self.home),
            "RAGWRIGHT_MODEL_CACHE": str(self.model_cache),
            "RAGWRIGHT_CATALOG": f"s3://{BUCKET}/ragwright",
            "RAGWRIGHT_STORE": f"pinecone:{self.name}",
            "RAGWRIGHT_GATE__MODE": "off",  # what it asks, the evaluation asks
            "RAGWRIGHT_ANSWERING__CALIBRATION_ROWS": "5",
            "RAGWRIGHT_WRITER__LEASE_SECONDS": "8",  # the run after a killed one waits as long
            "RAGWRIGHT_SAGEMAKER__POLL_SECONDS": "0.05",
            "RAGWRIGHT_SAGEMAKER__SETTLE_SECONDS": "20",
            "RAGWRIGHT_RETRY__ATTEMPTS": "2",
            "RAGWRIGHT_RETRY__FIRST_PAUSE_SECONDS": "0.01",
        }

    def start(self, flows: WarmFlows, **parameters: Any) -> Fork:
        """A run of the flow over the FAQ on S3, in a process of its own."""
        given = {"source": f"s3://{BUCKET}/faq.csv", "questions": {"file": str(self.questions)}, **parameters}
        return flows.start(self.environment, self.folder, **given)

    def once(self, run: Fork, happened: Callable[[], bool], seconds: float = 60) -> bool:
        """Wait until something has happened; False if the run ended before."""
        deadline = time.monotonic() + seconds
        while not happened():
            if run.ended():
                return False
            assert time.monotonic() < deadline, run.said
            time.sleep(0.02)
        return True

    def kill(self, flows: WarmFlows, *, calls: int) -> bool:
        """SIGKILL a run once the cloud has been called so often; False if it had ended before."""
        before = len(self.cloud.calls)
        run = self.start(flows)
        self.once(run, lambda: len(self.cloud.calls) - before >= calls)
        run.signal(signal.SIGKILL)
        return run.wait() == -signal.SIGKILL

    def fire_schedules(self) -> None:
        """Let the cloud's clock run past all leases, and set it right again, for the next run's leases are by ours."""
        self.cloud.advance(hours=2)
        self.cloud.advance(hours=-2)

    def reap(self, *, later: timedelta = timedelta(hours=2)) -> list[str]:
        """Do what the janitor does, when all leases are over."""
        roles = {name: ROLES[f"RAGWRIGHT_SAGEMAKER__{name.upper()}"] for name in ("role_arn", "scheduler_role_arn")}
        settings = Settings(
            home=self.home,
            endpoints={"host": "sagemaker"},
            sagemaker={**roles, "poll_seconds": 0.02, "settle_seconds": 20},
        )
        with SageMakerHost(settings) as host:
            return list(host.reap(datetime.now(UTC) + later))

    def objects(self) -> set[str]:
        """Names in the bucket below the index."""
        pages = (
            self.cloud.client("s3").get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="ragwright/faq/")
        )
        found = {item["Key"] for page in pages for item in page.get("Contents", [])}
        return {name.removeprefix("ragwright/faq/") for name in found}

    def published(self) -> int:
        """How many generations readers have been shown."""
        return sum(name.startswith("log/") for name in self.objects())
