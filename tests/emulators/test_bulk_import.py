"""A first load of an index on Pinecone by way of Parquet files on S3, which Pinecone fetches by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from emulators.indexed_faq import faq, run, shown
from emulators.pinecone_server import PineconeServer
from pinecone_on_loopback import pinecone_on_loopback

from ragwright.embedding.hashed import HashingEmbedder
from ragwright.errors import StoreError
from ragwright.index import loading
from ragwright.maintenance import audit_live
from ragwright.settings import Settings
from ragwright.stores import open_store

pytestmark = pytest.mark.usefixtures("cheap_validation")

FAQ = faq(20)
INTEGRATION = "integration-for-tests"


@pytest.fixture(scope="module")
def server() -> Iterator[PineconeServer]:
    from moto.server import ThreadedMotoServer

    s3 = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    s3.start()
    host, port = s3.get_host_and_port()
    with pinecone_on_loopback() as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_REGION", "us-east-1")
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="catalogs")
        running.imports.s3_endpoint = f"http://{host}:{port}"
        running.visibility.query, running.visibility.fetch = 0.1, 0.05
        yield running
    s3.stop()


@pytest.fixture(autouse=True)
def undisturbed(server: PineconeServer) -> Iterator[None]:
    server.imports.seconds, server.imports.drop = 0.1, 0
    server.reset_counters()
    yield
    server.faults.clear()
    server.faults.operations = None


@pytest.fixture
def settings(request: pytest.FixtureRequest, server: PineconeServer, tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path / "home",
        store="pinecone:faq",
        index=f"faq-{abs(hash(request.node.name)) % 10**6}",
        catalog="s3://catalogs/ragwright",
        embedding={"endpoint": "hashing:64", "write_batch": 6},
        generation={"endpoint": "none"},
        retry={"first_pause_seconds": 0.01},
        source={"partition_rows": 100},
        pinecone={"bulk_import_rows": 10, "bulk_import_integration": INTEGRATION},
    )


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts of sections that were embedded, in order."""
    texts: list[str] = []
    embed = HashingEmbedder.embed

    def noted(self: HashingEmbedder, given: list[str], *, kind: str = "document") -> object:
        if kind == "document":
            texts.extend(given)
        return embed(self, given, kind=kind)

    monkeypatch.setattr(HashingEmbedder, "embed", noted)
    return texts


def test_a_large_first_load_is_imported_and_what_follows_is_sent(
    settings: Settings, server: PineconeServer, tmp_path: Path
) -> None:
    first = run(settings, tmp_path, FAQ)
    assert (first.published, first.embedded, first.written) == (True, 20, 20)
    assert (server.requests["start_import"], server.requests["upsert"]) == (1, 0)
    assert shown(settings) == dict(FAQ)
    assert audit_live(settings).true
    changed = [("Who are you?", "A new row."), *FAQ[1:]]
    assert run(settings, tmp_path, changed).embedded == 1
    assert (server.requests["start_import"], server.requests["upsert"]) == (1, 1)
    assert shown(settings) == dict(changed)


def test_an_import_tells_how_far_it_is(settings: Settings, server: PineconeServer, tmp_path: Path) -> None:
    server.imports.seconds = 0.5
    told: list[tuple[int, int | None]] = []

    def progress(what: str, done: int, total: int | None) -> None:
        if what == "records imported":
            told.append((done, total))

    run(settings, tmp_path, FAQ, progress)
    assert {total for _, total in told} == {20}
    assert told == sorted(told)
    assert told[-1] == (20, 20)
    assert any(0 < done < 20 for done, _ in told), "by the percentage, while no records are counted"


def test_a_small_first_load_is_sent(settings: Settings, server: PineconeServer, tmp_path: Path) -> None:
    run(settings, tmp_path, FAQ[:10])
    assert (server.requests["start_import"], server.requests["upsert"]) == (0, 2)


def test_a_run_killed_while_it_writes_files_embeds_only_what_has_none(
    settings: Settings, embedded: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file = loading.write_file
    written: list[str] = []

    def killed(*args: object) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append("a file")
        write_file(*args)

    with monkeypatch.context() as patch:
        patch.setattr(loading, "write_file", killed)
        with pytest.raises(KeyboardInterrupt):
            run(settings, tmp_path, FAQ)
    embedded.clear()
    report = run(settings, tmp_path, FAQ)
    assert (report.embedded, report.written) == (8, 20)
    assert embedded[:8] == [f"{question}\n{answer}" for question, answer in FAQ[12:]]
    assert shown(settings) == dict(FAQ)


def test_an_import_goes_on_without_its_run_and_the_next_keeps_what_it_brought(
    settings: Settings, server: PineconeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.imports.seconds = 1.0

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loading, "_await", killed)
        with pytest.raises(KeyboardInterrupt):
            run(settings, tmp_path, FAQ)
    report = run(settings, tmp_path, FAQ)
    assert (report.embedded, report.plan["keep"]) == (0, 20)
    assert (server.requests["start_import"], server.requests["upsert"]) == (1, 0)
    assert shown(settings) == dict(FAQ)


def test_an_import_whose_start_was_not_acknowledged_is_joined(
    settings: Settings, server: PineconeServer, tmp_path: Path
) -> None:
    server.faults.operations = frozenset({"start_import"})
    server.faults.queue("503", "reset after")
    run(settings, tmp_path, FAQ)
    assert server.requests["start_import"] == 2
    assert shown(settings) == dict(FAQ)


def test_an_import_that_fails_is_not_published_and_the_next_run_embeds_nothing(
    settings: Settings, server: PineconeServer, tmp_path: Path
) -> None:
    refused = settings.model_copy(
        update={"pinecone": settings.pinecone.model_copy(update={"bulk_import_integration": "revoked"})}
    )
    with pytest.raises(StoreError, match="'revoked' not found"):
        run(refused, tmp_path, FAQ)
    endpoint, server.imports.s3_endpoint = server.imports.s3_endpoint, "http://127.0.0.1:9"
    try:
        with pytest.raises(StoreError, match=r"is failed: 0 of 20 records, s3://catalogs/.* cannot be read"):
            run(settings, tmp_path, FAQ)
    finally:
        server.imports.s3_endpoint = endpoint
    assert run(settings, tmp_path, FAQ).embedded == 0
    assert shown(settings) == dict(FAQ)


def test_an_import_that_lost_records_is_not_published(
    settings: Settings, server: PineconeServer, tmp_path: Path
) -> None:
    server.imports.drop = 1
    with pytest.raises(StoreError, match="is done: 19 of 20 records"):
        run(settings, tmp_path, FAQ)
    server.imports.drop = 0
    report = run(settings, tmp_path, FAQ)
    assert (report.embedded, report.plan["keep"], report.plan["insert"]) == (0, 19, 1)
    assert shown(settings) == dict(FAQ)


def test_an_import_can_be_cancelled(settings: Settings, server: PineconeServer) -> None:
    server.imports.seconds = 60
    with open_store(settings.store_spec) as store:
        store.ensure_space("cancelled", 64)
        store.drop_space("cancelled")
        load = store.start_load("cancelled", "s3://catalogs/none/", access=INTEGRATION)
        assert [found.id for found in store.loads("s3://catalogs/none")] == [load.id]
        store.cancel_load(load.id)
        assert store.load(load.id).state == "cancelled"
        store.cancel_load(load.id)
