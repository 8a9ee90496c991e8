"""A cloud on loopback, empty at the start of every test that asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from emulators.aws_cloud import AwsCloud

from ragwright.settings import Settings, load_settings

ROLES = {
    "role_arn": "arn:aws:iam::123456789012:role/containers",
    "scheduler_role_arn": "arn:aws:iam::123456789012:role/dead-mans-switch",
}
PRESETS = """
[small]
model = "hashing-384"
contract = "tei"
container = "tei-cpu"
image = "registry.example/tei-cpu:1"
instances = [{ type = "ml.m5.xlarge" }, { type = "ml.m5.2xlarge" }, { type = "ml.c5.2xlarge" }]

[other]
model = "hashing-128"
contract = "tei"
container = "tei-cpu"
image = "registry.example/tei-cpu:1"
instances = [{ type = "ml.m5.xlarge" }, { type = "ml.m5.2xlarge" }]

[by-request]
model = "hashing-64"
contract = "tei"
container = "tei-cpu"
image = "registry.example/tei-cpu:1"
serverless = { memory_mb = 2048, max_concurrency = 5 }

[gated]
model = "hashing-32"
contract = "tei"
container = "tei-cpu"
image = "registry.example/tei-cpu:1"
instances = [{ type = "ml.m5.xlarge" }]
gated = true
eula = "https://licence.example"
"""


@pytest.fixture(scope="session")
def running_cloud() -> Iterator[AwsCloud]:
    with AwsCloud(models="hashing") as cloud:
        yield cloud


@pytest.fixture
def cloud(running_cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> AwsCloud:
    running_cloud.reset()
    for variable, value in running_cloud.environment().items():
        monkeypatch.setenv(variable, value)
    return running_cloud


@pytest.fixture
def on_sagemaker(tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a host on SageMaker; what is passed in goes into their section `sagemaker`."""
    (tmp_path / "presets.toml").write_text(PRESETS)

    def settings(**section: Any) -> Settings:
        return load_settings(
            home=tmp_path,
            endpoints={"host": "sagemaker"},
            retry={"attempts": 3, "first_pause_seconds": 0.01},
            sagemaker={**ROLES, "poll_seconds": 0.02, "settle_seconds": 20, **section},
        )

    return settings
