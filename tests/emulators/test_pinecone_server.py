from __future__ import annotations

from collections.abc import Iterator

import pytest
from pinecone import Pinecone, RetryConfig, ServerlessSpec
from pinecone_server import PineconeServer


@pytest.fixture
def server() -> Iterator[PineconeServer]:
    with PineconeServer() as server:
        yield server


def test_the_sdk_creates_writes_and_queries(server: PineconeServer) -> None:
    client = Pinecone(api_key=server.api_key, host=server.url, retry_config=RetryConfig(max_retries=0))
    client.indexes.create(name="faq", dimension=3, spec=ServerlessSpec(cloud="aws", region="us-east-1"))
    index = client.index(name="faq")
    records = [{"id": f"r{i}", "values": [1, i, 0], "metadata": {"born": i}} for i in range(5)]
    index.upsert(vectors=records, namespace="s")
    found = index.query(vector=[1, 0, 0], top_k=2, namespace="s", filter={"born": {"$lte": 3}})
    assert [match.id for match in found.matches] == ["r0", "r1"]
