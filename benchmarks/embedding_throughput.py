"""What the way through an endpoint costs: embedding throughput with it, as a share of the bare encoder's.

The bare encoder is the server's own runtime called in this process, with sorted batches. The way through an endpoint
adds a server process, HTTP, JSON, the server's queue and every check of the client. The two take turns on the same
texts, so that a slow moment of the machine hits both.

    python benchmarks/embedding_throughput.py --json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from processes import unwind_on_sigterm

from ragwright.chunking import chunk_rows
from ragwright.embedding import EndpointEmbedder
from ragwright.endpoints import EndpointSpec, Lease
from ragwright.endpoints.local import LocalHost
from ragwright.model_settings import EmbeddingSettings
from ragwright.models import get_model, load_tokenizer
from ragwright.progress import silent
from ragwright.serving.runtimes import Encoder, open_encoder
from ragwright.settings import load_settings
from ragwright.sources import read

TARGET = 0.85


def main() -> int:
    """Measure, print, and exit 1 below the target."""
    unwind_on_sigterm()
    defaults = EmbeddingSettings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="data/sagemaker_faq.csv", help="FAQ whose sections are embedded")
    parser.add_argument("--texts", type=int, default=384, help="how many; sections are repeated, with a number")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--model", default=defaults.model)
    parser.add_argument("--contract", default=defaults.contract)
    parser.add_argument("--batch-texts", type=int, default=defaults.batch_texts)
    parser.add_argument("--batch-tokens", type=int, default=defaults.batch_tokens)
    parser.add_argument("--concurrency", type=int, default=defaults.concurrency)
    parser.add_argument("--cache", type=Path, default=load_settings().home / "models", help="folder of model files")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    settings = EmbeddingSettings(
        model=args.model,
        contract=args.contract,
        batch_texts=args.batch_texts,
        batch_tokens=args.batch_tokens,
        concurrency=args.concurrency,
    )
    with endpoint_embedder(settings, args.cache) as embedder:
        texts = sections(args.source, args.texts, embedder)
        encoder = open_encoder(get_model(args.model), cache=args.cache, progress=silent)
        result = compare(texts, embedder, encoder, args.repeats)
        encoder.close()
    result |= {"model": args.model, "contract": args.contract, "batch_texts": args.batch_texts}
    result |= {"batch_tokens": args.batch_tokens, "concurrency": args.concurrency, "target": TARGET}
    print(json.dumps(result) if args.json else table(result))
    return 0 if result["ratio"]["median"] >= TARGET else 1


@contextmanager
def endpoint_embedder(settings: EmbeddingSettings, cache: Path) -> Iterator[EndpointEmbedder]:
    """A real server process of its own, gone afterwards."""
    with tempfile.TemporaryDirectory() as home, LocalHost(Path(home), cache=cache) as host:
        spec = EndpointSpec(name="bench", model=settings.model, contract=settings.contract)
        try:
            host.deploy(spec, Lease.lasting(owner="benchmark", minutes=20))
            host.wait([spec.name], timeout=180)
            tokenizer = load_tokenizer(settings.model, cache=cache)
            with EndpointEmbedder(host.connect(spec.name), get_model(settings.model), tokenizer, settings) as embedder:
                yield embedder
        finally:
            host.delete(spec.name)


def sections(source: str, count: int, embedder: EndpointEmbedder) -> list[str]:
    """Texts of real length: the FAQ's own sections, as a re-index would embed them."""
    settings = load_settings()
    texts = [
        text
        for rows in read(source, settings.source)
        for text in chunk_rows(rows, embedder, settings.chunking)["embed_text"].to_pylist()
    ]
    numbered = [f"{i} {text}" for i, text in enumerate(islice(cycle(texts), count))]
    fits = embedder.count_tokens(numbered) <= embedder.max_tokens
    return [text for text, short_enough in zip(numbered, fits, strict=True) if short_enough]


def compare(texts: Sequence[str], embedder: EndpointEmbedder, encoder: Encoder, repeats: int) -> dict[str, Any]:
    """Let both embed the same texts by turns."""

    def bare() -> np.ndarray:
        return encoder.sentence_vectors(encoder.tokenize(texts, truncate=False))

    def served() -> np.ndarray:
        return embedder.embed(texts)

    expected = bare()  # the first time of every shape is slow: both are run once without a clock
    found = served()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    seconds: dict[str, list[float]] = {"bare": [], "endpoint": []}
    for _ in range(repeats):
        seconds["bare"].append(timed(bare))
        seconds["endpoint"].append(timed(served))
    tokens = embedder.count_tokens(texts)
    return {
        "texts": len(texts),
        "tokens_per_text": round(float(tokens.mean()), 1),
        "repeats": repeats,
        "worst_cosine": round(float((expected * found).sum(axis=1).min()), 6),
        "seconds": seconds,
        "bare_texts_per_second": spread([len(texts) / taken for taken in seconds["bare"]]),
        "endpoint_texts_per_second": spread([len(texts) / taken for taken in seconds["endpoint"]]),
        "ratio": spread([b / e for b, e in zip(seconds["bare"], seconds["endpoint"], strict=True)], digits=3),
    }


def timed(work: Callable[[], object]) -> float:
    """Seconds of wall time."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def spread(values: Sequence[float], digits: int = 1) -> dict[str, float]:
    """Median, least and most."""
    named = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, digits) for name, value in named.items()}


def table(result: dict[str, Any]) -> str:
    """For a reader."""
    lines = [f"{result['texts']} texts of {result['tokens_per_text']} tokens, {result['repeats']} times by turns"]
    for name in ("bare_texts_per_second", "endpoint_texts_per_second", "ratio"):
        figures = result[name]
        lines.append(f"  {name:<26} {figures['median']:>8} ({figures['min']} to {figures['max']})")
    lines.append(f"  target for the ratio       {result['target']:>8}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
