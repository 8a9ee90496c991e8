"""Re-indexing while every tenth answer of the endpoint, or of the store, is spoiled."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from aftermath import shown
from embedding_account import EmbeddingAccount
from faq_versions import Versions, read_version
from fault_proxy import PASSING, FaultProxy, spoil
from spoiled_store import SpoiledStore

from ragwright.embedding.hashed import HashingEmbedder
from ragwright.endpoints import EndpointSpec, Lease
from ragwright.endpoints.http import HttpEndpoint
from ragwright.endpoints.local import LocalHost
from ragwright.errors import BadReply, EndpointError, TransientError, Unavailable
from ragwright.index import reindex as stages
from ragwright.index.attempt import ReindexRequest, open_catalog
from ragwright.index.reindex import ReindexReport, reindex
from ragwright.maintenance import audit_live
from ragwright.settings import Settings
from ragwright.stores import open_store

pytestmark = pytest.mark.usefixtures("cheap_validation")

DIMENSION = 64
COMMAND = Path(sys.executable).with_name("ragwright")
Storm = Callable[..., FaultProxy]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHost]:
    folder = tmp_path_factory.mktemp("endpoints")
    with LocalHost(folder, cache=folder / "models", grace=1) as host:
        yield host
        for info in host.list():
            host.delete(info.name)


@pytest.fixture
def storm(host: LocalHost) -> Iterator[Storm]:
    """Puts a proxy in front of a real server of hashed vectors."""
    with ExitStack() as stack:

        def start(contract: str = "tei", **options: Any) -> FaultProxy:
            name = f"hashing-{contract}"
            spec = EndpointSpec(name=name, model=f"hashing-{DIMENSION}", contract=contract)
            host.deploy(spec, Lease.lasting(owner="me", minutes=5))
            host.wait([name], timeout=60)
            with host.connect(name) as endpoint:
                assert isinstance(endpoint, HttpEndpoint)
                return stack.enter_context(spoil(endpoint._url, endpoint._token, seed=11, **options))

        yield start


def settings_for(
    tmp_path: Path,
    proxy: FaultProxy | None = None,
    contract: str = "tei",
    *,
    calibration_rows: int = 10,
    **options: Any,
) -> Settings:
    endpoint = {"endpoint": f"hashing:{DIMENSION}"}
    if proxy:
        endpoint = {"endpoint": proxy.url, "model": f"hashing-{DIMENSION}", "contract": contract}
    return Settings(
        home=tmp_path / "home",
        embedding={"batch_texts": 8, "write_batch": 40, **endpoint, **options},
        generation={"endpoint": "none"},
        answering={"calibration_rows": calibration_rows},
        retry={"first_pause_seconds": 0.01},
    )


def versions(tmp_path: Path, rows: int = 160) -> Versions:
    return Versions(tmp_path / "versions", rows=rows, chance=random.Random(3))


def live(settings: Settings) -> int:
    with open_catalog(settings) as catalog:
        return catalog.head().live


def run(settings: Settings, source: Path) -> ReindexReport:
    """Re-index; again after a run that failed cleanly."""
    before = live(settings)
    for _ in range(3):
        try:
            return reindex(settings, ReindexRequest(source=str(source)))
        except TransientError:
            assert live(settings) == before
    pytest.fail("three runs in a row did not get through")


def assert_true(settings: Settings, source: Path) -> None:
    """The index shows the source's rows, each with its own vector, and `verify` agrees."""
    assert shown(settings) == dict(enumerate(read_version(source)))
    assert audit_live(settings).true


@pytest.mark.slow
@pytest.mark.parametrize("contract", ["tei", pytest.param("openai-embeddings", marks=pytest.mark.long)])
def test_an_endpoint_that_spoils_every_tenth_answer_loses_nothing(tmp_path: Path, storm: Storm, contract: str) -> None:
    faults = PASSING if contract == "tei" else (*PASSING, "reversed", "swapped")
    proxy = storm(contract, share=0.1, faults=faults)
    settings, sources = settings_for(tmp_path, proxy, contract), versions(tmp_path)
    for _ in range(4):
        source = sources.write()
        run(settings, source)
        assert_true(settings, source)
    assert proxy.spoiled.total() >= 5
    assert len(proxy.spoiled) >= 3
    verified = subprocess.run([COMMAND, "verify", "--home", str(settings.home)], capture_output=True, check=False)
    assert verified.returncode == 0, verified


