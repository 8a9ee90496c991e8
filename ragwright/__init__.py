"""Keep a question-answering index over an FAQ fresh, evaluated and honest.

This package is plain Python: it never imports Prefect. `tasks/` wraps its functions in retries, caches and
artifacts, `flows/` puts the tasks in order, and `ragwright.cli` calls the functions directly.
"""


def __getattr__(name: str) -> str:
    """`__version__`, read when asked for: the package metadata takes longer to import than everything else here."""
    if name == "__version__":
        from importlib.metadata import version

        return version("ragwright")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
