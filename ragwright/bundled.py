"""Files that come with ragwright: the FAQ, its questions, the agent's cases."""

from __future__ import annotations

from pathlib import Path


def bundled(name: str) -> Path:
    """Where such a file is: in the checkout, or in the installed package."""
    package = Path(__file__).resolve().parent
    checkout = package.parent / "data" / name
    return checkout if checkout.exists() else package / "data" / name
