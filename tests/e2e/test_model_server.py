from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from serving_process import TOKEN, Served, command, serving, until, write_lease

from ragwright.hashing import hash_embed

SECRET = "the quick brown secret"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("shared"), "--max-body-bytes", "20000") as server:
        yield server


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, "--queue", "1", "--drain-seconds", "5", model="scripted", contract="tgi") as server:
        yield server


def slowly(seconds: float) -> dict[str, str]:
    return {"inputs": f"{{{{sleep {seconds}}}}}\ndone"}


def test_it_answers_as_the_model_does(served: Served) -> None:
    reply = served.ask({"inputs": ["one", "two"]})
    assert reply.status_code == 200
    np.testing.assert_allclose(reply.json(), hash_embed(["one", "two"], 16), atol=1e-7)


def test_it_listens_on_loopback_only(served: Served) -> None:
    listening = [c.laddr.ip for c in psutil.Process(served.process.pid).net_connections() if c.status == "LISTEN"]
    assert listening == ["127.0.0.1"]


def test_ping_needs_no_token_and_invocations_do(served: Served) -> None:
    assert httpx.get(served.client.base_url.join("/ping"), trust_env=False).status_code == 200
    for shown in ("", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xe9"):
        reply = served.client.post(
            "/invocations", json={"inputs": "a"}, headers={"Authorization": shown.encode("latin-1")}
        )
        assert reply.status_code == 401
        assert reply.headers["WWW-Authenticate"] == "Bearer"
        assert TOKEN not in reply.text


def test_the_token_is_not_left_in_the_environment_for_children(served: Served) -> None:
    program = "import os, ragwright.serving.__main__ as served; served.main(); print(dict(os.environ))"
    arguments = command(served.folder, "unknown", "tei", Path("unused"))[3:]
    run = subprocess.run(
        [command(served.folder, "", "", Path())[0], "-c", program, *arguments],
        env={**os.environ, "RAGWRIGHT_ENDPOINT_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "unknown model 'unknown'" in run.stderr
    assert TOKEN not in run.stdout + run.stderr
    assert TOKEN not in " ".join(psutil.Process(served.process.pid).cmdline())


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"\xff\xfe", 400, "not"),
        (b"[1]", 400, "must be a JSON object"),
        (b"[" * 15_000, 400, "nested too deeply"),
        (b'{"inputs": []}', 400, "cannot be empty"),
        (b'{"inputs": "' + b"a" * 20_000 + b'"}', 413, "over 20000 bytes"),
    ],
)
def test_a_bad_body_is_refused_with_the_reason(served: Served, body: bytes, status: int, reason: str) -> None:
    reply = served.client.post("/invocations", content=body)
    assert reply.status_code == status
    assert reason in reply.json()["error"]
    assert served.ask({"inputs": "still there"}).status_code == 200


def test_a_body_without_a_length_is_limited_too(served: Served) -> None:
    reply = served.client.post("/invocations", content=(b"a" * 1000 for _ in range(50)))
    assert reply.status_code == 413


def test_other_paths_and_methods_are_refused(served: Served) -> None:
    assert served.client.get("/invocations").status_code == 405
    assert served.client.get("/invocations").headers["Allow"] == "POST"
    assert served.client.post("/ping").status_code == 405
    assert served.client.get("/secrets").status_code == 404


def test_the_log_has_a_line_a_request_and_no_text_or_token(served: Served) -> None:
    served.ask({"inputs": SECRET})
    served.ask({"inputs": SECRET, "truncate": SECRET})
    lines = [json.loads(line) for line in served.log.splitlines()]
    assert {"event", "status", "ms", "bytes_in"} <= set(lines[-1])
    assert lines[-1]["status"] == 400
    assert SECRET not in served.log
    assert TOKEN not in served.log


def test_a_full_queue_turns_requests_away(scripted: Served) -> None:
    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda _: scripted.ask(slowly(1)), range(4)))
    assert sorted(reply.status_code for reply in replies) == [200, 200, 429, 429]
    turned_away = next(reply for reply in replies if reply.status_code == 429)
    assert int(turned_away.headers["Retry-After"]) >= 1
    assert turned_away.json() == {"error": "Model is overloaded", "error_type": "overloaded"}


def test_ping_answers_while_the_model_works(scripted: Served) -> None:
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(scripted.ask, slowly(2))
        until(lambda: '"in_flight"' in scripted.log or scripted.client.get("/ping", timeout=1).status_code == 200)
        assert not work.done()
        assert scripted.client.get("/ping", timeout=1).status_code == 200


def test_a_caller_that_hangs_up_frees_its_place(scripted: Served) -> None:
    for _ in range(4):
        with pytest.raises(httpx.ReadTimeout):
            scripted.client.post("/invocations", json=slowly(20), timeout=0.2)
    until(lambda: scripted.log.count('"status": 499') == 4)
    assert scripted.ask({"inputs": "hello"}).json() == [{"generated_text": "hello"}]


def test_on_sigterm_requests_in_flight_finish_and_new_ones_are_refused(scripted: Served) -> None:
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(scripted.ask, slowly(2))
        time.sleep(0.5)
        scripted.process.send_signal(signal.SIGTERM)
        until(lambda: scripted.client.get("/ping").status_code == 503)
        late = scripted.ask({"inputs": "too late"})
        assert (late.status_code, late.headers["Retry-After"]) == (503, "1")
        assert work.result().json() == [{"generated_text": "done"}]
    assert scripted.process.wait(timeout=10) == 0
    assert not (scripted.folder / "ready.json").exists()


