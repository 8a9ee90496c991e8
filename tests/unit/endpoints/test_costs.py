"""What endpoints have cost and will cost, and where the prices come from."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragwright.endpoints import EndpointInfo, EndpointStatus
from ragwright.endpoints.costs import PriceBook, cost_between, endpoint_cost, load_price_book, serverless_cost
from ragwright.endpoints.instances import HOSTING, Price, PriceSource, load_prices
from ragwright.errors import ConfigurationError
from ragwright.settings import Settings, load_settings

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
PRICE = Price(2.0, PriceSource(region="us-east-1", of=HOSTING, dated=date(2026, 10, 1), where="here"))
BOOK = PriceBook(load_prices(), asked={"ml.g5.4xlarge": PRICE})


def endpoint(**changes: Any) -> EndpointInfo:
    fields = {
        "name": "flan-t5-demo",
        "host": "sagemaker",
        "status": EndpointStatus.IN_SERVICE,
        "model": "flan-t5-xl",
        "contract": "tgi",
        "instance_type": "ml.g5.4xlarge",
        "created_at": START,
        "lease_expires_at": START + timedelta(hours=3),
    }
    return EndpointInfo.model_validate(fields | changes)


def test_an_hour_has_cost_an_hour_and_two_are_to_come() -> None:
    cost = endpoint_cost(endpoint(), BOOK, START + timedelta(hours=1))
    assert cost.to_json() == {
        "cost_so_far_usd": 2.0,
        "cost_until_lease_end_usd": 4.0,
        "price_dated": "2026-10-01",
    }
    assert endpoint_cost(endpoint(instances=3), BOOK, START + timedelta(hours=1)).so_far == 6.0


def test_what_runs_on_this_machine_costs_nothing() -> None:
    cost = endpoint_cost(endpoint(instance_type=None), BOOK, START + timedelta(days=9))
    assert cost.to_json() == {"cost_so_far_usd": 0.0, "cost_until_lease_end_usd": 0.0, "price_dated": None}


@pytest.mark.parametrize("instance_type", ["ml.t2.large", "ml.new.large", "serverless"])
def test_a_cost_without_a_price_is_not_known_rather_than_nothing(instance_type: str) -> None:
    cost = endpoint_cost(endpoint(instance_type=instance_type), BOOK, START + timedelta(hours=1))
    assert (cost.so_far, cost.until_lease_end, cost.price) == (None, None, None)


def test_status_lease_and_age_decide_what_is_known() -> None:
    late = START + timedelta(hours=5)
    assert endpoint_cost(endpoint(), BOOK, late).so_far == 10.0, "past its lease it still bills"
    assert endpoint_cost(endpoint(), BOOK, late).until_lease_end == 0.0
    assert endpoint_cost(endpoint(status="Failed"), BOOK, late).so_far == 0.0
    assert endpoint_cost(endpoint(status="Deleting"), BOOK, START).until_lease_end == 0.0
    assert endpoint_cost(endpoint(created_at=None), BOOK, late).so_far is None
    assert endpoint_cost(endpoint(lease_expires_at=None), BOOK, late).until_lease_end is None


MOMENTS = st.integers(-(10**6), 10**7).map(lambda seconds: START + timedelta(seconds=seconds))


@given(st.tuples(MOMENTS, MOMENTS, MOMENTS).map(sorted), st.integers(0, 20))
def test_costs_of_adjoining_intervals_add_up(moments: list[datetime], instances: int) -> None:
    info = endpoint(instances=instances)
    first, middle, last = moments
    parts = cost_between(info, PRICE, first, middle) + cost_between(info, PRICE, middle, last)
    assert parts == pytest.approx(cost_between(info, PRICE, first, last))


@given(
    st.lists(MOMENTS, min_size=2, max_size=2).map(sorted), st.tuples(st.integers(0, 20), st.integers(0, 20)).map(sorted)
)
def test_costs_never_fall_with_time_or_instances(moments: list[datetime], instances: list[int]) -> None:
    few, many = (endpoint(instances=count) for count in instances)
    early, late = moments
    sooner, later = endpoint_cost(few, BOOK, early), endpoint_cost(many, BOOK, late)
    assert sooner.so_far is not None
    assert later.so_far is not None
    assert 0 <= sooner.so_far <= later.so_far
    left = [endpoint_cost(few, BOOK, moment).until_lease_end or 0.0 for moment in moments]
    assert left[0] >= left[1], "what is still to come shrinks"


def test_serverless_bills_memory_by_the_second() -> None:
    assert serverless_cost(load_prices(), memory_gb=3, seconds=1000) == pytest.approx(0.06)
    assert serverless_cost(load_prices(), memory_gb=3, seconds=0) == 0


def test_every_packaged_price_has_a_source_with_a_day() -> None:
    table = load_prices()
    for name, instance in table.instances.items():
        price = table.price(name)
        assert (price is None) == (instance.usd_per_hour is None)
        assert price is None or price.source.dated <= date(2026, 11, 22)
    assert table.price("ml.t2.large") is None, "none was found, none is guessed"
    assert BOOK.table.price("ml.no.such") is None


def test_stale_foreign_and_missing_prices_are_said_with_their_date() -> None:
    book = PriceBook(load_prices(), warn_after_days=180)
    today = date(2025, 1, 26) + timedelta(days=180)
    assert book.notes(["ml.g5.4xlarge"], today) == []
    [stale] = book.notes(["ml.g5.4xlarge"], today + timedelta(days=1))
    assert "2025-01-26" in stale
    assert "stale" in stale
    [missing] = book.notes(["ml.t2.large"], today)
    assert "costs.prices" in missing
    assert "training" in book.notes(["ml.g6e.xlarge"], today)[0]
    abroad = PriceBook(load_prices(), region="eu-west-1")
    assert "us-east-1" in abroad.notes(["ml.g5.4xlarge"], today)[0]


OWN = """
[sources.mine]
region = "us-east-1"
of = "real-time hosting"
dated = 2026-11-01
where = "our agreement"

