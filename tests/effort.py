"""How hard the tests look for a counter-example."""

from __future__ import annotations

import os

EFFORT = int(os.environ.get("RAGWRIGHT_TEST_EFFORT", "1"))
"""How many times more examples and histories to try than in an ordinary run of the tests."""
