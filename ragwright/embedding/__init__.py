"""Turning texts into vectors: the port, its implementations, and how one is opened."""

from ragwright.embedding.endpoint import EndpointEmbedder, plan_batches
from ragwright.embedding.hashed import HashingEmbedder
from ragwright.embedding.opening import open_embedder
from ragwright.embedding.port import Embedder, EmbedsAhead, Kind, TokenVectors, Vectors, embed_each

__all__ = [
    "Embedder",
    "EmbedsAhead",
    "EndpointEmbedder",
    "HashingEmbedder",
    "Kind",
    "TokenVectors",
    "Vectors",
    "embed_each",
    "open_embedder",
    "plan_batches",
]
