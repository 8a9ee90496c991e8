"""The models that are put to the test: how they are named, brought up, watched and taken down."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from ragwright.assembly import fetch_models, kept_alive
from ragwright.endpoints import EndpointSpec, Lease, generator_spec, open_host, processes
from ragwright.endpoints.gguf import read_gguf
from ragwright.endpoints.registry import Folder
from ragwright.errors import ConfigurationError
from ragwright.models import ModelInfo, get_model, resolve
from ragwright.progress import Progress, silent
from ragwright.settings import Settings

_SAGEMAKER = "sagemaker:"
_WIDTH = re.compile(r"(?:^|[._-])((?:I?Q\d\w*)|F16|F32|BF16|MXFP4)(?=[._-]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Subject:
    """A model to be asked.

    Attributes:
        name: As the user named it.
        settings: Under which it is asked.
        spec: What has to be deployed first; None for what runs already.
        about: What is known of it, by name.
    """

    name: str
    settings: Settings
    spec: EndpointSpec | None
    about: Mapping[str, str]


def subject(name: str, settings: Settings) -> Subject:
    """From the name of a model to where it runs.

    Args:
        name: One in models.toml; the path of a GGUF file; the URL of an OpenAI-compatible server; or `sagemaker:` and
            the name of an endpoint. Before the latter two may stand which model it is (`llama-2-7b-chat@http://...`);
            else it is the one that is set.
        settings: Of everything else.

    Raises:
        ConfigurationError: There is no such model, or it generates no text.
    """
    before, at, place = name.rpartition("@")
    if "://" in place or place.startswith(_SAGEMAKER):
        model = _language_model(before if at else settings.generation.model)
        return _running(name, model, place, settings)
    model = _language_model(name)
    # A server of its own: nobody else's questions are in its figures, and nobody misses it afterwards.
    slug = re.sub(r"[^a-z0-9]+", "-", Path(model.name).stem.lower()).strip("-")[:50]
    generation = {"endpoint": f"bench-{slug}", "model": model.name, "contract": "tgi"}
    asked = _asking(settings, generation)
    return Subject(name, asked, generator_spec(asked), _about(model))


def _running(name: str, model: ModelInfo, place: str, settings: Settings) -> Subject:
    about = _about(model) | {"runs": place}
    if place.startswith(_SAGEMAKER):
        generation = {"endpoint": place.removeprefix(_SAGEMAKER), "model": model.name, "contract": "tgi"}
        endpoints = settings.endpoints.model_copy(update={"host": "sagemaker"})
        return Subject(name, _asking(settings.model_copy(update={"endpoints": endpoints}), generation), None, about)
    asked = _asking(settings, {"endpoint": place, "model": model.name, "contract": "openai-chat"})
    return Subject(name, asked, None, about)


def _asking(settings: Settings, generation: Mapping[str, str]) -> Settings:
    """Greedy, so that the same model gives the same figures."""
    update = {**generation, "temperature": 0.0}
    return settings.model_copy(
        update={
            "generation": settings.generation.model_copy(update=update),
            "agent": settings.agent.model_copy(update={"temperature": 0.0}),
        }
    )


def _language_model(name: str) -> ModelInfo:
    model = get_model(name)
    if model.task != "text-generation":
        raise ConfigurationError(
            f"{name!r} is not a language model: its task is {model.task!r}",
            hint="Name one whose task is text-generation, the path of a .gguf file, or a URL.",
        )
    return model


def _about(model: ModelInfo) -> dict[str, str]:
    weights = model.files.get("model")
    if weights is None:
        return {}
    source = getattr(weights.sources[0], "path", None)
    size = source.stat().st_size if source is not None and source.is_file() else weights.size
    found = _WIDTH.search(source.stem if source is not None else Path(weights.filename).stem)
    return {
        name: value
        for name, value in {
            "weights": "" if size is None else f"{size / 1e6:,.0f} MB",
            "bits": found[1].upper() if found else "",
        }.items()
        if value
    }


def about_file(asked: Subject) -> dict[str, str]:
    """What the weights on this machine say of themselves, once they are here; nothing of others."""
    if asked.spec is None or asked.settings.endpoints.host != "local":
        return {}
    model = get_model(asked.spec.model)
    if model.runtime != "llama":
        return {}
    _, parameters, size = read_gguf(resolve(model.name, cache=asked.settings.model_folder)["model"])
    return {"parameters": f"{parameters / 1e6:,.0f} million", "width": f"{size * 8 / parameters:.1f}"}


class Memory:
    """The peak memory of a model's server, if it is a process of this machine."""

    def __init__(self, process: psutil.Process | None = None) -> None:
        self._process, self._most = process, 0

    def peak(self) -> int | None:
        """Most bytes of physical memory so far; None where nobody can tell.

        Linux keeps the peak itself; elsewhere it is the most that was there whenever this was asked.
        """
        if self._process is None:
            return None
        with suppress(psutil.Error, OSError):
            self._most = max(self._most, _high_water(self._process.pid) or self._process.memory_info().rss)
        return self._most or None


def _high_water(pid: int) -> int | None:
    status = Path("/proc") / str(pid) / "status"
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE) if status.exists() else None
    return int(found[1]) * 1024 if found else None


@contextmanager
def in_service(subject: Subject, *, run_id: str = "", progress: Progress = silent) -> Iterator[Memory]:
    """A model that answers for as long as the block runs; its endpoint is gone afterwards if it was made for this."""
    spec, settings = subject.spec, subject.settings
    if spec is None:
        yield Memory()
        return
    minutes = settings.endpoints.lease_minutes
    fetch_models(settings, [spec], progress=progress)
    with open_host(settings) as host:
        # One that a killed run left behind would have its peak behind it.
        host.delete(spec.name)
        try:
            host.deploy(spec, Lease.lasting(owner=settings.endpoints.owner, minutes=minutes, run_id=run_id))
            host.wait([spec.name], timeout=settings.endpoints.start_timeout_seconds)
            with kept_alive(settings, [spec.name], minutes=minutes):
                yield Memory(_process(settings, spec.name))
        finally:
            host.delete(spec.name)


def _process(settings: Settings, name: str) -> psutil.Process | None:
    if settings.endpoints.host != "local":
        return None
    folder = Folder(settings.home.resolve() / "endpoints", name)
    identity = folder.identity
    return processes.find(identity, lease_file=folder.lease_file) if identity else None
