"""One pass of LlamaIndex's `IngestionPipeline` with a docstore, from the file to the store.

    python benchmarks/peers/llamaindex_pipeline.py --source faq.jsonl --state FOLDER --store none|chroma

The docstore knows what has changed, so a scheduled job has to load it and to save it: both are part of the pass. What
the pipeline caches of its own (every text with its vector, in one file) is turned off: the docstore makes it needless.
Stored texts stay in the docstore, as they do by default.

The pipeline writes all in one call, which its adapter for Chroma refuses from 5,462 sections on; the one here writes in
parts. Its own `SimpleVectorStore` takes minutes to load and to save as many vectors, and its adapter for LanceDB fails
at the first document that changed.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from encoders import Encoder
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import BaseNode, Document, MetadataMode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores.types import BasePydanticVectorStore, VectorStoreQuery, VectorStoreQueryResult
from measured import measure
from pydantic import PrivateAttr

BATCH, CHROMA_WRITES = 1_000, 5_000


class SharedEmbedding(BaseEmbedding):
    """LlamaIndex's port to the encoder that all peers share."""

    _encoder: Encoder = PrivateAttr()

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(model_name="bench", embed_batch_size=BATCH)
        self._encoder = encoder

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._encoder(texts)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._encoder([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._encoder([query])[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)


class NoStore(BasePydanticVectorStore):
    """Keeps nothing: what is left is the cost of knowing what changed."""

    stores_text: bool = True

    @property
    def client(self) -> None:
        """There is none."""

    def add(self, nodes: list[BaseNode], **_: Any) -> list[str]:
        """Forget them."""
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **_: Any) -> None:
        """There is nothing to delete."""

    def query(self, query: VectorStoreQuery, **_: Any) -> VectorStoreQueryResult:
        """There is nothing to find."""
        return VectorStoreQueryResult()


class InParts(NoStore):
    """Chroma, written in calls as large as it takes."""

    _collection: Any = PrivateAttr()

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._collection = chroma_collection(folder)

    def add(self, nodes: list[BaseNode], **_: Any) -> list[str]:
        """Vectors with their texts, and the document that they are of."""
        for start in range(0, len(nodes), CHROMA_WRITES):
            part = nodes[start : start + CHROMA_WRITES]
            self._collection.add(
                ids=[node.node_id for node in part],
                embeddings=[node.get_embedding() for node in part],
                documents=[node.get_content(metadata_mode=MetadataMode.NONE) for node in part],
                metadatas=[{"document_id": node.ref_doc_id} for node in part],
            )
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **_: Any) -> None:
        """All of one document."""
        self._collection.delete(where={"document_id": ref_doc_id})


def chroma_collection(folder: Path) -> Any:
    """In which vectors lie; chromadb is imported where it is used."""
    import chromadb

    return chromadb.PersistentClient(str(folder)).get_or_create_collection("bench", embedding_function=None)


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
    docstore = args.state / "docstore.json"
    store = InParts(args.state / "chroma") if args.store == "chroma" else NoStore()
    splitter = SentenceSplitter(chunk_size=256, chunk_overlap=25)  # loads its tokenizer

    def work() -> dict[str, Any]:
        pipeline = IngestionPipeline(
            transformations=[splitter, SharedEmbedding(encoder)],
            vector_store=store,
            docstore=SimpleDocumentStore.from_persist_path(str(docstore))
            if docstore.exists()
            else SimpleDocumentStore(),
            docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
            disable_cache=True,
        )
        nodes = pipeline.run(documents=list(documents(args.source)))
        pipeline.docstore.persist(str(docstore))
        return {"embedded": encoder.embedded, "written": len(nodes)}

    measure(work)


def documents(source: str) -> Iterable[Document]:
    """One document a row: the question, then the answer; known by its question, and which of those it is."""
    times: Counter[str] = Counter()
    with open(source, encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            times[row["question"]] += 1
            yield Document(
                id_=f"{row['question']}#{times[row['question']]}", text=f"{row['question']}\n{row['answer']}"
            )


if __name__ == "__main__":
    main()
