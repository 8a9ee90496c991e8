"""A secret is in no text that ragwright writes: every one is planted as a canary and looked for everywhere."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from ragwright.endpoints import EndpointSpec, Lease, open_endpoint, open_host
from ragwright.errors import ConfigurationError, RagwrightError
from ragwright.index.attempt import ReindexRequest
from ragwright.index.reindex import reindex
from ragwright.settings import Settings, load_settings

CANARY = "canary-4f1d9c"
SECRET_NAME = re.compile(r"(api_key|token|secret|password)$")
SECRET = "SecretStr"


def paths(model: type[BaseModel] = Settings, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from paths(kind, (*above, name))
        else:
            yield (*above, name), kind


SECRETS = [path for path, kind in paths() if SECRET in str(kind)]


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    for path in SECRETS:
        monkeypatch.setenv("RAGWRIGHT_" + "__".join(path).upper(), CANARY)
    monkeypatch.setenv("PINECONE_API_KEY", CANARY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    return load_settings(home=tmp_path / "home", embedding={"endpoint": "hashing:64"}, generation={"endpoint": "none"})


def told(error: BaseException | None) -> str:
    """All that a traceback, a log or a report can show of an error."""
    parts = []
    while error is not None:
        parts += [str(error), repr(error), repr(error.args)]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(parts)


def test_every_setting_that_sounds_like_a_secret_is_one() -> None:
    named = [path for path, _ in paths() if SECRET_NAME.search(path[-1])]
    assert named == SECRETS
    assert len(SECRETS) >= 4


def test_settings_show_no_secret(planted: Settings) -> None:
    for path in SECRETS:
        value: Any = planted
        for name in path:
            value = getattr(value, name)
        assert isinstance(value, SecretStr)
        assert value.get_secret_value() == CANARY
    dumped = planted.model_dump()
    for text in (repr(planted), str(planted), planted.model_dump_json(), repr(dumped), json.dumps(dumped, default=str)):
        assert CANARY not in text
        assert "**********" in text


@pytest.mark.parametrize(
    "given",
    [
        {"generation": {"api_key": {"a": CANARY}}},
        {"generation": {"api_keey": CANARY}},
        {"generation": {"password": CANARY}},
        {"generation": CANARY},
        {"embedding": [CANARY]},
        {"sagemaker": {"hugging_face_token": [CANARY]}},
        {"pinecone_api_key": CANARY},
        {"judge": {"x": CANARY}},
    ],
    ids=lambda given: json.dumps(given).replace(CANARY, "..."),
)
def test_a_secret_in_the_wrong_place_is_refused_without_repeating_it(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(**given)
    assert next(iter(given)) in str(refused.value)
    assert CANARY not in told(refused.value)


def test_a_variable_that_is_no_json_is_refused_without_repeating_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGWRIGHT_GENERATION", f'{{"api_key": "{CANARY}"')
    with pytest.raises(ConfigurationError, match="generation") as refused:
        load_settings()
    assert CANARY not in told(refused.value)


def test_a_re_index_writes_and_logs_no_secret(planted: Settings, caplog: pytest.LogCaptureFixture) -> None:
    source = planted.home.parent / "faq.csv"
    source.write_text("question,answer\nWhat is it?,A test.\nWho wrote it?,We did.\n")
    with caplog.at_level(logging.DEBUG):
        report = reindex(planted, ReindexRequest(source=str(source)))
    assert CANARY not in repr(report)
    files = [path for path in planted.home.rglob("*") if path.is_file()]
    assert any(path.name == "end.json" for path in files)
    assert [path for path in files if CANARY.encode() in path.read_bytes()] == []
    assert CANARY not in caplog.text


def test_an_endpoint_on_this_machine_keeps_no_secret_of_the_settings(planted: Settings) -> None:
    spec = EndpointSpec(name="quiet", model="hashing-384", contract="tei")
    with open_host(planted) as host:
        try:
            info = host.deploy(spec, Lease.lasting(owner="me", minutes=5))
            host.wait(["quiet"], timeout=60)
            with host.connect("quiet") as endpoint:
                shown = [repr(endpoint), str(vars(endpoint))]
            texts = [*shown, repr(info), info.model_dump_json(), spec.model_dump_json()]
            files = [path for path in planted.home.rglob("*") if path.is_file()]
            assert files
            assert [path for path in files if CANARY.encode() in path.read_bytes()] == []
        finally:
            host.delete("quiet")
    assert CANARY not in "".join(texts)


class Echo(BaseHTTPRequestHandler):
    """Refuses, and says what it was sent."""

    def do_POST(self) -> None:
        body = json.dumps({"error": f"invalid credentials: {self.headers.get('Authorization')}"}).encode()
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *parts: Any) -> None:
        pass


def test_a_server_that_repeats_the_key_does_not_bring_it_into_an_error(
    planted: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1"
        with (
            caplog.at_level(logging.DEBUG),
            open_endpoint(url, "openai-chat", planted) as endpoint,
            pytest.raises(RagwrightError, match="invalid credentials") as refused,
        ):
            endpoint.invoke({"messages": []})
        server.shutdown()
    assert CANARY not in told(refused.value) + caplog.text
