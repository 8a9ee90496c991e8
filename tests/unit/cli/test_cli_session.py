"""What every verb does: results on stdout, everything else on stderr, errors a person can read, exit codes."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer

from ragwright import cli
from ragwright.cli.session import Session, verb
from ragwright.errors import Throttled


@verb
def greet(session: Session, name: str, loud: Annotated[bool, typer.Option("--loud")] = False) -> None:
    with session.progress() as progress:
        progress("greeting", 1, 1)
    session.say("about to greet")
    home = str(session.settings().home)
    session.show({"name": name, "loud": loud, "home": home}, lambda out: out.print(f"[{name}]", markup=False))


@verb
def fail(session: Session, kind: str) -> None:
    match kind:
        case "ours":
            raise Throttled("too much 'x'", place="row 3", hint="Wait.") from ValueError("the\ncause")
        case "bug":
            raise KeyError("oops")
        case "file":
            Path("/no/such/file").read_text()
        case "disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        case "usage":
            raise typer.BadParameter("not that")
        case "exit":
            raise typer.Exit(1)


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """The command line with the verbs above, its environment put back afterwards."""
    monkeypatch.setenv("RAGWRIGHT_HOME", "")
    monkeypatch.delenv("RAGWRIGHT_HOME")
    monkeypatch.setenv("COLUMNS", "100")
    app = typer.Typer()
    app.callback()(cli.ragwright)
    for body in (greet, fail):
        app.command()(body)

    def call(*arguments: str, **environment: str) -> Done:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            app(list(arguments), prog_name="ragwright")
        output = capfd.readouterr()
        return Done(int(ended.value.code or 0), output.out, output.err)

    return call


def script(body: str) -> list[str]:
    """A command line of its own process, with one verb."""
    head = "import sys, time\nfrom ragwright import cli\nfrom ragwright.cli.session import Session, verb\n\n@verb\n"
    return [sys.executable, "-c", head + textwrap.dedent(body) + "\ncli.app.command()(act)\ncli.main()", "act"]


def test_the_result_alone_is_on_stdout(run: Run) -> None:
    done = run("greet", "Ada")
    assert (done.returncode, done.stdout) == (0, "[Ada]\n")
    assert "greeting: 1 of 1" in done.stderr
    assert "about to greet" in done.stderr


@pytest.mark.parametrize("flags", [["greet", "Ada", "--json"], ["--json", "greet", "Ada"]])
def test_json_is_one_document_on_stdout(run: Run, flags: list[str]) -> None:
    done = run(*flags, "--loud")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"name": "Ada", "loud": True, "home": ".ragwright"}
    assert "greeting" in done.stderr


@pytest.mark.parametrize(
    "flags", [["greet", "A", "--json", "--home", "/x/y"], ["--home", "/x/y", "greet", "A", "--json"]]
)
def test_home_is_a_flag_that_beats_the_environment(run: Run, flags: list[str]) -> None:
    assert json.loads(run(*flags, RAGWRIGHT_HOME="/elsewhere").stdout)["home"] == "/x/y"


def test_the_environment_names_the_home(run: Run) -> None:
    assert json.loads(run("greet", "A", "--json", RAGWRIGHT_HOME="/elsewhere").stdout)["home"] == "/elsewhere"


def test_an_error_says_what_where_why_and_what_next(run: Run) -> None:
    done = run("fail", "ours")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "error: too much 'x'",
        "  place: row 3",
        "  cause: ValueError: the cause",
        "  next:  Wait.",
    ]


def test_an_error_with_json_is_json_too(run: Run) -> None:
    done = run("fail", "ours", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == {
        "error": {"type": "Throttled", "message": "too much 'x'", "place": "row 3", "hint": "Wait."}
    }
    assert "too much 'x'" in done.stderr


def test_a_traceback_is_shown_only_on_request(run: Run) -> None:
    assert "Traceback" not in run("fail", "ours").stderr
    assert "Traceback" in run("fail", "ours", "-v").stderr
    assert "Traceback" in run("-v", "fail", "bug").stderr


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("bug", "RagwrightError", "unexpected KeyError: 'oops'"),
        ("file", "ConfigurationError", "No such file or directory: '/no/such/file'"),
        ("disk", "StorageFull", "no room left on the disk"),
    ],
)
def test_errors_of_others_are_told_like_our_own(run: Run, kind: str, name: str, message: str) -> None:
    done = run("fail", kind, "--json")
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert (error["type"], error["message"]) == (name, message)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["fail"], ["fail", "ours", "--no-such"], ["nothing"], ["fail", "usage"], ["greet", "a", "b"]]
)
def test_wrong_usage_exits_2_and_says_so_on_stderr(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Error" in done.stderr


def test_a_verb_may_choose_its_exit_code(run: Run) -> None:
    done = run("fail", "exit")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_an_invalid_setting_is_an_error_not_a_traceback(run: Run) -> None:
    done = run("greet", "A", RAGWRIGHT_INDEX="Not Good")
    assert done.returncode == 1
    assert "index" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "content"), [("ragwright.toml", b"index = ["), ("ragwright.toml", b"\xff\xfe"), (".env", b"\xff\xfe")]
)
def test_a_settings_file_that_cannot_be_read_is_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    done = run("greet", "A", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["type"] == "ConfigurationError"
    assert name in done.stderr


def test_a_section_that_is_no_json_is_named_without_its_value(run: Run) -> None:
    done = run("greet", "A", RAGWRIGHT_GENERATION='{"api_key": "secret')
    assert done.returncode == 1
    assert "generation" in done.stderr
    assert "secret" not in done.stderr


def test_bytes_that_are_no_text_are_escaped_in_json() -> None:
    command = script("""
        def act(session: Session) -> None:
            session.show({"text": "\\udcff"}, print)
    """)
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"text": "\udcff"}


def test_ctrl_c_ends_a_verb_with_130_and_no_traceback() -> None:
    command = script("""
        def act(session: Session) -> None:
            session.say("asleep")
            time.sleep(30)
    """)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "asleep\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
        assert process.stderr.read() == "Interrupted.\n"


def test_a_reader_that_leaves_is_no_reason_to_shout() -> None:
    command = script("""
        def act(session: Session) -> None:
            for number in range(100_000):
                session.emit({"number": number})
    """)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline()) == {"number": 0}
        process.stdout.close()
        assert process.wait(timeout=20) == 1
        assert process.stderr.read() == ""


def test_a_reader_that_leaves_while_an_error_is_told_is_none_either() -> None:
    command = script("""
        def act(session: Session) -> None:
            session.say("ready")
            sys.stdin.readline()
            raise KeyError("oops")
    """)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, "--json"], text=True, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        process.stdout.close()
        process.stdin.close()
        assert process.wait(timeout=20) == 1
        assert process.stderr.readline() == "error: unexpected KeyError: 'oops'\n"


def test_help_names_the_exit_codes(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        cli.app(["--help"])
    overview = capfd.readouterr().out
    assert "Exit codes" in overview
    assert "130 interrupted" in overview


def test_every_verb_shows_the_shared_flags_beside_its_own(run: Run) -> None:
    text = run("greet", "--help").stdout
    for flag in ("--json", "--home", "--verbose", "--loud"):
        assert flag in text


def test_version_is_printed(run: Run) -> None:
    from importlib.metadata import version

    assert run("--version").stdout == f"ragwright {version('ragwright')}\n"


def test_help_waits_for_no_heavy_import() -> None:
    """A time limit would fail on a busy machine; what makes help slow is known by name."""
    code = "import sys, ragwright.cli; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "typer" in loaded
    heavy = {
        "pydantic",
        "httpx",
        "numpy",
        "pyarrow",
        "pandas",
        "prefect",
        "openvino",
        "lancedb",
        "psutil",
        "rich.table",
    }
    assert loaded & heavy == set()