@pytest.mark.parametrize("fault", ["503", "one vector too few"])
def test_an_endpoint_that_spoils_everything_fails_the_run_cleanly(tmp_path: Path, storm: Storm, fault: str) -> None:
    proxy = storm(share=0.0, faults=[fault])
    settings, sources = settings_for(tmp_path, proxy), versions(tmp_path)
    before, after = sources.write(), sources.write()
    run(settings, before)
    proxy.share, proxy.requests = 1.0, 0
    with pytest.raises(Unavailable if fault == "503" else BadReply) as caught:
        reindex(settings, ReindexRequest(source=str(after)))
    assert caught.value.tried_again
    # One layer tries again: what is under way (three requests) is sent five times at most.
    assert 5 <= proxy.requests <= 3 * 5
    assert shown(settings) == dict(enumerate(read_version(before)))
    with open_catalog(settings) as catalog:
        end = catalog.read_json("generations/00000002/end.json")
    assert end is not None
    assert end["outcome"] == "failed"
    proxy.share = 0.0
    run(settings, after)
    assert_true(settings, after)


def test_an_endpoint_that_answers_in_another_order_is_found_out(tmp_path: Path, storm: Storm) -> None:
    settings = settings_for(tmp_path, storm(share=1.0, faults=["reversed"]))
    source = versions(tmp_path).write()
    with pytest.raises(EndpointError, match="does not answer in the order of the request"):
        reindex(settings, ReindexRequest(source=str(source)))
    assert live(settings) == 0
    with open_store(settings.store_spec) as store:
        assert [len(batch) for space in store.spaces() for batch in store.scan(space)] == []


def test_one_text_a_request_leaves_no_order_to_lose(tmp_path: Path, storm: Storm) -> None:
    settings = settings_for(tmp_path, storm(share=0.5, faults=["reversed", "swapped"]), batch_texts=1)
    source = versions(tmp_path, rows=60).write()
    run(settings, source)
    assert_true(settings, source)


def test_an_order_that_is_lost_now_and_then_can_pass_where_vectors_have_no_numbers(
    tmp_path: Path, storm: Storm
) -> None:
    """Why `tei` trusts the server's promise to keep the order: in such a reply nothing says that it did not."""
    settings = settings_for(tmp_path, storm(share=1.0, faults=["swapped"]), check_order=False)
    run(settings, versions(tmp_path, rows=60).write())
    with pytest.raises(AssertionError, match="16 vectors belong to other texts"):
        shown(settings)


@pytest.mark.slow
def test_a_store_that_spoils_every_tenth_call_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoiled: Counter[str] = Counter()
    chance = random.Random(7)
    embedded: list[int] = []
    monkeypatch.setattr(stages, "open_store", lambda spec, **_: SpoiledStore(open_store(spec), chance, 0.1, spoiled))
    embed = HashingEmbedder.embed

    def counted(self: HashingEmbedder, texts: list[str], **options: Any) -> Any:
        embedded.append(len(texts))
        return embed(self, texts, **options)

    monkeypatch.setattr(HashingEmbedder, "embed", counted)
    # Fitting the answerability model embeds questions, and here embedded texts are counted.
    settings, sources = settings_for(tmp_path, write_batch=6, calibration_rows=0), versions(tmp_path)
    with open_catalog(settings) as catalog:
        account = EmbeddingAccount(catalog)
        for _ in range(5):
            source = sources.write()
            run(settings, source)
            assert account.take_in(None, allowed=0) == []
            assert_true(settings, source)
        failed = len(catalog.attempts()) - 5
    # A write that is tried again embeds nothing again; a run that failed had two batches in its hands at most.
    assert sum(embedded) <= account.acknowledged + 2 * 6 * failed
    assert spoiled.total() >= 10
    assert any(name.startswith("upsert") for name in spoiled)
