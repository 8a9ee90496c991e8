"""Calling AWS: clients that try once, and its errors as errors of ragwright."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from ragwright.errors import (
    ConfigurationError,
    PayloadTooLarge,
    RagwrightError,
    RequestRejected,
    Throttled,
    TimedOut,
    Unavailable,
)
from ragwright.retry import RetryPolicy

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError

CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
_THROTTLED = {
    "ThrottlingException",
    "Throttling",
    "ThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "SlowDown",
}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_UNKNOWN_CALLER = {
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
}
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized"}
_MISSING = re.compile(r"could not find|does not exist|not found", re.IGNORECASE)
_TAKEN = re.compile(r"already exist", re.IGNORECASE)
_IN_PROGRESS = re.compile(
    r"in[- ]progress|is currently being|is in (the )?\w*(creating|updating|deleting)", re.IGNORECASE
)


class Aws:
    """Clients of AWS services that live as long as a host, safe to call from several threads.

    The SDK's own retries are off: what may pass is tried again here, by the policy that all of ragwright uses.

    Args:
        region: None: as the AWS environment or profile says.
        retry: For each call; creations whose answer got lost are completed by the next call.
        read_seconds: Limit of one answer.
    """

    def __init__(self, region: str | None, *, retry: RetryPolicy, read_seconds: float = READ_SECONDS) -> None:
        self._wanted_region, self._retry, self._read_seconds = region, retry, read_seconds
        self._session: Any = None
        self._clients: dict[str, Any] = {}
        self._lock = Lock()

    @property
    def region(self) -> str:
        """Where the calls go.

        Raises:
            ConfigurationError: Nothing says so.
        """
        region = self._wanted_region or self._open().region_name
        if not region:
            raise ConfigurationError(
                "no AWS region is configured", hint="Set RAGWRIGHT_SAGEMAKER__REGION or AWS_DEFAULT_REGION."
            )
        return str(region)

    def client(self, service: str) -> Any:
        """The SDK's client of a service, made once."""
        session, region = self._open(), self.region
        with self._lock:
            if service not in self._clients:
                from botocore.config import Config
                from botocore.exceptions import BotoCoreError

                config = Config(
                    connect_timeout=CONNECT_SECONDS,
                    read_timeout=self._read_seconds,
                    retries={"total_max_attempts": 1, "mode": "standard"},
                    max_pool_connections=50,
                )
                try:
                    self._clients[service] = session.client(service, region_name=region, config=config)
                except (BotoCoreError, ValueError) as error:
                    raise ConfigurationError(f"no client for AWS {service}: {error}", hint=_CREDENTIALS) from error
            return self._clients[service]

    def call(self, service: str, operation: str, **parameters: Any) -> Any:
        """Call an operation (in snake case) and return its answer, trying again what may pass."""
        client = self.client(service)
        return self._retry.call(lambda: _once(client, service, operation, parameters))

    def pages(self, service: str, operation: str, key: str, **parameters: Any) -> Iterator[Any]:
        """The items of a list operation, over all its pages."""
        while True:
            page = self.call(service, operation, **parameters)
            yield from page.get(key) or ()
            if not (token := page.get("NextToken")):
                return
            parameters["NextToken"] = token

    def close(self) -> None:
        """Give back connections."""
        for client in self._clients.values():
            client.close()

    def _open(self) -> Any:
        with self._lock:
            if self._session is None:
                try:
                    import boto3
                    import botocore.session
                    from botocore.exceptions import BotoCoreError
                except ImportError as error:
                    raise ConfigurationError(
                        "the AWS SDK is not installed", hint="Install the `aws` extra: pip install 'ragwright[aws]'."
                    ) from error
                core = botocore.session.Session()
                core.register_component("data_loader", _descriptions())
                try:
                    self._session = boto3.Session(botocore_session=core)
                except BotoCoreError as error:
                    raise ConfigurationError(f"the AWS profile cannot be used: {error}", hint=_CREDENTIALS) from error
            return self._session


