"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def model_cache() -> Path:
    """Where tests keep model files, so that a machine fetches each of them once. Nothing is fetched here."""
    own = Path(__file__).resolve().parents[1] / ".cache" / "models"
    return Path(os.environ.get("RAGWRIGHT_TEST_CACHE", own))
