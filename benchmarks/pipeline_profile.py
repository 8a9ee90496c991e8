r"""Where a re-index spends its time and its memory, stage by stage, and how long its encoder has nothing to do.

    python benchmarks/pipeline_profile.py --source medquad.jsonl --rows 50000
    python benchmarks/pipeline_profile.py --source medquad.jsonl --rows 1000 --embedder minilm --cache .ragwright/models
    python benchmarks/pipeline_profile.py --source medquad.jsonl --rows 8000 --functions 25

A first index and, with --again, one of the same bytes after it. The source's rows are repeated, with a number behind
each question. `peak` is the highest resident memory that was seen during a stage, `left` what was there at its end; a
thread looks every few milliseconds. The encoder is busy while at least one request is on its way to it.
"""

from __future__ import annotations

import argparse
import cProfile
import importlib
import json
import pstats
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "peers"))

from processes import unwind_on_sigterm  # noqa: E402
from ragwright_reindex import STAGES, ConstantTimeEmbedder, settings_of  # noqa: E402
from sources import write_repeated  # noqa: E402

from ragwright.embedding import EndpointEmbedder  # noqa: E402
from ragwright.index import reindex as stages  # noqa: E402
from ragwright.index.attempt import ReindexRequest  # noqa: E402

IMPORTS = ("great_expectations", "lancedb")
_MIB = 2**20
_LOOK_SECONDS = 0.005


@dataclass
class Stage:
    """What one stage took in all its calls: seconds, of these with the encoder at work, and MiB of memory."""

    calls: int = 0
    seconds: float = 0.0
    encoder: float = 0.0
    peak: float = 0.0
    left: float = 0.0


@dataclass
class Watch:
    """Follows one re-index."""

    stages: dict[str, Stage] = field(default_factory=dict)
    texts: int = 0
    _now: str = "between"
    _asking: int = 0
    _busy: float = 0.0
    _since: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Note the resident memory every few milliseconds."""
        process, stop = psutil.Process(), threading.Event()

        def look() -> None:
            while not stop.wait(_LOOK_SECONDS):
                stage = self.stages.setdefault(self._now, Stage())
                stage.left = process.memory_info().rss / _MIB
                stage.peak = max(stage.peak, stage.left)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def stage(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same work, with its stage noted."""

        def followed(*args: Any, **given: Any) -> Any:
            stage = self.stages.setdefault(name, Stage())
            self._now, started, busy = name, time.perf_counter(), self.busy
            try:
                return work(*args, **given)
            finally:
                stage.calls += 1
                stage.seconds += time.perf_counter() - started
                stage.encoder += self.busy - busy
                self._now = "between"
                print(f"  {name}: {stage.seconds:.1f} s so far", file=sys.stderr, flush=True)

        return followed

    def encoder(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same request, with the encoder's time noted."""

        def followed(*args: Any, **given: Any) -> Any:
            with self._lock:
                if not self._asking:
                    self._since = time.perf_counter()
                self._asking += 1
            try:
                return work(*args, **given)
            finally:
                with self._lock:
                    self._asking -= 1
                    if not self._asking:
                        self._busy += time.perf_counter() - self._since

        return followed

    @property
    def busy(self) -> float:
        """Seconds so far during which the encoder had something to do."""
        with self._lock:
            return self._busy + (time.perf_counter() - self._since if self._asking else 0.0)

    def table(self, seconds: float) -> str:
        """For a reader."""
        rows = [("stage", "calls", "seconds", "share", "encoder", "peak MiB", "left MiB")]
        for name, stage in self.stages.items():
            figures = f"{stage.seconds:.2f}", f"{stage.seconds / seconds:.0%}", f"{stage.encoder:.2f}"
            rows.append((name, str(stage.calls), *figures, f"{stage.peak:.0f}", f"{stage.left:.0f}"))
        peak = max(stage.peak for stage in self.stages.values())
        rows.append(("all", "", f"{seconds:.2f}", "100%", f"{self.busy:.2f}", f"{peak:.0f}", ""))
        widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
        return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def main() -> None:
    """Re-index once, or twice, and print where the time went."""
    unwind_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="a JSONL FAQ with question and answer")
    parser.add_argument("--rows", type=int, default=8_000)
    parser.add_argument(
        "--embedder", default="constant", help="constant, minilm (a real endpoint) or hashing:DIMENSION"
    )
    parser.add_argument("--cache", type=Path, default=Path(".ragwright/models"), help="folder of model files")
    parser.add_argument("--again", action="store_true", help="also the same bytes again")
    parser.add_argument("--functions", type=int, default=0, help="so many functions, by their own time")
    parser.add_argument("--work", type=Path, help="folder for index and source; kept. Default: a temporary one")
    args = parser.parse_args()
    for name in IMPORTS:
        importlib.import_module(name)
    with nullcontext(args.work) if args.work else tempfile.TemporaryDirectory() as folder:
        work = Path(folder).absolute()
        source = repeated(args.source, args.rows, work / f"rows-{args.rows}.jsonl")
        settings = settings_of(work / "state", args.embedder, args.cache.absolute())
        with service(settings) if args.embedder == "minilm" else nullcontext():
            for what in ("first", "unchanged")[: 1 + args.again]:
                print(f"{what}, {args.rows:,} rows, {args.embedder}", flush=True)
                followed(settings, source, constant=args.embedder == "constant", functions=args.functions)


def followed(settings: Any, source: Path, *, constant: bool, functions: int) -> None:
    """One re-index; prints its table."""
    watch, kept = Watch(), {name: getattr(stages, name) for name in (*STAGES, "open_embedder")}
    asking = EndpointEmbedder._ask, EndpointEmbedder._ask_tokens
    for name in STAGES:
        setattr(stages, name, watch.stage(name, kept[name]))
    EndpointEmbedder._ask, EndpointEmbedder._ask_tokens = map(watch.encoder, asking)
    if constant:
        stages.open_embedder = lambda *_, **__: ConstantTimeEmbedder()
    profile = cProfile.Profile()
    try:
        started = time.perf_counter()
        with watch.looking(), profile if functions else nullcontext():
            report = stages.reindex(settings, ReindexRequest(source=str(source)))
        seconds = time.perf_counter() - started
    finally:
        for name, work in kept.items():
            setattr(stages, name, work)
        EndpointEmbedder._ask, EndpointEmbedder._ask_tokens = asking
    print(watch.table(seconds), flush=True)
    rate = report.embedded / watch.stages["write_partition"].seconds if report.embedded else 0
    print(f"{report.chunks} sections, {report.embedded} embedded: {rate:.1f}/s while writing", end="")
    print(f", {report.embedded / seconds:.1f}/s in all\n", flush=True)
    if functions:
        pstats.Stats(profile).sort_stats("tottime").print_stats(functions)


def repeated(given: Path, rows: int, path: Path) -> Path:
    """A source of so many rows."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with given.open(encoding="utf-8") as file:
            write_repeated([json.loads(line) for line in islice(file, rows)], rows, path)
    return path


@contextmanager
def service(settings: Any) -> Iterator[None]:
    """The model's server for as long as the block."""
    from ragwright.assembly import in_service, wanted_endpoints
    from ragwright.endpoints import open_host

    specs = wanted_endpoints(settings, generator=False)
    with in_service(settings, specs, minutes=30), open_host(settings) as host:
        try:
            yield
        finally:
            host.delete(specs[0].name)


if __name__ == "__main__":
    main()
