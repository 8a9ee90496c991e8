"""What runs are called in the UI: sentences about what they do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from prefect.runtime import flow_run


def pipeline() -> str:
    """As in "Main job: faq from sagemaker_faq.csv"."""
    told = flow_run.parameters
    return f"Main job: {told['index']} from {_file(told['source'])}"


def reindex() -> str:
    """As in "Re-index faq from sagemaker_faq.csv", and what is unusual about it."""
    told = flow_run.parameters
    changes, gate = told["changes"], told["gate"]
    unusual = [
        "everything embedded again" if changes.full else "",
        "going on" if changes.resume else "",
        "mass deletion allowed" if changes.allow_mass_delete else "",
        "" if gate.mode == "as set" else f"gate: {gate.mode}",
    ]
    return f"Re-index {told['index']} from {_file(told['source'])}{_aside(*unusual)}"


def evaluation() -> str:
    """As in "Evaluate what faq shows", or "Evaluate generation 3 of faq"."""
    told = flow_run.parameters
    index, generation, sample = told["index"], told["generation"], told["questions"].sample
    what = f"generation {generation} of {index}" if generation else f"what {index} shows"
    return f"Evaluate {what}{_aside(_counted(sample, 'questions'))}"


def provision() -> str:
    """As in "Start endpoints for 60 minutes", or "Start the embedder for 60 minutes"."""
    told = flow_run.parameters
    what = "endpoints" if told["generator"] else "the embedder"
    return f"Start {what} for {told['minutes']:g} minutes"


def teardown() -> str:
    """As in "Stop endpoints (dry run)", or "Stop minilm-demo and smollm2-demo"."""
    told = flow_run.parameters
    what = "endpoints" if told["names"] is None else _listed(told["names"]) or "no endpoint"
    return f"Stop {what}{_aside('dry run' if told['dry_run'] else '')}"


def rollback() -> str:
    """As in "Roll faq back to generation 3"."""
    told = flow_run.parameters
    target = f"generation {told['to']}" if told["to"] else "the generation before"
    return f"Roll {told['index']} back to {target}"


def publish() -> str:
    """As in "Publish generation 7 of faq by hand"."""
    told = flow_run.parameters
    return f"Publish generation {told['generation']} of {told['index']} by hand"


def janitor() -> str:
    """As in "Clean up after faq"."""
    told = flow_run.parameters
    return f"Clean up after {told['index']}{_aside(_counted(told['keep'], 'generations kept'))}"


def watch_source() -> str:
    """As in "Has sagemaker_faq.csv changed?"."""
    return f"Has {_file(flow_run.parameters['source'])} changed?"


def agent_benchmark() -> str:
    """As in "Benchmark two-models and another as agents (12 cases)"."""
    told = flow_run.parameters
    models = _listed([_model(name) for name in told["models"]]) or "the model that is set"
    as_what = "agents" if len(told["models"]) > 1 else "an agent"
    return f"Benchmark {models} as {as_what}{_aside(_counted(told['sample'], 'cases'))}"


def _file(source: str) -> str:
    """The file's name; of an address never what follows, which may be a signature."""
    path = urlsplit(source).path if "://" in source else source
    return PurePosixPath(path).name or "its source"


def _model(name: str) -> str:
    """A model's name without the address of its server."""
    model, at, _ = name.partition("@")
    return model if at else "a server's model" if "://" in name else PurePosixPath(name).name


def _listed(names: Sequence[str]) -> str:
    """Names as one writes them: "one", "one and another", "one, another and a third"."""
    *others, last = [*names] or [""]
    return f"{', '.join(others)} and {last}" if others else last


def _counted(count: int, of_what: str) -> str:
    """Nothing where zero stands for the usual number."""
    return f"{count} {of_what}" if count else ""


def _aside(*remarks: str) -> str:
    """What there is to remark, in brackets."""
    made = ", ".join(filter(None, remarks))
    return f" ({made})" if made else ""
