"""`ragwright doctor`: whether this machine and these settings can do the job, and what to do where they cannot."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ragwright.cli.session import Session, verb
from ragwright.errors import PermanentError, RagwrightError

if TYPE_CHECKING:
    from rich.console import Console

    from ragwright.endpoints import EndpointInfo
    from ragwright.progress import Progress
    from ragwright.settings import Settings

GIGABYTE = 1e9
# The models of the default settings and their servers, with room for an index of some ten thousand rows.
ENOUGH_DISK, LITTLE_DISK = 2 * GIGABYTE, 0.3 * GIGABYTE
ENOUGH_MEMORY, LITTLE_MEMORY = 2 * GIGABYTE, 0.5 * GIGABYTE
CONNECT_SECONDS = 3.0
RUNTIMES = {"openvino": "openvino", "llama": "xllamacpp"}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, and the next step where there is one."""

    name: str
    status: Literal["ok", "unknown", "warn", "fail"]
    detail: str
    hint: str | None = None


@verb
def doctor(
    session: Session,
    fetch: Annotated[bool, typer.Option("--fetch", help="Fetch model files that are missing.")] = False,
    profile: Annotated[
        str | None, typer.Option("--profile", help="Check for this profile: local, or aws (RAGWRIGHT_PROFILE).")
    ] = None,
) -> None:
    """Check this machine, the account where the settings name one, and the settings; exit 1 if a run would fail."""
    with session.progress() as progress:
        checks = list(_examine(session, progress if fetch else None, profile))
    found = {check.status for check in checks}
    worst = next((status for status in ("fail", "warn", "unknown") if status in found), "ok")
    session.show({"status": worst, "checks": [asdict(check) for check in checks]}, lambda out: _print(out, checks))
    if worst == "fail":
        raise typer.Exit(1)


def _examine(session: Session, progress: Progress | None, profile: str | None) -> Iterator[Check]:
    yield from _machine()
    try:
        settings = session.settings(profile=profile)
    except RagwrightError as error:
        yield failed("settings", error)
        return
    parts: tuple[tuple[str, Callable[[], Iterator[Check]]], ...] = (
        ("settings", _sources),
        ("home", lambda: _home(settings.home)),
        ("models", lambda: _models(settings, progress)),
        ("account", lambda: _account(settings)),
        ("endpoints", lambda: _endpoints(settings)),
        ("index", lambda: _index(settings)),
    )
    for name, part in parts:
        try:
            for check in part():
                yield check
                if check.name == "credentials" and check.status != "ok":
                    return  # what follows could only say the same again
        except RagwrightError as error:
            yield failed(name, error)


def failed(name: str, error: RagwrightError) -> Check:
    """A check that ended with an error: a warning if it may pass."""
    detail = f"{error.place}: {error.what}" if error.place else error.what
    return Check(name, "fail" if isinstance(error, PermanentError) else "warn", detail, error.hint)


def _machine() -> Iterator[Check]:
    import platform
    import socket

    import psutil

    python = ".".join(map(str, sys.version_info[:3]))
    if os.name == "posix":
        yield Check("python", "ok", f"Python {python} on {platform.system()} {platform.machine()}")
    else:
        yield Check("python", "fail", f"{platform.system()} has no flock", "Use Linux or macOS (on Windows: WSL).")
    available, total = psutil.virtual_memory().available, psutil.virtual_memory().total
    yield _amount(
        "memory", available, ENOUGH_MEMORY, LITTLE_MEMORY, f" of {total / GIGABYTE:.1f} GB", "End other programs."
    )
    try:
        with socket.create_server(("127.0.0.1", 0)):
            yield Check("ports", "ok", "local servers can listen on 127.0.0.1")
    except OSError as error:
        yield Check(
            "ports", "fail", f"nothing can listen on 127.0.0.1: {error.strerror}", "Allow programs to use the loopback."
        )


def _amount(name: str, free: float, enough: float, little: float, suffix: str, hint: str) -> Check:
    detail = f"{free / GIGABYTE:.1f} GB free{suffix}"
    if free >= enough:
        return Check(name, "ok", detail)
    return Check(
        name, "warn" if free >= little else "fail", detail, f"{hint} {enough / GIGABYTE:g} GB are comfortable."
    )


