"""Server-sent events, as each original writes them."""

from __future__ import annotations

from typing import Any

import orjson

from ragwright.endpoints import Contract

DONE = b"data: [DONE]\n\n"
"""Ends a stream of OpenAI's routes."""


def event(contract: Contract, content: Any) -> bytes:
    """One event; Text Generation Inference leaves no blank after the colon."""
    return (b"data: " if contract.startswith("openai-") else b"data:") + orjson.dumps(content) + b"\n\n"
