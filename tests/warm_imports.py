"""What a process does before it forks runs, so that each of them starts at once.

Nothing is connected, nothing is read from a store and no thread runs: none of these survives a fork.
"""

from __future__ import annotations


def warm() -> None:
    """Import what takes a re-index seconds to import, and compile the templates of the Data Docs."""
    import great_expectations
    import lancedb

    import ragwright.index.reindex
    import ragwright.quality.docs
    import ragwright.stores.lancedb

    warmed = (great_expectations, lancedb, ragwright.index.reindex, ragwright.stores.lancedb)
    assert all(warmed)
    templates = ragwright.quality.docs._view().env
    for name in templates.list_templates(extensions=["j2"]):
        templates.get_template(name)