def test_a_request_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with (
        serving(tmp_path, "--drain-seconds", "0.5", model="scripted", contract="tgi") as server,
        ThreadPoolExecutor(1) as pool,
    ):
        work = pool.submit(server.ask, slowly(60))
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=10) == 0
        assert isinstance(work.exception(), httpx.TransportError)


def test_it_ends_when_its_lease_lapses_even_under_a_hanging_request(tmp_path: Path) -> None:
    with (
        serving(tmp_path, "--drain-seconds", "0.5", model="scripted", contract="tgi", lease=4) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        pool.submit(server.ask, slowly(60))
        assert server.process.wait(timeout=10) == 0
        assert "the lease lapsed" in server.log


def test_an_extended_lease_keeps_it_alive_and_a_removed_one_ends_it(tmp_path: Path) -> None:
    with serving(tmp_path, lease=3) as server:
        server.extend(60)
        time.sleep(4)
        assert server.ask({"inputs": "a"}).status_code == 200
        (tmp_path / "lease.json").unlink()
        assert server.process.wait(timeout=10) == 0
        assert "the lease file is gone" in server.log


def test_ping_is_not_200_while_the_model_loads_and_the_lease_ends_even_that(tmp_path: Path) -> None:
    stuck = socket.create_server(("127.0.0.1", 0))  # a hub that takes the connection and never answers
    (tmp_path / "models.toml").write_text(
        '[slow]\ntask = "text-generation"\nruntime = "llama"\ncontext_tokens = 64\n[slow.files.model]\n'
        f'filename = "a"\nsha256 = "{"0" * 64}"\nsources = [{{ hub = "a/b", filename = "c" }}]\n'
    )
    env = {"RAGWRIGHT_HOME": str(tmp_path), "HF_ENDPOINT": f"http://127.0.0.1:{stuck.getsockname()[1]}"}
    with (
        stuck,
        serving(tmp_path, model="slow", contract="tgi", cache=tmp_path / "c", lease=4, wait=False, env=env) as server,
    ):
        assert server.client.get("/ping").status_code == 503
        reply = server.ask({"inputs": "a"})
        assert (reply.status_code, reply.json()["error"]) == (503, "the model is still loading")
        assert server.process.wait(timeout=10) == 0


def fails(
    folder: Path, *more: str, model: str = "hashing-16", contract: str = "tei", token: str = TOKEN
) -> tuple[int, str]:
    run = subprocess.run(
        command(folder, model, contract, folder / "cache", *more),
        env={
            **os.environ,
            "RAGWRIGHT_ENDPOINT_TOKEN": token,
            "PIP_INDEX_URL": "http://127.0.0.1:9",
            "PIP_RETRIES": "0",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return run.returncode, run.stderr


def test_a_port_in_use_is_a_clear_error(tmp_path: Path, served: Served) -> None:
    write_lease(tmp_path, 60)
    port = str(served.client.base_url.port)
    code, said = fails(tmp_path, "--port", port)
    assert code == 1
    assert said == f"ragwright.serving: 127.0.0.1: port {port} is in use. Name another port, or 0 for any free one.\n"
    assert not (tmp_path / "ready.json").exists()


def test_it_does_not_start_without_a_lease_a_token_or_a_fitting_model(tmp_path: Path) -> None:
    assert fails(tmp_path) == (1, fails(tmp_path)[1])
    assert "no valid lease" in fails(tmp_path)[1]
    write_lease(tmp_path, 60)
    assert "RAGWRIGHT_ENDPOINT_TOKEN is not set" in fails(tmp_path, token="")[1]
    assert "unknown model 'nope'" in fails(tmp_path, model="nope")[1]
    assert "'tgi' is for text-generation" in fails(tmp_path, contract="tgi")[1]


def test_a_model_that_cannot_be_loaded_ends_it_with_the_reason(tmp_path: Path) -> None:
    write_lease(tmp_path, 60)
    (tmp_path / "broken.gguf").write_bytes(b"not a model")
    code, said = fails(tmp_path, model=str(tmp_path / "broken.gguf"), contract="tgi")
    assert code == 1
    assert "llama.cpp cannot load it" in said


def test_many_callers_at_once_get_their_own_answers(served: Served) -> None:
    wrong: list[str] = []

    def call(i: int) -> None:
        text = f"caller {i}"
        reply = served.ask({"inputs": text})
        if not np.allclose(reply.json(), hash_embed([text], 16), atol=1e-7):
            wrong.append(text)

    threads = [threading.Thread(target=call, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_reply_in_pieces_arrives_as_it_is_written_and_its_log_line_at_its_end(scripted: Served) -> None:
    with scripted.client.stream("POST", "/invocations", json={"inputs": "one two", "stream": True}) as reply:
        assert reply.headers["Content-Type"].startswith("text/event-stream")
        found = [json.loads(line.removeprefix("data:")) for line in reply.iter_lines() if line]
    assert [item["token"]["text"] for item in found] == ["one", " two", ""]
    until(lambda: '"bytes_out"' in scripted.log)
    line = json.loads(scripted.log.splitlines()[-1])
    assert (line["status"], line["in_flight"]) == (200, 0)
    assert line["bytes_out"] > 100
    refused = scripted.ask({"inputs": "", "stream": True})
    assert (refused.status_code, "cannot be empty" in refused.json()["error"]) == (400, True)


def test_a_caller_that_leaves_a_reply_in_pieces_frees_its_place(scripted: Served) -> None:
    for _ in range(4):
        with scripted.client.stream("POST", "/invocations", json=slowly(0) | {"stream": True}) as reply:
            assert reply.status_code == 200
    assert scripted.ask({"inputs": "hello"}).json() == [{"generated_text": "hello"}]