def _sources() -> Iterator[Check]:
    """What each source of settings says, secrets masked, and names that mean nothing."""
    from dotenv import dotenv_values

    toml, dotenv = Path("ragwright.toml"), Path(".env")
    given: dict[str, Mapping[str, Any]] = {}
    if toml.is_file():
        given[str(toml)] = _flat(tomllib.loads(toml.read_text("utf-8")))
    if dotenv.is_file():
        given[str(dotenv)] = _by_path(dotenv_values(dotenv))
    given["environment"] = _by_path(os.environ)
    for source, values in given.items():
        if values:
            shown = ", ".join(f"{path}={_masked(path, value)}" for path, value in sorted(values.items()))
            yield Check("settings", "ok", f"{source}: {shown}")
        unknown = sorted(path for path in values if not _is_setting(path))
        if unknown:
            names = ", ".join(f"RAGWRIGHT_{path.upper().replace('.', '__')}" for path in unknown)
            yield Check("settings", "warn", f"{source}: nothing reads {names}", "Check the spelling; see .env.example.")
    if not any(given.values()):
        yield Check("settings", "ok", "all defaults")


def _flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {f"{above}{name}": value}
    return flat


def _by_path(variables: Mapping[str, str | None]) -> dict[str, str]:
    prefix = "RAGWRIGHT_"
    return {
        name[len(prefix) :].lower().replace("__", "."): value or ""
        for name, value in variables.items()
        if name.upper().startswith(prefix)
    }


def _field(path: str) -> Any:
    """The type of a setting; None for a path that is none."""
    from pydantic import BaseModel

    from ragwright.settings import Settings

    kind: Any = Settings
    for name in path.split("."):
        if not (isinstance(kind, type) and issubclass(kind, BaseModel) and name in kind.model_fields):
            return None
        kind = kind.model_fields[name].annotation
    return kind


def _is_setting(path: str) -> bool:
    return _field(path) is not None


def _masked(path: str, value: object) -> str:
    """The value, unless it is a secret, may hold one (a whole section as JSON), or nobody knows what it is."""
    from pydantic import BaseModel

    kind = _field(path)
    is_section = isinstance(kind, type) and issubclass(kind, BaseModel)
    if kind is None or is_section or "SecretStr" in str(kind):
        return "***"
    return re.sub(r"://[^@/\s]+@", "://***@", repr(value))


def _home(home: Path) -> Iterator[Check]:
    import shutil
    import tempfile

    folder = home.absolute()
    while not folder.exists():  # looking must not create it
        folder = folder.parent
    hint = "Make it writable, or name another folder in RAGWRIGHT_HOME."
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x" * 4096)
        yield Check("home", "ok", f"{home.absolute()} can be written")
        free = shutil.disk_usage(folder).free
    except OSError as error:
        yield Check("home", "fail", f"{home.absolute()} cannot be written: {error.strerror}", hint)
    else:
        yield _amount("disk", free, ENOUGH_DISK, LITTLE_DISK, f" at {folder}", "Free some space.")


def _models(settings: Settings, progress: Progress | None) -> Iterator[Check]:
    from ragwright.endpoints import embedder_spec, generator_spec

    for role, spec in (("embedder", embedder_spec(settings)), ("language model", generator_spec(settings))):
        if spec is not None:
            try:
                yield _model(spec.model, role, settings, progress)
            except RagwrightError as error:
                yield failed(role, error)


