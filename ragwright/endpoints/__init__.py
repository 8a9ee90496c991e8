"""Model endpoints: where they run (hosts, the control plane) and how they are called (endpoints, the data plane)."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from ragwright.errors import ConfigurationError, EndpointError
from ragwright.outside import is_outside, open_outside

if TYPE_CHECKING:
    from ragwright.model_settings import EmbeddingSettings, GenerationSettings
    from ragwright.settings import Settings

Contract = Literal["tei", "hf-feature-extraction", "openai-embeddings", "tgi", "openai-chat"]
"""The wire format of an endpoint: what goes into a request and what comes back."""


class EndpointSpec(BaseModel):
    """What to deploy; crosses the flow/task boundary. Equal specs describe the same endpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9-]{0,62}$", description="Unique on its host.")
    model: str = Field(description="Name in models.toml.")
    contract: Contract
    options: Mapping[str, str] = Field(default_factory=dict, description="What only this host understands.")


class Lease(BaseModel):
    """Who pays for an endpoint, for which run, and until when. Nothing billable outlives its lease."""

    model_config = ConfigDict(frozen=True)

    owner: str
    run_id: str = ""
    flow: str = ""
    expires_at: AwareDatetime

    @classmethod
    def lasting(cls, *, owner: str, minutes: float, run_id: str = "", flow: str = "") -> Lease:
        """A lease from now on."""
        expires_at = datetime.now(UTC) + timedelta(minutes=minutes)
        return cls(owner=owner, run_id=run_id, flow=flow, expires_at=expires_at)


class EndpointStatus(StrEnum):
    """The life of an endpoint, in SageMaker's words."""

    CREATING = "Creating"
    IN_SERVICE = "InService"
    FAILED = "Failed"
    DELETING = "Deleting"


class EndpointInfo(BaseModel):
    """What a host knows of one endpoint. Holds no secret."""

    model_config = ConfigDict(frozen=True)

    name: str
    host: str
    status: EndpointStatus
    url: str | None = None
    model: str
    contract: Contract
    owner: str = ""
    run_id: str = ""
    lease_expires_at: AwareDatetime | None = None
    failure_reason: str | None = None
    created_at: AwareDatetime | None = None
    instance_type: str | None = Field(None, description="What is billed by the hour; None on this machine.")
    instances: int = Field(1, ge=0, description="How many of them.")


