"""Who is compared in re-indexing, and one pass of each, in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from peer_environment import peer_python, peer_versions
from processes import PEERS, Failed, run
from sources import Sources, repeated

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
        dask_rows: Rows that Dask's workers index.
        repeats: Repetitions, at most, of everything that is timed.
        patience: Seconds after which nobody else than ragwright and its limits is asked once more.
        peer_limit: Seconds that one pass of a peer may take.
        work: Folder for sources and indexes.
        peers: Folder of the peers' environment.
        cache: Folder of model files.
        passes: What every measured process told, for the record.
        moved: Shared indexes that this run took from one state to another, and knows to be whole.
    """

    source: Path
    rows: int
    large_rows: int
    memory_rows: Sequence[int]
    records: Sequence[int]
    encoder_rows: int
    dask_rows: int
    repeats: int
    patience: float
    peer_limit: float
    work: Path
    peers: Path
    cache: Path
    passes: list[Pass] = field(default_factory=list)
    moved: set[Path] = field(default_factory=set)
    _sources: dict[int, Sources] = field(default_factory=dict)
    _names: Iterator[int] = field(default_factory=count)

    @cached_property
    def given(self) -> list[dict[str, Any]]:
        """The rows of the source."""
        return [json.loads(line) for line in self.source.read_text(encoding="utf-8").splitlines()]

    @property
    def peer_python(self) -> str:
        """The peers' interpreter; the environment is made if it is not there.

        Raises:
            Failed: It cannot be made; that is tried once.
        """
        if isinstance(self._peers_made, Failed):
            raise self._peers_made
        return str(self._peers_made)

    @cached_property
    def _peers_made(self) -> Path | Failed:
        try:
            return peer_python(self.peers)
        except Failed as why:
            return Failed(f"the peers' environment: {why}")

    def sources(self, rows: int) -> Sources:
        """The FAQ with so many rows, in its three states."""
        if rows not in self._sources:
            fits = rows <= len(self.given)
            found = self.given[:rows] if fits else repeated(self.given, rows)
            self._sources[rows] = Sources.make(found, self.work / f"rows-{rows}")
        return self._sources[rows]

    def fresh(self, name: str) -> Path:
        """A folder that nothing has used."""
        while (folder := self.work / f"{name}-{next(self._names)}").exists():
            pass
        return folder

    def conditions(self) -> dict[str, Any]:
        """What a reader of the figures has to know."""
        return {
            "source": self.source.name,
            "source_rows": len(self.given),
            "rows": self.rows,
            "large_rows": self.large_rows,
            "memory_rows": list(self.memory_rows),
            "records": list(self.records),
            "encoder_rows": self.encoder_rows,
            "dask_rows": self.dask_rows,
            "repeats": self.repeats,
            "patience_s": self.patience,
            "peers": peer_versions(),
        }


@dataclass(frozen=True)
class Contender:
    """One way to bring an FAQ into an index.

    Attributes:
        name: In the table.
        script: Beside this file, in peers/.
        options: For the script.
        ours: Whether it runs in ragwright's environment: ragwright, and the limits that it is held against.
    """

    name: str
    script: str
    options: tuple[str, ...] = ()
    ours: bool = False

    def index(self, setup: Setup, source: str, state: Path | None, *more: str) -> Pass:
        """One pass over a source file, first or later, into the index below `state`.

        Raises:
            Failed: There is none.
        """
        python = sys.executable if self.ours else setup.peer_python
        given = ("--source", source, *(("--state", str(state)) if state else ()), *self.options, *more)
        label = f"{self.name}: {Path(source).parent.name}/{Path(source).stem}"
        found = run(python, self.script, *given, label=label, limit=None if self.ours else setup.peer_limit)
        embedded = found.get("report", found).get("embedded")
        kept = {name: found[name] for name in ("seconds", "cpu_seconds", "peak_mb", "stages") if name in found}
        setup.passes.append({"what": label, **kept, "embedded": embedded})
        return found

    def ready(self, setup: Setup, sources: Sources) -> None:
        """See that the index that benchmarks share is there, and is the original's.

        Raises:
            Failed: It cannot be made.
        """
        place = self.place(sources)
        if _unsure(place).exists() and place not in setup.moved:
            shutil.rmtree(place, ignore_errors=True)  # a run before this one was killed over it
        if _unsure(place).exists() or not place.exists():
            self.settle(setup, sources, "original")

    def settle(self, setup: Setup, sources: Sources, state: str, *more: str) -> Pass:
        """One pass into the shared index, which is marked for as long as it is not the original's.

        Raises:
            Failed: There is none.
        """
        place = self.place(sources)
        setup.moved.discard(place)
        _unsure(place).touch()
        found = self.index(setup, sources[state], place, *more)
        setup.moved.add(place)
        if state == "original":
            _unsure(place).unlink()
        return found

    def place(self, sources: Sources) -> Path:
        """Where the shared index is."""
        return sources.folder / "-".join([Path(self.script).stem, *self.options[1::2]])


