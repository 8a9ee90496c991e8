"""Keep a question-answering index over an FAQ fresh, evaluated and honest.

This package is plain Python: it never imports Prefect. `tasks/` wraps its functions in retries, caches and
artifacts, `flows/` puts the tasks in order, and `ragwright.cli` calls the functions directly.
"""

from importlib.metadata import version

__version__ = version("ragwright")
