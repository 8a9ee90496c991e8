"""Models by name: what they are, and their files, fetched once and checked by SHA-256."""

from ragwright.models.catalog import (
    HubSource,
    ModelFile,
    ModelInfo,
    PathSource,
    S3Source,
    Source,
    WheelSource,
    get_model,
    load_catalog,
)
from ragwright.models.resolver import ModelFiles, resolve
from ragwright.models.tokenizer import load_tokenizer

__all__ = [
    "HubSource",
    "ModelFile",
    "ModelFiles",
    "ModelInfo",
    "PathSource",
    "S3Source",
    "Source",
    "WheelSource",
    "get_model",
    "load_catalog",
    "load_tokenizer",
    "resolve",
]
