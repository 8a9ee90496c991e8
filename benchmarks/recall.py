"""How many of the nearest records the index of a large space finds, where the vectors are those of real text.

    python benchmarks/recall.py --source medquad.jsonl --cache FOLDER --texts 200000

The records are the sentences of the source's questions and answers, each once, embedded by the model in this process;
asked are questions of the source, and the same with some of their words left out. Right is what numpy finds in exact
vectors. Prints one JSON object. 200,000 sentences take about ten minutes, nearly all of it for embedding; `--vectors`
keeps them for the next time.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from queries import BATCH, DIMENSION, NOW, K, fill

from ragwright.models import get_model
from ragwright.progress import silent
from ragwright.serving.runtimes import open_encoder
from ragwright.settings import Settings
from ragwright.sources import read
from ragwright.stores import vector_index
from ragwright.stores.lancedb import LanceDBStore
from ragwright.terms import sentences

LEFT_OUT = 0.3  # of a question's words, where it is asked in fewer


def main() -> None:
    """Embed, write, index, ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True)
    parser.add_argument("--cache", type=Path, required=True, help="folder of model files")
    parser.add_argument("--texts", type=int, default=200_000, help="sentences, at most")
    parser.add_argument("--questions", type=int, default=1_000)
    parser.add_argument("--vectors", type=Path, help="file (.npz) with vectors; made if it is not there")
    args = parser.parse_args()
    if not (args.vectors and args.vectors.exists()):
        made = embedded(args.source, args.cache, args.texts, args.questions)
        if args.vectors:
            np.savez(args.vectors, **made)
    else:
        made = dict(np.load(args.vectors))
    with tempfile.TemporaryDirectory() as folder, LanceDBStore(Path(folder), snapshot_bytes=0) as store:
        store.ensure_space("s", DIMENSION)
        names, vectors = fill(store, batches(made["texts"]))
        store.optimise("s")
        store.index("s")
        store.hold("s", NOW)
        result: dict[str, Any] = {
            "records": len(made["texts"]),
            "visible": len(names),
            "indexed": vector_index.exists(store._latest("s")),
        }
        for asked in ("whole", "fewer words"):
            result[asked] = recall(store, names, vectors, made[asked])
    print(json.dumps(result))


def embedded(source: str, cache: Path, texts: int, questions: int) -> dict[str, Any]:
    """Unit vectors, float32 [n, DIMENSION], of sentences and of questions as they are and in fewer words."""
    settings = Settings()
    rows = [row for part in read(source, settings.source) for row in part.select(["question", "answer"]).to_pylist()]
    every = dict.fromkeys(text for row in rows for column in row.values() for text in sentences(column))
    draw = random.Random(0)
    asked = draw.sample(sorted({row["question"] for row in rows}), questions)
    fewer = [" ".join(word for word in one.split() if draw.random() > LEFT_OUT) or one for one in asked]
    encoder = open_encoder(get_model(settings.embedding.model), cache=cache, progress=silent)

    def unit(given: list[str]) -> Any:
        vectors = encoder.sentence_vectors(encoder.tokenize(given, truncate=True))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    found = {"texts": unit(list(every)[:texts]), "whole": unit(asked), "fewer words": unit(fewer)}
    encoder.close()
    return found


def batches(vectors: Any) -> Iterator[Any]:
    """As many at once as are written at once."""
    for start in range(0, len(vectors), BATCH):
        yield vectors[start : start + BATCH]


def recall(store: LanceDBStore, names: list[str], vectors: Any, questions: Any) -> float:
    """Share of the nearest K, by exact cosine, that the store finds; what ties with the last of them is as near."""
    place = {name: number for number, name in enumerate(names)}
    right = 0
    for question in questions:
        near = vectors @ question
        least = np.partition(near, -K)[-K]
        found = store.query("s", question, k=K, as_of=NOW)
        right += sum(near[place[match.record_id]] >= least - 1e-6 for match in found)
    return right / (K * len(questions))


if __name__ == "__main__":
    main()
