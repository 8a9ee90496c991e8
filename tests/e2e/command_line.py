"""The installed command `ragwright`, run as its users run it: in a folder, with settings in the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from warm_commands import WarmCommands

RAGWRIGHT = Path(sys.executable).with_name("ragwright")

NO_MODELS = {"RAGWRIGHT_EMBEDDING__ENDPOINT": "hashing:64", "RAGWRIGHT_GENERATION__ENDPOINT": "none"}
"""Settings under which nothing needs a model or a process: hashed vectors, and answers quoted from the FAQ."""


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        """The one JSON document that a run which went well prints."""
        assert self.code == 0, self.err
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """The JSON documents of a run that prints one a line."""
        assert self.code == 0, self.err
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> dict[str, str | None]:
        """What a run that failed says on stdout, once it is told as every error has to be."""
        assert self.code == 1, (self.code, self.out, self.err)
        assert "Traceback" not in self.out + self.err
        value = json.loads(self.out)
        assert list(value) == ["error"]
        error: dict[str, str | None] = value["error"]
        assert list(error) == ["type", "message", "place", "hint"]
        assert error["message"], error
        assert error["hint"], error
        return error


@dataclass(frozen=True)
class CommandLine:
    """A shell in a folder; what the tests' own environment says about ragwright or Prefect does not reach it."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """Where state goes when nothing says otherwise."""
        return self.folder / ".ragwright"

    @property
    def env(self) -> dict[str, str]:
        """The environment of its commands."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAGWRIGHT_", "PREFECT_"))}
        return inherited | self.settings

    def run(self, *arguments: str, timeout: float = 300) -> Done:
        """Run `ragwright` with these arguments and wait for its end; its imports were done before."""
        code, out, err = WarmCommands.shared().run(arguments, cwd=self.folder, env=self.env, timeout=timeout)
        return Done(code, out.decode(), err.decode())

    def run_installed(self, *arguments: str, timeout: float = 300, prefix: tuple[str, ...] = ()) -> Done:
        """The same by the installed script, in a process that was not there before; `prefix` may start that."""
        done = subprocess.run(
            [*prefix, str(RAGWRIGHT), *arguments],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=timeout,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def processes(self) -> list[str]:
        """Command lines of the processes that work in this folder or name it."""
        found = []
        for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
            command = " ".join(process.info["cmdline"] or [])
            if process.pid != os.getpid() and str(self.folder) in f"{command} {process.info['cwd']}":
                found.append(command)
        return found
