"""The catalog on S3, over the wire against an emulator: the same promises as on a folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from ragwright.errors import CatalogError, PublishConflict, WriterBusy
from ragwright.index.attempt import ReindexRequest, open_catalog
from ragwright.index.catalog import Catalog
from ragwright.index.history import generations, rollback
from ragwright.index.lease import WriterLease
from ragwright.index.reindex import reindex, writer_lease
from ragwright.index.vacuum import vacuum
from ragwright.maintenance import audit_live
from ragwright.settings import Settings
from ragwright.stores import open_store

pytestmark = pytest.mark.usefixtures("cheap_validation")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_REGION", "us-east-1")
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="catalogs")
        yield "s3://catalogs"
    server.stop()


def test_an_exclusive_create_has_one_winner(bucket: str) -> None:
    wins: list[int] = []
    start = threading.Barrier(8)

    def contend(number: int) -> None:
        catalog = Catalog(f"{bucket}/races", "faq")
        start.wait()
        if catalog.create("log/00000001.json", str(number).encode()):
            wins.append(number)

    threads = [threading.Thread(target=contend, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert Catalog(f"{bucket}/races", "faq").read("log/00000001.json") == str(wins[0]).encode()


def test_one_writer_at_a_time(bucket: str) -> None:
    catalog = Catalog(f"{bucket}/lease", "faq")
    with WriterLease(catalog, run_id="first"), pytest.raises(WriterBusy, match="run first"):
        WriterLease(Catalog(f"{bucket}/lease", "faq")).__enter__()
    with WriterLease(catalog) as lease:
        assert lease.epoch == 2


def test_files_are_listed_after_a_name_and_removed(bucket: str) -> None:
    catalog = Catalog(f"{bucket}/files", "faq")
    for number in range(1, 5):
        catalog.write(f"log/{number:08d}.json", b"{}")
    assert catalog.names("log", after="00000002.json") == ["00000003.json", "00000004.json"]
    catalog.delete("log/00000003.json")
    catalog.delete("log/00000003.json")
    assert not catalog.exists("log/00000003.json")
    assert catalog.read("log/00000003.json") is None
    assert catalog.names("nowhere") == []


def test_an_index_lives_on_s3(bucket: str, tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path / "home",
        catalog=f"{bucket}/team a/ragwright",
        embedding={"endpoint": "hashing:64"},
        generation={"endpoint": "none"},
    )
    source = tmp_path / "faq.csv"
    request = ReindexRequest(source=str(source))
    source.write_text("question,answer\nWhat is it?,It is a test.\nWho wrote it?,We did.\n")
    assert reindex(settings, request).ledger.added == 2
    source.write_text("question,answer\nWhat is it?,It is a test.\nWho wrote it?,They did.\n")
    assert reindex(settings, request).embedded == 1
    with open_catalog(settings) as catalog, open_store(settings.store_spec) as store:
        assert rollback(catalog).generation == 1
        with pytest.raises(PublishConflict):
            catalog.append(catalog.head().entries[0].model_copy(update={"reason": "late"}))
    assert reindex(settings, request).embedded == 0
    assert audit_live(settings).true
    with open_catalog(settings) as catalog, open_store(settings.store_spec) as store, writer_lease(settings) as lease:
        assert vacuum(catalog, store, lease, keep=1, settle=0).floor == 3
        assert [info.state for info in generations(catalog)] == ["live", "abandoned", "vacuumed"]


def test_a_missing_bucket_is_said_so_without_the_key(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    with pytest.raises(CatalogError) as refused:
        Catalog("s3://no-such-bucket/x", "faq").head()
    assert "no-such-bucket" in str(refused.value)
    assert "very-secret" not in f"{refused.value!r} {refused.value.__cause__!r}"
