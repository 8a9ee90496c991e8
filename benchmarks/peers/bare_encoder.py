"""The limit of a first index: its sections through the encoder alone, in this process, sorted by length.

python benchmarks/peers/bare_encoder.py --source faq.jsonl --cache FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from measured import measure

from ragwright.chunking import chunk_rows
from ragwright.embedding import EndpointEmbedder
from ragwright.endpoints import NoEndpoint
from ragwright.models import get_model, load_tokenizer
from ragwright.progress import silent
from ragwright.serving.runtimes import open_encoder
from ragwright.settings import Settings
from ragwright.sources import read


def main() -> None:
    """Measure one pass; the encoder has seen every shape before the clock starts, as one in service has."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True)
    parser.add_argument("--cache", type=Path, required=True)
    args = parser.parse_args()
    settings = Settings()
    info = get_model(settings.embedding.model)
    tokenizer = load_tokenizer(info.name, cache=args.cache)
    with EndpointEmbedder(NoEndpoint("none", "tei"), info, tokenizer, settings.embedding) as embedder:
        texts = list(
            dict.fromkeys(
                text
                for rows in read(args.source, settings.source)
                for text in chunk_rows(rows, embedder, settings.chunking)["embed_text"].to_pylist()
            )
        )
    encoder = open_encoder(info, cache=args.cache, progress=silent)
    encoder.sentence_vectors(encoder.tokenize(texts[:: max(1, len(texts) // 500)], truncate=True))

    def work() -> dict[str, Any]:
        vectors = encoder.sentence_vectors(encoder.tokenize(texts, truncate=True))
        return {"embedded": len(vectors)}

    measure(work)
    encoder.close()


if __name__ == "__main__":
    main()