def _model(name: str, role: str, settings: Settings, progress: Progress | None) -> Check:
    from importlib.util import find_spec

    from ragwright.models import PathSource, get_model, resolve

    info = get_model(name)
    if settings.endpoints.host != "local":
        return Check(role, "ok", f"{name}: files are the host's business")
    if info.runtime is None:
        return Check(role, "fail", f"nothing on this machine runs {name}", "Choose a model with a local runtime.")
    library = RUNTIMES.get(info.runtime)
    if library is not None and find_spec(library) is None:
        return Check(role, "fail", f"{name} needs {library}, which is not installed", f"pip install {library}")
    cache = settings.model_folder
    # What only a path names is here or is nowhere; `resolve` says which.
    missing = [
        file
        for file in info.files.values()
        if file.sha256 is not None
        and not (cache / file.sha256 / file.filename).is_file()
        and not any(isinstance(source, PathSource) and source.path.is_file() for source in file.sources)
        and not all(isinstance(source, PathSource) for source in file.sources)
    ]
    if missing and progress is None:
        size = sum(file.size or 0 for file in missing) / 1e6
        places = "; ".join(sorted({str(source) for file in missing for source in file.sources}))
        return Check(
            role,
            "warn",
            f"{name}: {len(missing)} of {len(info.files)} files ({size:,.0f} MB) are not here yet; sources: {places}",
            "They come by themselves when an endpoint starts; `ragwright doctor --fetch` brings them now.",
        )
    if progress is None:
        resolve(name, cache=cache)
    else:
        resolve(name, cache=cache, progress=progress)
    return Check(role, "ok", f"{name}: {len(info.files)} files, checked" if info.files else f"{name}: needs no files")


def _account(settings: Settings) -> Iterator[Check]:
    from ragwright.cli.doctor_aws import examine_account

    yield from examine_account(settings)


def _endpoints(settings: Settings) -> Iterator[Check]:
    from ragwright.endpoints import open_host

    with open_host(settings) as host:
        infos = host.list()
    for info in infos:
        yield _endpoint(info)
    for reference in (settings.embedding.endpoint, settings.generation.endpoint):
        if "://" in reference:
            yield _server(reference)
    if not infos:
        yield Check("endpoints", "ok", "none is running; they start when they are needed")


def _endpoint(info: EndpointInfo) -> Check:
    if info.failure_reason:
        return Check(
            "endpoints",
            "warn",
            f"{info.name}: {info.status}, {info.failure_reason}",
            f"Clear it away: `ragwright endpoints down {info.name}`, or replace it: `ragwright endpoints up`.",
        )
    until = f", until {info.lease_expires_at:%H:%M:%S} UTC" if info.lease_expires_at else ""
    return Check("endpoints", "ok", f"{info.name}: {info.status} with {info.model}{until}")


def _server(url: str) -> Check:
    """Whether anything listens at a URL of the user's own."""
    import socket
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    place = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        return Check("endpoints", "fail", f"nothing answers at {place}: {error}", "Start that server, or mend the URL.")
    return Check("endpoints", "ok", f"something listens at {place}")


def _index(settings: Settings) -> Iterator[Check]:
    from ragwright.index.catalog import Catalog

    where = settings.catalog_url
    hint = "Make one: `ragwright reindex --source FAQ.csv`."
    if "://" not in where and not Path(where).is_dir():
        yield Check("index", "warn", f"there is no index {settings.index!r} yet", hint)
        return
    with Catalog(where, settings.index) as catalog:
        head = catalog.head()
    if not head.live:
        yield Check("index", "warn", f"index {settings.index!r} has no published generation yet", hint)
        return
    kind, _, place = settings.store_spec.partition(":")
    if kind == "lancedb" and not Path(place).is_dir():
        yield Check(
            "index",
            "fail",
            f"generation {head.live} of {settings.index!r} is published, but the store {place!r} is gone",
            "Name the store that holds it (RAGWRIGHT_STORE), or build it again: `ragwright reindex --full`.",
        )
        return
    yield Check("index", "ok", f"index {settings.index!r}: generation {head.live} is live")


def _print(out: Console, checks: list[Check]) -> None:
    from rich.markup import escape

    style = {"ok": "green", "unknown": "cyan", "warn": "yellow", "fail": "bold red"}
    for check in checks:
        word = "?" if check.status == "unknown" else check.status
        out.print(f"[{style[check.status]}]{word:<4}[/]  {check.name:<14}  {escape(check.detail)}")
        if check.hint:
            out.print(f"{'':<22}{escape(check.hint)}")
