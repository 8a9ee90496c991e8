"""What an index looks like after it was mistreated: the same as one from scratch, and nothing lies around."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from typing import Any
from unittest import mock

import numpy as np

from ragwright.chunking import embedded_text, text_format
from ragwright.embedding import open_embedder
from ragwright.hashing import hash_embed
from ragwright.index.attempt import manifest_of, open_catalog
from ragwright.index.reader import IndexReader
from ragwright.index.reindex import writer_lease
from ragwright.index.vacuum import vacuum
from ragwright.settings import Settings
from ragwright.stores import open_store
from ragwright.stores.lancedb import LanceDBStore

_LITTER = re.compile(r".*#\d+|.*\.(tmp|part|partial|draft)|\.dropped-.*|\.tmp.*")


def compare(settings: Settings, scratch: Settings) -> list[str]:
    """What readers of two indexes over the same source see differently: whole contents, and answers to questions."""
    one, other = shown(settings), shown(scratch)
    found = [
        f"row {row}: {one.get(row)!r} instead of {other.get(row)!r}"
        for row in one.keys() | other
        if one.get(row) != other.get(row)
    ]
    questions = [question for question, _ in list(other.values())[::20]]
    answers, expected = _answers(settings, questions), _answers(scratch, questions)
    return found[:5] + [f"{q!r} is answered otherwise" for q in questions if answers[q] != expected[q]][:5]


def shown(settings: Settings) -> dict[int, tuple[str, str]]:
    """Every row that the live generation shows, each a single section: question and text by row number.

    Raises:
        AssertionError: The store does not show what the manifest says, or a vector is not its text's.
    """
    with open_catalog(settings) as catalog, open_store(settings.store_spec) as store:
        head = catalog.head().last
        assert head is not None
        rows = {line["record_id"]: line["row"] for line in manifest_of(catalog, head.generation).to_pylist()}
        records = [record for batch in store.scan(head.space, as_of=head.generation) for record in batch.to_pylist()]
    assert sorted(record["record_id"] for record in records) == sorted(rows)
    texts = [embedded_text(r["question"], r["text"], text_format(settings.chunking)) for r in records]
    vectors = np.array([record["vector"] for record in records])
    wrong = ~np.isclose(vectors, hash_embed(texts, vectors.shape[1]), atol=1e-5).all(axis=1)
    assert not wrong.any(), f"{wrong.sum()} vectors belong to other texts, such as {texts[int(wrong.argmax())]!r}"
    return {rows[record["record_id"]]: (record["question"], record["text"]) for record in records}


def leftovers(settings: Settings) -> list[str]:
    """Vacuum down to the live generation, and name what is there without being of use to anyone."""
    with (
        open_catalog(settings) as catalog,
        open_store(settings.store_spec) as store,
        writer_lease(settings) as lease,
        # Files of unfinished commits go once they are old enough.
        mock.patch("ragwright.stores.lancedb._KEEP_VERSIONS", timedelta(milliseconds=1)),
    ):
        vacuum(catalog, store, lease, keep=1, settle=0)
        vacuum(catalog, store, lease, keep=1, settle=0)
        head = catalog.head().last
        assert head is not None
        found = [f"space {space} is left" for space in store.spaces() if space != head.space]
        ended = sum(len(batch) for batch in store.scan(head.space)) - len(manifest_of(catalog, head.generation))
        found += [f"{ended} records are left that no generation shows"] if ended else []
    leases = [catalog.read_json(f"writer/{name}") or {} for name in catalog.names("writer")]
    found += (
        [f"{len(leases)} leases are left: {leases}"] if [lease.get("released") for lease in leases] != [True] else []
    )
    litter = [path for path in settings.home.rglob("*") if _LITTER.fullmatch(path.name)]
    if litter:
        time.sleep(2)  # LanceDB's own threads may be at work on a file of the vacuum just now
    found += [f"{path} is left" for path in litter if path.exists()]
    if isinstance(store, LanceDBStore):
        data = list((settings.home / "store" / f"{head.space}.lance" / "data").iterdir())
        # One file of live rows, and perhaps the one it was made from.
        found += [f"{len(data)} data files are left"] if len(data) > 2 else []
    return found


def _answers(settings: Settings, questions: list[str]) -> dict[str, Any]:
    with (
        open_catalog(settings) as catalog,
        open_store(settings.store_spec) as store,
        open_embedder(settings) as embedder,
    ):
        reader = IndexReader(catalog, store, embedder)
        return {
            question: [(m.row, m.question, m.text, round(m.score, 5)) for m in reader.search(question, 3).matches]
            for question in questions
        }
