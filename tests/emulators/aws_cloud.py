"""A cloud on loopback: what ragwright uses of AWS, for tests and for trying things out.

    with AwsCloud(models="hashing") as cloud:
        environment = cloud.environment()      # for a process that is to use it
        sagemaker = cloud.client("sagemaker")  # for the test itself
        cloud.switches.start_seconds = 300     # an endpoint stays Creating
        cloud.advance(minutes=6)               # until time has passed
        assert cloud.left() == {}

One HTTP server on 127.0.0.1 takes every request. It notes what the caller needs to be allowed, refuses what a test
wants refused, and hands the rest on: invocations to model servers, everything else to moto, whose endpoints and
schedules are brought to life on the way. moto's resources belong to the process: one cloud at a time in each.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, get_args
from wsgiref.types import StartResponse, WSGIEnvironment

import boto3
from botocore.config import Config
from emulators.aws_account import CALLER, Account
from emulators.aws_calls import ACCOUNT, AwsError, Call, error_response, read_call
from emulators.aws_conditions import context_of
from emulators.aws_containers import Models
from emulators.aws_runtime import Runtime
from emulators.aws_sagemaker import ControlPlane
from emulators.aws_scheduler import Fired, Scheduler
from emulators.aws_switches import Permissions, Switches, Throttle
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.sagemaker.models import sagemaker_backends
from moto.scheduler.models import scheduler_backends
from werkzeug.datastructures import Headers
from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request, Response

if TYPE_CHECKING:
    from botocore.client import BaseClient

SERVICES = (
    "SAGEMAKER",
    "SAGEMAKER_RUNTIME",
    "S3",
    "SCHEDULER",
    "STS",
    "IAM",
    "CLOUDWATCH_LOGS",
    "SERVICE_QUOTAS",
    "RESOURCE_GROUPS_TAGGING_API",
    "APPLICATION_AUTO_SCALING",
)
# What ragwright must be told of an account beside its address.
ROLES = {
    "RAGWRIGHT_ENDPOINTS__HOST": "sagemaker",
    "RAGWRIGHT_SAGEMAKER__ROLE_ARN": f"arn:aws:iam::{ACCOUNT}:role/ragwright-containers",
    "RAGWRIGHT_SAGEMAKER__SCHEDULER_ROLE_ARN": f"arn:aws:iam::{ACCOUNT}:role/ragwright-scheduler",
}
TICK_SECONDS = 0.1
RENEW_SECONDS = 30.0


class _KeepAlive(MotoRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's name
        pass


class AwsCloud:
    """A cloud of one account, in this process.

    Args:
        models: What endpoints run: `real` model servers, each a process, or models of `hashing` in this process.
        cache: Folder of model files, for real ones.
        region: What `environment` and `client` name.

    Attributes:
        url: Where it listens.
        switches: What is to go wrong.
        permissions: What the caller may do.
        calls: (service, action) of everything that callers needed to be allowed, in order.
        fired: What schedules did.
    """

    def __init__(
        self, *, models: Models = "real", cache: Path = Path(".cache/models"), region: str = "us-east-1"
    ) -> None:
        self.region = region
        self.switches = Switches()
        self.permissions = Permissions()
        self.calls: list[tuple[str, str]] = []
        self._folder = Path(tempfile.mkdtemp(prefix="aws-cloud-"))
        self._throttles: dict[str, Throttle] = {}
        self._ahead = 0.0
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._plane = ControlPlane(self.switches, self.now, models=models, cache=cache, folder=self._folder)
        self._runtime = Runtime(self.switches, self._plane.container)
        self._account = Account(self.switches, self.permissions)
        self._scheduler = Scheduler(self.switches, self.now, self._execute)
        self._server: BaseWSGIServer | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None, "the cloud has not been entered"
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def fired(self) -> list[Fired]:
        """What schedules did."""
        return self._scheduler.fired

    def environment(self) -> dict[str, str]:
        """The variables that point an AWS SDK at this cloud and away from any other."""
        local = "127.0.0.1,localhost"
        return {
            "AWS_ENDPOINT_URL": self.url,
            **{f"AWS_ENDPOINT_URL_{service}": self.url for service in SERVICES},
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ALLOW_HTTP": "true",
            "AWS_MAX_ATTEMPTS": "1",
            "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), local])),
            "no_proxy": ",".join(filter(None, [os.environ.get("no_proxy"), local])),
        }

    def client(self, service: str) -> Any:
        """A boto3 client of this cloud that never tries twice."""
        client: BaseClient = boto3.client(
            service,
            region_name=self.region,
            endpoint_url=self.url,
            aws_access_key_id="AKIAEXAMPLE",
            aws_secret_access_key="not-a-secret",
            config=Config(retries={"total_max_attempts": 1}, proxies={}),
        )
        return client

    def now(self) -> float:
        """Seconds since the epoch on the cloud's clock."""
        return time.time() + self._ahead

    def advance(self, **time_passed: float) -> None:
        """Move the cloud's clock (`minutes=61`), and let happen what is due by then; models have loaded by then too."""
        self._ahead += timedelta(**time_passed).total_seconds()
        self._plane.settle()
        self._plane.refresh()
        self._scheduler.fire_due()

    def deny(self, *actions: str) -> None:
        """Answer AccessDenied to these actions; `sagemaker:Create*` is a pattern."""
        self.permissions.denied.update(actions)

    def allow_only(self, *policies: Mapping[str, Any]) -> None:
        """Answer AccessDenied to whatever these IAM policies do not allow."""
        self.permissions.policies = list(policies)

    def throttle(self, action: str, share: float) -> None:
        """Refuse this share of the requests for an action (`sagemaker:InvokeEndpoint`)."""
        self._throttles[action] = Throttle(share)

    def left(self) -> dict[str, list[str]]:
        """Names of what exists, in every region, by kind; kinds of which there is nothing are left out."""
        self._plane.refresh()
        found: dict[str, list[str]] = {"endpoints": [], "endpoint_configs": [], "models": [], "schedules": []}
        for backend in list(sagemaker_backends[ACCOUNT].values()):
            found["endpoints"] += backend.endpoints
            found["endpoint_configs"] += backend.endpoint_configs
            found["models"] += backend._models
        for schedules in list(scheduler_backends[ACCOUNT].values()):
            for group in list(schedules.schedule_groups.values()):
                found["schedules"] += group.schedules
        return {kind: sorted(names) for kind, names in found.items() if names}

    def reset(self) -> None:
        """Make it a cloud nobody has used: no resources, no faults, and the time of day again."""
        self._plane.stop()
        self._scheduler.reset()
        environ = EnvironBuilder(path="/moto-api/reset", method="POST").get_environ()
        assert Response.from_app(self._moto, environ).status_code == 200
        vars(self.switches).update(vars(Switches()))
        vars(self.permissions).update(vars(Permissions()))
        self._throttles.clear()
        self.calls.clear()
        self._ahead = 0.0

    def __enter__(self) -> Self:
        self._server = make_server("127.0.0.1", 0, self._application, threaded=True, request_handler=_KeepAlive)
        self._server.daemon_threads = True  # type: ignore[attr-defined]
        for work in (self._serve, self._tick):
            threading.Thread(target=work, name="aws-cloud", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self.reset()
        shutil.rmtree(self._folder)

    def _serve(self) -> None:
        assert self._server is not None
        self._server.serve_forever(poll_interval=0.05)

    def _tick(self) -> None:
        renewed = time.monotonic()
        while not self._ended.wait(TICK_SECONDS):
            self._scheduler.fire_due()
            if time.monotonic() - renewed > RENEW_SECONDS:
                renewed = time.monotonic()
                self._plane.renew()

    def _application(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """The whole cloud as one WSGI application."""
        request = Request(environ)
        body = request.get_data(cache=True)
        call = read_call(request)

        def forward() -> Response:
            environ["wsgi.input"] = io.BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
            environ.pop("HTTP_TRANSFER_ENCODING", None)
            return Response.from_app(self._moto, environ, buffered=True)

        if call is None:  # nobody signed it: moto knows what to make of that
            response = forward()
        else:
            try:
                self._admit(call)
                if call.protocol == "rest" and call.action.startswith("InvokeEndpoint"):
                    response = self._runtime.answer(call, request)
                elif call.service == "sagemaker":
                    response = self._plane.answer(call, forward)
                elif call.service == "scheduler":
                    response = self._scheduler.answer(call, forward)
                else:
                    response = self._account.answer(call) or forward()
            except AwsError as error:
                response = error_response(call, error)
        return response(environ, start_response)

    def _admit(self, call: Call) -> None:
        """Note a call, and refuse it if it is to be refused."""
        with self._lock:
            self.calls += [(service, action) for service, action, _ in call.needs]
            throttle = self._throttles.get(f"{call.service}:{call.action}")
            throttled = throttle is not None and throttle.refuses()
        for service, action, resource in call.needs:
            if not self.permissions.allows(service, action, resource, context_of(call, service, action, resource)):
                raise AwsError(
                    "AccessDenied" if call.service == "s3" or call.protocol == "query" else "AccessDeniedException",
                    f"User: {CALLER} is not authorized to perform: {service}:{action} on resource: {resource} because "
                    f"no identity-based policy allows the {service}:{action} action",
                    400 if call.protocol == "json" else 403,
                )
        if throttled:
            code = "SlowDown" if call.service == "s3" else "ThrottlingException"
            raise AwsError(code, "Rate exceeded", 429 if call.protocol == "rest" else 400)

    def _execute(self, call: Call) -> Response:
        """Carry out a call of the scheduler's."""

        def forward() -> Response:
            signed = f"AWS4-HMAC-SHA256 Credential=scheduler/20200101/{call.region}/{call.service}/aws4_request"
            builder = EnvironBuilder(
                method="POST",
                headers=Headers({"Authorization": signed, "X-Amz-Target": f"SageMaker.{call.action}"}),
                content_type="application/x-amz-json-1.1",
                data=json.dumps(dict(call.body)),
            )
            return Response.from_app(self._moto, builder.get_environ(), buffered=True)

        if call.service != "sagemaker":
            raise AwsError("ValidationException", f"{call.service}:{call.action} is not emulated as a target.")
        return self._plane.answer(call, forward)


def main() -> None:
    """Print the environment as shell exports, and run until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m emulators.aws_cloud", description="A cloud on loopback.")
    parser.add_argument("--models", choices=get_args(Models), default="real", help="what endpoints run")
    parser.add_argument("--cache", type=Path, default=Path(".cache/models"), help="folder of model files")
    given = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with AwsCloud(models=given.models, cache=given.cache) as cloud:
        for name, value in {**cloud.environment(), **ROLES}.items():
            sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
        sys.stdout.flush()
        ended.wait()


if __name__ == "__main__":
    main()