[instances]
"ml.g5.4xlarge" = { usd_per_hour = 1.5, source = "mine" }
"ml.new.large" = { vcpus = 2, memory = 8, usd_per_hour = 0.1, source = "mine" }
"""


def settings_with(tmp_path: Path, **costs: Any) -> Settings:
    return load_settings(home=tmp_path, costs=costs)


def test_a_price_file_of_ones_own_goes_over_the_packaged_table(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(OWN)
    table = load_price_book(settings_with(tmp_path, prices=path)).table
    assert [getattr(table.price(name), "usd_per_hour", None) for name in ("ml.g5.4xlarge", "ml.new.large")] == [
        1.5,
        0.1,
    ]
    assert table.instances["ml.g5.4xlarge"].gpus == 1, "its size stays"
    assert table.price("ml.g5.12xlarge") == load_prices().price("ml.g5.12xlarge")


@pytest.mark.parametrize(
    "content",
    [
        "not toml",
        "instances = 3",
        '[instances]\n"ml.new.large" = 3',
        '[instances]\n"ml.g5.xlarge" = { usd_per_hour = -1 }',
        '[instances]\n"ml.g5.xlarge" = { source = "nobody" }',
        '[instances]\n"ml.new.large" = { usd_per_hour = 1 }',
        "[surprise]\na = 1",
    ],
)
def test_a_price_file_that_is_wrong_is_refused_by_its_path(content: str, tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(content)
    with pytest.raises(ConfigurationError) as refused:
        load_prices(path)
    assert refused.value.place == str(path)
    with pytest.raises(ConfigurationError):
        load_prices(tmp_path / "missing.toml")


def product(name: str, usd: str) -> str:
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": usd}}
    term = {"effectiveDate": "2026-11-01T00:00:00Z", "priceDimensions": {"d": dimension}}
    return json.dumps({"product": {"attributes": {"instanceName": name}}, "terms": {"OnDemand": {"t": term}}})


@contextmanager
def price_list(*answers: tuple[int, dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A Price List on loopback that gives these answers in turn, and what it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status, answer = answers[min(len(asked), len(answers)) - 1]
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings that allow the Price List, and credentials that mean nothing."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return load_settings(
        home=tmp_path,
        costs={"use_pricing_api": True},
        sagemaker={"region": "eu-west-1"},
        retry={"attempts": 1},
    )


def test_the_price_list_is_asked_page_by_page_for_the_region(asking: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    first = {"PriceList": [product("ml.g5.4xlarge", "2.27"), product("ml.free.large", "0")], "NextToken": "more"}
    with price_list((200, first), (200, {"PriceList": [product("ml.t2.large", "0.12")]})) as (url, asked):
        monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", url)
        book = load_price_book(asking)
        assert load_price_book(asking, []).asked == {}, "nothing to look up, nothing to ask"
    assert {name: price.usd_per_hour for name, price in book.asked.items()} == {
        "ml.g5.4xlarge": 2.27,
        "ml.t2.large": 0.12,
    }
    assert book.notes(["ml.g5.4xlarge", "ml.t2.large"], date(2026, 11, 22)) == []
    assert len(asked) == 2
    wanted = {item["Field"]: item["Value"] for item in asked[0]["Filters"]}
    assert wanted == {"component": "Hosting", "regionCode": "eu-west-1"}
    assert asked[1]["NextToken"] == "more"


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (400, {"__type": "AccessDeniedException", "message": "no"}, "AccessDenied"),
        (500, {"__type": "InternalErrorException", "message": "no"}, "InternalError"),
        (200, {"PriceList": ["{}"]}, "not as documented"),
    ],
)
def test_a_price_list_that_does_not_tell_leaves_the_table_and_a_warning(
    asking: Settings, monkeypatch: pytest.MonkeyPatch, status: int, answer: dict[str, Any], said: str
) -> None:
    with price_list((status, answer)) as (url, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", url)
        book = load_price_book(asking)
    assert book.price("ml.g5.4xlarge") == load_prices().price("ml.g5.4xlarge")
    [warning] = book.warnings
    assert said in warning