_CREDENTIALS = "Check AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_DEFAULT_REGION; `aws sts get-caller-identity` tells."


@cache
def _descriptions() -> Any:
    """The SDK's descriptions of services: reading one takes a fifth of a second, so all sessions share them."""
    from botocore.loaders import create_loader

    return create_loader()


def _once(client: Any, service: str, operation: str, parameters: Mapping[str, Any]) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError

    place = f"AWS {service} {operation.replace('_', '-')}"
    try:
        return getattr(client, operation)(**parameters)
    except ClientError as error:
        raise refusal(error, place=place) from error
    except BotoCoreError as error:
        raise failure(error, place=place) from error


def code_of(error: BaseException) -> str:
    """The code of the AWS error behind an error of ours; empty if there is none."""
    cause = error.__cause__
    response = getattr(cause, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, Mapping) else ""


def is_missing(error: RagwrightError) -> bool:
    """Whether AWS says that what the call names is not there."""
    code = code_of(error)
    return code in ("ResourceNotFound", "ResourceNotFoundException") or (
        code.startswith("Validation") and bool(_MISSING.search(error.what))
    )


def is_denied(error: RagwrightError) -> bool:
    """Whether AWS says that the caller may not; it says so, too, of what is gone and had the tag that allowed it."""
    return code_of(error) in _DENIED


def is_taken(error: RagwrightError) -> bool:
    """Whether AWS says that the name exists already."""
    return code_of(error) in ("ConflictException", "ResourceInUse") or (
        code_of(error).startswith("Validation") and bool(_TAKEN.search(error.what))
    )


def is_in_progress(error: RagwrightError) -> bool:
    """Whether AWS says that it is still busy with an earlier change."""
    return code_of(error) in ("ConflictException", "ResourceInUse") or (
        code_of(error).startswith("Validation") and bool(_IN_PROGRESS.search(error.what))
    )


def refusal(error: ClientError, *, place: str) -> RagwrightError:
    """What AWS's error means: to be tried again, or not."""
    response: Mapping[str, Any] = error.response
    code = str(response.get("Error", {}).get("Code", ""))
    metadata = response.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode") or 0)
    said = f"{code}: {response.get('Error', {}).get('Message', '')}"
    if code in _THROTTLED or status == 429:
        return Throttled(said, place=place, retry_after=_seconds(metadata.get("HTTPHeaders", {}).get("retry-after")))
    if status >= 500:
        return Unavailable(said, place=place)
    if status == 413:
        return PayloadTooLarge(said, place=place, hint="Send less at once.")
    hint = ""
    if code in _DENIED:
        hint = "Allow this action to whoever runs ragwright; deploy/iam has the policies."
    elif code in _EXPIRED or code in _UNKNOWN_CALLER:
        hint = _CREDENTIALS
    return RequestRejected(said, place=place, hint=hint)


def failure(error: BotoCoreError, *, place: str) -> RagwrightError:
    """What it means that no answer came at all."""
    from botocore import exceptions

    match error:
        case exceptions.ReadTimeoutError() | exceptions.ConnectTimeoutError():
            return TimedOut(f"no answer in time: {error}", place=place)
        case exceptions.HTTPClientError() | exceptions.ConnectionError() | exceptions.IncompleteReadError():
            return Unavailable(f"cannot be reached: {error}", place=place)
        case exceptions.NoCredentialsError() | exceptions.PartialCredentialsError() | exceptions.NoRegionError():
            return ConfigurationError(str(error), place=place, hint=_CREDENTIALS)
        case exceptions.CredentialRetrievalError() | exceptions.TokenRetrievalError():
            return ConfigurationError(str(error), place=place, hint=_CREDENTIALS)
    return RequestRejected(str(error), place=place)


def _seconds(value: str | None) -> float | None:
    return float(value) if value and value.strip().isdigit() else None
