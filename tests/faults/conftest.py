"""What fault tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from forked_runs import WarmRunner


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmRunner]:
    """Starts re-indexing processes without waiting for their imports."""
    with WarmRunner(tmp_path_factory.mktemp("runs")) as runner:
        yield runner