@runtime_checkable
class Endpoint(Protocol):
    """The data plane of one endpoint; a context manager, safe to call from several threads.

    `invoke` sends one payload (JSON-ready) and returns the decoded reply. It never retries. It raises `Throttled` (429,
    with `retry_after`), `PayloadTooLarge` (413), `RequestRejected` (other 4xx, with the server's reason), `Unavailable`
    (refused, reset, 5xx), `TimedOut`, or `BadReply` (not JSON). No error carries the token.

    `operation` names another route of the same server, beside the one that the contract means; `NoSuchOperation`
    where there is none.

    `stream` sends one payload and yields the bytes of the reply as they come, cut anywhere; closing the iterator gives
    up the rest. A reply that breaks off is `Unavailable` or `TimedOut`: what came before is not a whole reply.
    """

    name: str
    contract: Contract
    max_payload_bytes: int

    def invoke(self, payload: Mapping[str, Any], *, operation: str = "") -> Any:
        """Send one payload and return the decoded reply."""

    def stream(self, payload: Mapping[str, Any]) -> Generator[bytes, None, None]:
        """Send one payload and yield the reply while it is written."""

    def close(self) -> None:
        """Give back connections. The endpoint itself goes on."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class NoEndpoint:
    """An endpoint that is never called, for those who only want to know what would be sent to it."""

    max_payload_bytes = 0

    def __init__(self, name: str, contract: Contract) -> None:
        self.name, self.contract = name, contract

    def invoke(self, payload: Mapping[str, Any], *, operation: str = "") -> Any:
        """Refuse.

        Raises:
            EndpointError: Always.
        """
        raise EndpointError(f"endpoint {self.name!r} was opened without a connection")

    def stream(self, payload: Mapping[str, Any]) -> Generator[bytes, None, None]:
        """Refuse.

        Raises:
            EndpointError: Always.
        """
        raise EndpointError(f"endpoint {self.name!r} was opened without a connection")

    def close(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class EndpointHost(Protocol):
    """The control plane: starts and stops endpoints. A context manager with a cheap constructor.

    - `deploy` returns without waiting for the model; deploying the same spec twice returns the same endpoint (its
      lease is extended if the new one ends later), another spec under a taken name replaces it, and two processes
      deploying at once get one endpoint.
    - `wait` returns once every named endpoint is in service. A failed start raises `EndpointError` with the reason and
      the end of the log, or where to read it; `TimedOut` after `timeout` seconds.
    - `describe` and `connect` raise `EndpointError` for a name the host does not know.
    - `extend` never shortens a lease.
    - `delete` returns when the endpoint is gone; deleting a missing one succeeds and returns False.
    - `delete` and `reap` may be at one endpoint at once, in several processes: what another was faster with is done.
    """

    def deploy(self, spec: EndpointSpec, lease: Lease) -> EndpointInfo:
        """Start an endpoint under a lease."""

    def wait(self, names: Sequence[str], *, timeout: float) -> list[EndpointInfo]:
        """Wait until all are in service."""

    def describe(self, name: str) -> EndpointInfo:
        """Say what is known of one endpoint."""

    def list(self, *, owner: str | None = None) -> list[EndpointInfo]:
        """All endpoints, or one owner's, by name."""

    def extend(self, name: str, until: datetime) -> EndpointInfo:
        """Move a lease's end to `until` if that is later."""

    def delete(self, name: str) -> bool:
        """Stop an endpoint; whether there was one."""

    def reap(self, now: datetime) -> Sequence[str]:
        """Remove what is left of endpoints whose lease has lapsed at `now`, whoever owns them; their names."""

    def connect(self, name: str, *, timeout: float = 60) -> Endpoint:
        """Open the data plane; `timeout` is the limit of one call in seconds."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_host(settings: Settings) -> EndpointHost:
    """The host that the settings name; `python:MODULE:FACTORY` is another package's, whose factory gets the settings.

    The AWS SDK, if it needs that, is imported by the first call.
    """
    match settings.endpoints.host:
        case "local":
            from ragwright.endpoints.local import LocalHost

            return LocalHost(settings.home, cache=settings.model_folder)
        case "sagemaker":
            from ragwright.endpoints.sagemaker import SageMakerHost

            return SageMakerHost(settings)
        case reference:
            return open_outside(reference, EndpointHost, settings)  # type: ignore[type-abstract]


def open_endpoint(reference: str, contract: Contract, settings: Settings) -> Endpoint:
    """Open the data plane of an endpoint by its name on the host or by the URL of any server.

    Requests to a URL go to it as it stands; OpenAI-compatible servers are named by their base URL (`.../v1`).

    Raises:
        ConfigurationError: The endpoint speaks another contract, or the URL is none.
        EndpointError: The host does not know the name, or the endpoint has failed.
        Unavailable: It does not listen yet.
    """
    timeout = settings.endpoints.request_timeout_seconds
    if "://" in reference:
        from ragwright.endpoints.http import HttpEndpoint

        section = settings.generation if contract in ("tgi", "openai-chat") else settings.embedding
        path = {"openai-chat": "/chat/completions", "openai-embeddings": "/embeddings"}.get(contract, "")
        base = reference.rstrip("/").removesuffix(path) if path else reference
        return HttpEndpoint(base, base, contract, token=section.api_key, timeout=timeout, path=path)
    with open_host(settings) as host:
        endpoint = host.connect(reference, timeout=timeout)
    if endpoint.contract != contract:
        endpoint.close()
        raise ConfigurationError(
            f"endpoint {reference!r} speaks {endpoint.contract!r}, the settings say {contract!r}",
            hint="Change the contract in the settings, or deploy the endpoint again: `ragwright endpoints up`.",
        )
    return endpoint


def embedder_spec(settings: Settings) -> EndpointSpec | None:
    """The embedding endpoint to deploy; None when the settings name a URL, `hashing:DIMENSION` or other code."""
    return _spec(settings.embedding, "embedding")


def generator_spec(settings: Settings) -> EndpointSpec | None:
    """The language model's endpoint to deploy; None when the settings name a URL, `scripted`, `none` or other code."""
    return _spec(settings.generation, "generation")


def _spec(section: EmbeddingSettings | GenerationSettings, name: str) -> EndpointSpec | None:
    if "://" in section.endpoint or section.endpoint in ("scripted", "none"):
        return None
    if section.endpoint.startswith("hashing:") or is_outside(section.endpoint):
        return None
    try:
        return EndpointSpec(name=section.endpoint, model=section.model, contract=section.contract)
    except ValidationError as error:
        raise ConfigurationError(
            f"{name}.endpoint {section.endpoint!r} is neither a URL nor a name",
            hint="Names are up to 63 letters, digits and hyphens, the first not a hyphen.",
        ) from error
