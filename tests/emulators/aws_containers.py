"""The containers behind the cloud's endpoints: our own model servers, or hashing models in this process.

A container is chosen as SageMaker would start it: the image decides what it speaks, `HF_MODEL_ID` what it loads. A
model that this machine cannot run is stood in for by the packaged one of the same task.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import httpx
import orjson

from ragwright.endpoints import Contract
from ragwright.errors import ConfigurationError
from ragwright.models import get_model
from ragwright.models.catalog import Runtime, load_catalog
from ragwright.serving.contracts import Service, open_service, refusal_body
from ragwright.serving.refusal import Refused

Models = Literal["real", "hashing"]
LEASE_SECONDS = 120  # a server outlives a killed test run by no more than this
CONTRACTS: tuple[tuple[str, Contract], ...] = (
    ("tgi", "tgi"),
    ("tei", "tei"),
    ("vllm", "openai-chat"),
    ("djl-inference", "openai-chat"),
    ("huggingface-pytorch-inference", "hf-feature-extraction"),
)
STAND_INS: Mapping[tuple[Models, str], str] = {
    ("real", "text-generation"): "smollm2-135m-instruct-q4",
    ("real", "feature-extraction"): "all-minilm-l6-v2-int8",
    ("hashing", "text-generation"): "scripted",
    ("hashing", "feature-extraction"): "hashing-384",
}


class NoImage(Exception):
    """There is no such container image."""


@dataclass(frozen=True)
class Loads:
    """What a container is to serve."""

    model: str
    contract: Contract


def loads(image: str, environment: Mapping[str, str], models: Models) -> Loads:
    """What a container of this image with this environment serves here.

    Raises:
        NoImage: The image is none that we can stand in for.
    """
    repository = image.rpartition("/")[2].partition(":")[0]
    contract = next((contract for part, contract in CONTRACTS if part in repository), None)
    if contract is None:
        raise NoImage(image)
    task = "text-generation" if contract in ("tgi", "openai-chat") else "feature-extraction"
    wanted = environment.get("HF_MODEL_ID", "")
    try:
        named = get_model(wanted)
    except ConfigurationError:
        named = None
    runs = ("hashing", "scripted") if models == "hashing" else get_args(Runtime)
    if named is not None and named.task == task and named.runtime in runs:
        return Loads(named.name, contract)
    if models == "real":
        same = [info for info in load_catalog().values() if info.hub == wanted and info.task == task and info.runtime]
        if same:
            return Loads(same[0].name, contract)
    return Loads(STAND_INS[models, task], contract)


class Container(Protocol):
    """What answers behind one endpoint."""

    def state(self) -> Literal["loading", "ready", "ended"]:
        """How far it is."""

    def answer(self, body: bytes, *, timeout: float) -> tuple[int, bytes]:
        """Status and body of the reply; TimeoutError if there is none in time."""

    def stream(self, body: bytes, *, timeout: float) -> tuple[int, Iterator[bytes]]:
        """The same, the body in parts as they come."""

    def renew(self) -> None:
        """Say that it is still wanted."""

    def log(self) -> str:
        """What it wrote."""

    def stop(self) -> None:
        """End it."""


class InProcess:
    """A model that needs no files, in this process."""

    def __init__(self, what: Loads) -> None:
        self._what = what
        self._service = _service(what.model, what.contract)

    def state(self) -> Literal["loading", "ready", "ended"]:
        return "ready"

    def answer(self, body: bytes, *, timeout: float) -> tuple[int, bytes]:
        try:
            reply = self._service.handle(_payload(body), lambda: False)
        except Refused as refused:
            return refused.status, orjson.dumps(refusal_body(self._what.contract, refused))
        return 200, orjson.dumps(reply, option=orjson.OPT_SERIALIZE_NUMPY)

    def stream(self, body: bytes, *, timeout: float) -> tuple[int, Iterator[bytes]]:
        sent: list[bytes] = []
        try:
            payload = _payload(body)
            if self._service.stream is None or not self._service.streams(payload):
                status, whole = self.answer(body, timeout=timeout)
                return status, iter([whole])
            self._service.stream(payload, lambda: False, sent.append)
        except Refused as refused:
            return refused.status, iter([orjson.dumps(refusal_body(self._what.contract, refused))])
        return 200, iter(sent)

    def renew(self) -> None:
        pass

    def log(self) -> str:
        return f"{self._what.model} in the emulator's process"

    def stop(self) -> None:
        pass


def _parts(reply: httpx.Response) -> Iterator[bytes]:
    with closing(reply):
        yield from reply.iter_bytes()


def _payload(body: bytes) -> dict[str, Any]:
    try:
        payload = json.loads(body)
    except ValueError as error:
        raise Refused(400, f"the body is not JSON: {error}") from error
    if not isinstance(payload, dict):
        raise Refused(400, "the body must be a JSON object")
    return payload


@cache
def _service(model: str, contract: Contract) -> Service:
    return open_service(contract, get_model(model), cache=Path("unused"))


class ServingProcess:
    """`python -m ragwright.serving` in a process of its own."""

    def __init__(self, name: str, what: Loads, *, cache: Path, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._token = secrets.token_hex(16)
        self._client: httpx.Client | None = None
        self._served = False
        self.renew()
        files = ["--lease-file", str(folder / "lease.json"), "--ready-file", str(folder / "ready.json")]
        what_to_serve = ["--name", name, "--model", what.model, "--contract", what.contract, "--cache", str(cache)]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ragwright.serving", *what_to_serve, "--port", "0", *files],
                env={**os.environ, "RAGWRIGHT_ENDPOINT_TOKEN": self._token},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def state(self) -> Literal["loading", "ready", "ended"]:
        if self.process.poll() is not None:
            return "ended"
        if not self._served and self._connect():
            assert self._client is not None
            try:
                self._served = self._client.get("/ping", timeout=5).status_code == 200
            except httpx.TransportError:
                self._served = False  # it ends at this moment, or is busy loading: asked again soon
        return "ready" if self._served else "loading"

    def answer(self, body: bytes, *, timeout: float) -> tuple[int, bytes]:
        assert self._client is not None
        try:
            reply = self._client.post("/invocations", content=body, timeout=timeout)
        except httpx.TimeoutException as error:
            raise TimeoutError from error
        return reply.status_code, reply.content

    def stream(self, body: bytes, *, timeout: float) -> tuple[int, Iterator[bytes]]:
        assert self._client is not None
        request = self._client.build_request("POST", "/invocations", content=body, timeout=timeout)
        try:
            reply = self._client.send(request, stream=True)
        except httpx.TimeoutException as error:
            raise TimeoutError from error
        return reply.status_code, _parts(reply)

    def renew(self) -> None:
        draft = self._folder / "lease.draft"
        draft.write_text(json.dumps({"expires_at": (datetime.now(UTC) + timedelta(seconds=LEASE_SECONDS)).isoformat()}))
        draft.replace(self._folder / "lease.json")

    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self._client is not None:
            self._client.close()

    def _connect(self) -> bool:
        ready = self._folder / "ready.json"
        if self._client is None and ready.exists():
            self._client = httpx.Client(
                base_url=f"http://127.0.0.1:{json.loads(ready.read_text())['port']}",
                headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
                limits=httpx.Limits(max_connections=None),
                trust_env=False,
            )
        return self._client is not None


def settle(containers: list[Container], seconds: float = 120) -> None:
    """Wait until none of them is loading any more."""
    deadline = time.monotonic() + seconds
    while any(container.state() == "loading" for container in containers):
        if time.monotonic() > deadline:
            raise TimeoutError(f"a model was still loading after {seconds:g} s")
        time.sleep(0.02)
