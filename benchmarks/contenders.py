"""Who is compared in re-indexing, and one pass of each, in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from reindex import PEERS, Sources, peer_python, repeated, run

Pass = dict[str, Any]
"""What a measured process tells: seconds, peak_mb, and facts of its own."""


@dataclass
class Setup:
    """What all benchmarks of one run of the suite share.

    Attributes:
        source: A JSONL FAQ with question and answer.
        rows: Rows of it to use, repeated where it has fewer.
        large_rows: Rows of the larger source for the unchanged re-index.
        memory_rows: Sizes at which peak memory is taken.
        records: Sizes at which queries are timed.
        encoder_rows: Rows for comparisons in which a real encoder works.
        repeats: Repetitions of everything that takes less than a few minutes.
        work: Folder for sources and indexes.
        peers: Folder of the peers' environment.
        cache: Folder of model files.
    """

    source: Path
    rows: int
    large_rows: int
    memory_rows: Sequence[int]
    records: Sequence[int]
    encoder_rows: int
    repeats: int
    work: Path
    peers: Path
    cache: Path
    _sources: dict[int, Sources] = field(default_factory=dict)
    _names: Iterator[int] = field(default_factory=count)

    @cached_property
    def given(self) -> list[dict[str, Any]]:
        """The rows of the source."""
        return [json.loads(line) for line in self.source.read_text(encoding="utf-8").splitlines()]

    @cached_property
    def peer_python(self) -> str:
        """The peers' interpreter; the environment is made if it is not there."""
        return str(peer_python(self.peers))

    def sources(self, rows: int) -> Sources:
        """The FAQ with so many rows, in the three states that reindex.py compares."""
        if rows not in self._sources:
            fits = rows <= len(self.given)
            found = self.given[:rows] if fits else repeated(self.given, rows)
            self._sources[rows] = Sources.make(found, self.work / f"rows-{rows}")
        return self._sources[rows]

    def fresh(self, name: str) -> Path:
        """A folder that nothing has used."""
        return self.work / f"{name}-{next(self._names)}"

    def conditions(self) -> dict[str, Any]:
        """What a reader of the figures has to know."""
        return {
            "source": self.source.name,
            "source_rows": len(self.given),
            "rows": self.rows,
            "repeats": self.repeats,
            "peers": (PEERS / "requirements.txt").read_text().splitlines()[1:],
        }


@dataclass(frozen=True)
class Contender:
    """One way to bring an FAQ into an index.

    Attributes:
        name: In the table.
        script: Beside this file, in peers/.
        options: For the script.
        ours: Whether it runs in ragwright's environment.
        heavy: Takes so long that one repetition is enough.
    """

    name: str
    script: str
    options: tuple[str, ...] = ()
    ours: bool = False
    heavy: bool = False

    def index(self, setup: Setup, source: str, state: Path, *more: str) -> Pass:
        """One pass over a source file, first or later, into the index below `state`."""
        python = sys.executable if self.ours else setup.peer_python
        return run(python, self.script, "--source", source, "--state", str(state), *self.options, *more)

    def indexed(self, setup: Setup, sources: Sources) -> Path:
        """The state of a first index of the original source; made unless an earlier benchmark has."""
        state = self.place(sources)
        if not state.exists():
            try:
                self.index(setup, sources["original"], state)
            except BaseException:
                shutil.rmtree(state, ignore_errors=True)
                raise
        return state

    def place(self, sources: Sources) -> Path:
        """Where that state is."""
        return sources.folder / "-".join([Path(self.script).stem, *self.options[1::2]])


RAGWRIGHT = Contender(
    "ragwright into LanceDB",
    "ragwright_reindex.py",
    ("--embedder", "constant", "--imports", "lancedb"),
    ours=True,
)
FIRST_IMPORTS = ("great_expectations", "lancedb")
LANGCHAIN_NONE = Contender("LangChain `index()` into nothing", "langchain_index.py", ("--store", "none"))
LANGCHAIN = Contender("LangChain `index()` into Chroma", "langchain_index.py", ("--store", "chroma"))
LLAMAINDEX_NONE = Contender("LlamaIndex pipeline into nothing", "llamaindex_pipeline.py", ("--store", "none"))
LLAMAINDEX = Contender("LlamaIndex pipeline into its own store", "llamaindex_pipeline.py", ("--store", "simple"))
TUTORIAL = Contender("a tutorial's loop into Chroma", "tutorial_loop.py", ("--store", "chroma"), heavy=True)
LIBRARIES = (LANGCHAIN_NONE, LANGCHAIN, LLAMAINDEX_NONE, LLAMAINDEX)


def seconds(passes: Sequence[Pass]) -> tuple[float, ...]:
    """Of the work alone: packages are imported before the clock starts."""
    return tuple(round(one["seconds"], 3) for one in passes)


@contextmanager
def embedding_endpoint(setup: Setup, state: Path) -> Iterator[None]:
    """A model server for as long as the block; peers find its address and key in their environment, not in `ps`."""
    sys.path.insert(0, str(PEERS))
    from ragwright_reindex import settings_of

    from ragwright.assembly import in_service, wanted_endpoints
    from ragwright.endpoints import open_host
    from ragwright.endpoints.registry import Folder

    settings = settings_of(state, "minilm", setup.cache.absolute())
    specs = wanted_endpoints(settings, generator=False)
    with in_service(settings, specs, minutes=30), open_host(settings) as host:
        info = host.describe(specs[0].name)
        token = Folder(settings.home / "endpoints", info.name).token or ""
        found = {"BENCH_ENDPOINT_URL": str(info.url), "BENCH_ENDPOINT_TOKEN": token}
        os.environ.update(found)
        try:
            yield
        finally:
            for name in found:
                del os.environ[name]
            host.delete(info.name)


def attempt(contender: Contender, setup: Setup, source: str, state: Path, *more: str) -> Pass | str:
    """One pass, or why a peer could not; what ragwright cannot do ends the benchmark."""
    try:
        return contender.index(setup, source, state, *more)
    except SystemExit as failed:
        if contender.ours:
            raise
        return " ".join([contender.script, *str(failed).split()[-2:]])


def bare_encoder(setup: Setup, source: str) -> Pass:
    """The encoder alone, in a process of its own, over the sections of a source."""
    script = ["--source", source, "--cache", str(setup.cache.absolute())]
    return run(sys.executable, "bare_encoder.py", *script)


def output_of(command: Sequence[str], cwd: Path | None = None) -> str:
    """What another benchmark's script prints; exits 0 or 1 (a target of its own is missed) are both results."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 1) or not done.stdout.strip():
        raise SystemExit(f"{' '.join(command)} exited {done.returncode}")
    return done.stdout
