"""A source that has changed is told to Prefect, where it starts a re-index."""

from __future__ import annotations

from prefect import flow

from flows import run_names
from flows.parameters import Index, Source
from tasks.secrets import flow_settings
from tasks.watching import look_at_source, tell_change


@flow(name="watch_source", flow_run_name=run_names.watch_source)
def watch_source(source: Source = "data/sagemaker_faq.csv", index: Index = "faq") -> bool:
    """Look whether a source has changed, without reading it; returns whether it has.

    Args:
        source: The FAQ: a path, s3:// or https://. One that nobody has looked at counts as changed.
        index: Name of the index that is made from it.
    """
    settings = flow_settings(index=index)
    change = look_at_source(settings, source)
    if change:
        tell_change(settings, change)
    return change is not None


if __name__ == "__main__":
    watch_source()
