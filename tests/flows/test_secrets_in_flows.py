"""Flows get secrets from Secret blocks where the environment has none, and Prefect stores none in the clear."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator

import pytest
from prefect import flow, get_run_logger, task
from prefect.blocks.system import Secret
from prefect.settings import get_current_settings
from prefect_on_loopback import PrefectServer

from flows.teardown import teardown
from ragwright.errors import ConfigurationError
from ragwright.settings import Settings, load_settings
from tasks.secrets import BLOCKS, flow_settings, store_key

pytestmark = pytest.mark.usefixtures("prefect_server", "home")
URL = "http://127.0.0.1:9/v1"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in BLOCKS:
        monkeypatch.setenv(variable, "")  # so that what a test leaves there is undone
        monkeypatch.delenv(variable)
    yield
    for block in BLOCKS.values():  # the server is not ours alone
        with contextlib.suppress(ValueError):  # it was not saved
            Secret.delete(f"secret/{block}", _sync=True)


def save(block: str, value: object) -> None:
    Secret(value=value).save(block, overwrite=True, _sync=True)  # type: ignore[arg-type]


def stored(server: PrefectServer) -> bytes:
    """All that Prefect's server and this machine's result storage hold."""
    folders = {server.home, get_current_settings().home}
    return b"".join(path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file())


def test_what_the_environment_lacks_comes_from_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGWRIGHT_STORE", "pinecone:faq")
    monkeypatch.setenv("RAGWRIGHT_GENERATION__ENDPOINT", URL)
    save("ragwright-pinecone-api-key", "pc-of-the-block")
    save("ragwright-generation-api-key", "generation-of-the-block")
    settings = flow_settings(index="hr")
    assert settings.index == "hr"
    assert os.environ["PINECONE_API_KEY"] == "pc-of-the-block"
    assert settings.generation.api_key is not None
    assert settings.generation.api_key.get_secret_value() == "generation-of-the-block"


def test_a_worker_elsewhere_finds_the_stores_key_by_itself() -> None:
    save("ragwright-pinecone-api-key", "pc-of-the-block")
    store_key(Settings(store="lancedb:there"))
    assert "PINECONE_API_KEY" not in os.environ
    store_key(Settings(store="pinecone:faq"))
    assert os.environ["PINECONE_API_KEY"] == "pc-of-the-block"


def test_the_environment_wins_and_what_nobody_needs_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    save("ragwright-pinecone-api-key", "pc-of-the-block")
    save("ragwright-hugging-face-token", "hf-of-the-block")
    assert flow_settings() == load_settings()
    assert not BLOCKS.keys() & os.environ.keys()
    monkeypatch.setenv("RAGWRIGHT_STORE", "pinecone:faq")
    monkeypatch.setenv("PINECONE_API_KEY", "pc-of-the-environment")
    flow_settings()
    assert os.environ["PINECONE_API_KEY"] == "pc-of-the-environment"


def test_without_a_block_the_settings_are_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGWRIGHT_EMBEDDING__ENDPOINT", URL)
    assert flow_settings().embedding.api_key is None


def test_a_block_that_holds_no_text_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGWRIGHT_GENERATION__ENDPOINT", URL)
    save("ragwright-generation-api-key", {"key": "canary-in-a-dict"})
    with pytest.raises(ConfigurationError, match="holds a dict") as refused:
        flow_settings()
    assert "canary" not in str(refused.value)


def test_prefect_stores_no_secret_of_settings_that_cross_a_task_s_boundary(
    monkeypatch: pytest.MonkeyPatch, prefect_server: PrefectServer
) -> None:
    secret, plain = f"canary-{uuid.uuid4().hex}", f"plain-{uuid.uuid4().hex}"
    monkeypatch.setenv("RAGWRIGHT_GENERATION__API_KEY", secret)
    save("ragwright-embedding-api-key", secret)

    @task(persist_result=True)
    def takes(settings: Settings) -> str:
        get_run_logger().debug("%r", settings)
        return settings.model_dump_json()

    @flow
    def passes_on(note: str) -> None:
        settings = load_settings()
        takes(settings)
        takes.submit(settings).result()
        raise ValueError(f"it ends with {settings!r} and {note}")

    with pytest.raises(ValueError, match="it ends"):
        passes_on(note=plain)
    teardown(names=[])
    found = stored(prefect_server)
    assert plain.encode() in found, "or the search would find nothing at all"
    assert secret.encode() not in found