def _unsure(place: Path) -> Path:
    return place.with_name(f"{place.name}.unsure")


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
LLAMAINDEX = Contender("LlamaIndex pipeline into Chroma", "llamaindex_pipeline.py", ("--store", "chroma"))
TUTORIAL = Contender("a tutorial's loop into Chroma", "tutorial_loop.py", ("--store", "chroma"))
BARE_ENCODER = Contender("the bare encoder", "bare_encoder.py", ours=True)
FLOORS = tuple(
    Contender(f"reading, hashing and comparing alone, by {reader}", "table_floor.py", ("--reader", reader), ours=True)
    for reader in ("pandas", "pyarrow")
)
LIBRARIES = (LANGCHAIN_NONE, LANGCHAIN, LLAMAINDEX_NONE, LLAMAINDEX)

Turns = dict[Contender, list[Pass | str]]


def seconds(passes: Sequence[Pass]) -> tuple[float, ...]:
    """Of the work alone: packages are imported before the clock starts."""
    return tuple(round(one["seconds"], 3) for one in passes)


def stage(passes: Sequence[Pass], name: str) -> tuple[float, ...]:
    """Seconds of one stage of ragwright's, in all its calls."""
    return tuple(one["stages"][name] for one in passes)


def complete(passes: Sequence[Pass | str]) -> list[Pass]:
    """Those that ended."""
    return [one for one in passes if not isinstance(one, str)]


def by_turns(setup: Setup, contenders: Mapping[Contender, Callable[[], Pass]], *, most: int | None = None) -> Turns:
    """Every contender's passes; they take turns, so that a slow moment of the machine hits all of them.

    A peer that fails is not asked again, nor is one whose passes have taken longer than the suite's patience: what a
    minute of work shows is little changed by the next. What ragwright or a limit cannot do ends the benchmark.
    """
    passes: Turns = {contender: [] for contender in contenders}
    for _ in range(min(setup.repeats, most or setup.repeats)):
        for contender, found in passes.items():
            spent = sum(one["seconds"] for one in complete(found))
            gave_up = len(complete(found)) < len(found)
            if contender.ours or not (gave_up or spent > setup.patience):
                found.append(attempt(contender, contenders[contender]))
    return passes


def attempt(contender: Contender, once: Callable[[], Pass]) -> Pass | str:
    """One pass, or why a peer could not; what ragwright cannot do ends the benchmark."""
    try:
        return once()
    except Failed as why:
        if contender.ours:
            raise
        return str(why)


@contextmanager
def embedding_endpoint(setup: Setup, state: Path, *, remember: bool) -> Iterator[None]:
    """A model server for as long as the block; peers find its address and key in their environment, not in `ps`.

    With `remember` it keeps token states, as it does by default; nobody but ragwright asks for them.
    """
    sys.path.insert(0, str(PEERS))
    from ragwright_reindex import settings_of

    from ragwright.assembly import in_service, wanted_endpoints
    from ragwright.endpoints import open_host
    from ragwright.endpoints.registry import Folder

    settings = settings_of(state, "minilm", setup.cache.absolute())
    specs = wanted_endpoints(settings, generator=False)
    with environment({} if remember else {"RAGWRIGHT_ENCODER__REMEMBER_MB": "0"}), ExitStack() as stack:
        stack.enter_context(in_service(settings, specs, minutes=10))
        host = stack.enter_context(open_host(settings))
        stack.callback(host.delete, specs[0].name)
        info = host.describe(specs[0].name)
        token = Folder(settings.home / "endpoints", info.name).token or ""
        stack.enter_context(environment({"BENCH_ENDPOINT_URL": str(info.url), "BENCH_ENDPOINT_TOKEN": token}))
        yield


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Variables that processes find which are started in the block."""
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]
