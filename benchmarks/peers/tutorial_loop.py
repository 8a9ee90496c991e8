"""One pass of the loop that tutorials show: answers only, two at a time, each pair embedded and then written.

    python benchmarks/peers/tutorial_loop.py --source faq.jsonl --state FOLDER --store none|chroma

Nothing is checked, split or remembered: a second pass does it all again, and the rows that went stay.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from encoders import Encoder
from measured import measure

BATCH = 2


def main() -> None:
    """Measure one pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--store", choices=("none", "chroma"), default="chroma")
    parser.add_argument("--encoder", choices=("constant", "endpoint"), default="constant")
    args = parser.parse_args()
    args.state.mkdir(parents=True, exist_ok=True)
    encoder = Encoder(args.encoder)
    collection: Any = None
    if args.store == "chroma":
        import chromadb

        collection = chromadb.PersistentClient(str(args.state / "chroma")).get_or_create_collection(
            "bench", embedding_function=None
        )

    def work() -> dict[str, Any]:
        with open(args.source, encoding="utf-8") as file:
            answers = [json.loads(line)["answer"] for line in file]
        for start in range(0, len(answers), BATCH):
            texts = answers[start : start + BATCH]
            vectors = encoder(texts)
            if collection is not None:
                ids = [str(start + number) for number in range(len(texts))]
                collection.upsert(ids=ids, embeddings=vectors, metadatas=[{"text": text} for text in texts])
        return {"embedded": encoder.embedded, "written": len(answers)}

    measure(work)


if __name__ == "__main__":
    main()
