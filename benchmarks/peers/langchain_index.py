"""One pass of LangChain's `index()` with its SQL record manager, from the file to the store.

    python benchmarks/peers/langchain_index.py --source faq.jsonl --state FOLDER --store none|chroma

Needs the packages in requirements.txt beside this file, in an environment of their own.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from encoders import Encoder
from langchain_classic.indexes import SQLRecordManager
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.indexing import index
from langchain_core.vectorstores import VectorStore
from langchain_text_splitters import RecursiveCharacterTextSplitter
from measured import measure

BATCH = 1_000


class SharedEmbeddings(Embeddings):
    """LangChain's port to the encoder that all peers share."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text."""
        return self._encoder(texts)

    def embed_query(self, text: str) -> list[float]:
        """The same for a question."""
        return self._encoder([text])[0]


class NoStore(VectorStore):
    """Keeps nothing: what is left is the cost of knowing what changed."""

    def __init__(self, embeddings: Embeddings) -> None:
        self._embeddings = embeddings

    def add_documents(self, documents: list[Document], **_: Any) -> list[str]:
        """Embed and forget."""
        self._embeddings.embed_documents([document.page_content for document in documents])
        return []

    def delete(self, ids: list[str] | None = None, **_: Any) -> bool:
        """There is nothing to delete."""
        return True

    def similarity_search(self, query: str, k: int = 4, **_: Any) -> list[Document]:
        """There is nothing to find."""
        return []

    @classmethod
    def from_texts(cls, texts: list[str], embedding: Any, metadatas: Any = None, **_: Any) -> NoStore:
        """Needed by the base class."""
        return cls(embedding)


def main() -> None:
    """Measure one pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--store", choices=("none", "chroma"), default="none")
    parser.add_argument("--encoder", choices=("constant", "endpoint"), default="constant")
    args = parser.parse_args()
    args.state.mkdir(parents=True, exist_ok=True)
    encoder = Encoder(args.encoder)
    embeddings = SharedEmbeddings(encoder)
    store: VectorStore = NoStore(embeddings)
    if args.store == "chroma":
        from langchain_chroma import Chroma

        store = Chroma("bench", embeddings, persist_directory=str(args.state / "chroma"))

    def work() -> dict[str, Any]:
        records = SQLRecordManager("bench", db_url=f"sqlite:///{args.state / 'records.sqlite'}")
        records.create_schema()
        splitter = RecursiveCharacterTextSplitter(chunk_size=1_000, chunk_overlap=100)
        found = index(
            splitter.split_documents(documents(args.source)),
            records,
            store,
            cleanup="full",
            source_id_key="source",
            batch_size=BATCH,
            key_encoder="blake2b",
        )
        return {"embedded": encoder.embedded, **found}

    measure(work)


def documents(source: str) -> Iterable[Document]:
    """One document a row, as ragwright embeds it: the question, then the answer."""
    with open(source, encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield Document(f"{row['question']}\n{row['answer']}", metadata={"source": row["question"]})


if __name__ == "__main__":
    main()
