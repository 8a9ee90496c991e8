"""Runs of the flow `pipeline` that start at once, with the clients of AWS and Pinecone imported."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forking import Fork, Forks


class WarmFlows(Forks):
    """The process that forks. Prefect's server must be up before: its address is read at import."""

    def __init__(self, folder: Path, *, api_url: str) -> None:
        own = {
            "PREFECT_API_URL": api_url,
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_TLS_INSECURE_SKIP_VERIFY": "true",  # no certificates are read for a server on loopback
            "PREFECT_LOGGING_TO_API_ENABLED": "false",  # logs are read from files
        }
        super().__init__("emulators.forked_flows", own)
        self._folder, self._runs = folder, 0

    def start(self, environment: Mapping[str, str], cwd: Path, **parameters: Any) -> Fork:
        """Fork a run of the flow with these parameters (JSON-ready) in this environment; exit code 1 if it fails."""
        self._runs += 1
        log = self._folder / f"flow-{self._runs:03d}.log"
        return self.fork(log, environment=dict(environment), cwd=str(cwd), parameters=parameters)


def prepare() -> None:
    """Import what the flow needs. Nothing is connected before a fork."""
    import boto3
    import pinecone.client.indexes
    import pinecone.index
    import prefect.flow_engine
    import prefect.task_engine
    import prefect.utilities.visualization
    from warm_imports import warm

    import flows.pipeline
    import ragwright.endpoints.aws
    import ragwright.endpoints.sagemaker
    import ragwright.endpoints.sagemaker_runtime
    import ragwright.retry
    import ragwright.stores.pinecone

    # Reading the SDK's descriptions of services takes longest; the children find them read. No client is used here.
    aws = ragwright.endpoints.aws.Aws("us-east-1", retry=ragwright.retry.ONCE)
    for service in ("sagemaker", "sagemaker-runtime", "scheduler", "s3"):
        aws.client(service)
    warmed = (boto3, pinecone.index, pinecone.client.indexes, flows.pipeline, ragwright.endpoints.sagemaker)
    assert all((*warmed, prefect.flow_engine, prefect.task_engine, prefect.utilities.visualization))
    warm()


def child(run: dict[str, Any]) -> int:
    """One flow run."""
    os.environ.update(run["environment"])
    os.chdir(run["cwd"])
    from flows.pipeline import pipeline

    pipeline(**run["parameters"])
    return 0
