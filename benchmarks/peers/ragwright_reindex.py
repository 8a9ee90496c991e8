"""One re-index by ragwright, as its command line does it, in a process of its own.

python benchmarks/peers/ragwright_reindex.py --source faq.jsonl --state FOLDER --embedder constant
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measured import DIMENSION, constant_time_vectors, measure

from ragwright.documents import Fingerprint
from ragwright.index import reindex as stages
from ragwright.index.attempt import ReindexRequest
from ragwright.settings import Settings

STAGES = (
    "begin",
    "stage_source",
    "chunk_partition",
    "make_plan",
    "write_partition",
    "retire",
    "verify_candidate",
    "calibrate_candidate",
    "finish",
)
"""Of a re-index, by the names under which it calls them; some are called once a partition."""


class ConstantTimeEmbedder:
    """Costs next to nothing; a token is a space."""

    max_tokens = 256
    fingerprint = Fingerprint("constant", "1", "none", True, DIMENSION)

    def embed(self, texts: Sequence[str], *, kind: str = "document") -> Any:
        """float32 [len(texts), DIMENSION]."""
        return constant_time_vectors(texts)

    def token_vectors(self, texts: Sequence[str]) -> Any:
        """None: it knows no words."""
        return None

    def count_tokens(self, texts: Sequence[str]) -> Any:
        """int32 [n]: as many as there are spaces, and room for the special ones."""
        return np.array([text.count(" ") + 3 for text in texts], np.int32)

    def close(self) -> None:
        """Nothing to give back."""

    def __enter__(self) -> ConstantTimeEmbedder:
        return self

    def __exit__(self, *_: object) -> None: ...


def settings_of(state: Path, embedder: str, cache: Path | None = None) -> Settings:
    """Settings of an index below `state`; `embedder` is `constant`, `minilm` or `hashing:DIMENSION`."""
    endpoint = "minilm-demo" if embedder in {"constant", "minilm"} else embedder
    return Settings(
        home=state, model_cache=cache, embedding={"endpoint": endpoint}, generation={"endpoint": "none"}, index="bench"
    )


def stage_seconds() -> dict[str, float]:
    """Seconds of each stage of the re-indexes of this process from now on; filled as they run."""
    taken = dict.fromkeys(STAGES, 0.0)

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def followed(*args: Any, **given: Any) -> Any:
            started = time.perf_counter()
            try:
                return work(*args, **given)
            finally:
                taken[name] = round(taken[name] + time.perf_counter() - started, 3)

        return followed

    for name in STAGES:
        setattr(stages, name, timed(name, getattr(stages, name)))
    return taken


def main() -> None:
    """Measure one re-index; the packages that it would import on its way are there before."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--embedder", default="constant", help="constant, minilm or hashing:DIMENSION")
    parser.add_argument("--cache", type=Path, help="folder of model files")
    parser.add_argument("--imports", nargs="*", default=["lancedb"])
    args = parser.parse_args()
    if args.embedder == "constant":
        stages.open_embedder = lambda *_, **__: ConstantTimeEmbedder()
    for name in args.imports:
        importlib.import_module(name)
    settings = settings_of(args.state, args.embedder, args.cache)
    request = ReindexRequest(source=args.source)
    taken = stage_seconds()
    measure(lambda: {"report": stages.reindex(settings, request).to_json(), "stages": taken})


if __name__ == "__main__":
    main()
