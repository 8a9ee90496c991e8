"""SageMaker's control plane: moto keeps the resources; what moto lacks is here.

moto's endpoints are InService at once, take a name twice, cannot be updated, and know no instance type newer than
2020. Here they live: Creating, InService, Updating, Failed with a reason, Deleting. A container runs behind each.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emulators.aws_calls import ACCOUNT, AwsError, Call, refuse
from emulators.aws_containers import Container, InProcess, Models, NoImage, ServingProcess, loads, settle
from emulators.aws_shapes import check_shape
from emulators.aws_switches import Switches
from moto.core.utils import utcnow
from moto.sagemaker.models import FakeEndpoint, FakeEndpointConfig, SageMakerModelBackend, sagemaker_backends
from werkzeug.wrappers import Response

NO_CAPACITY = (
    "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. Please retry using a "
    "different ML instance type or after some time."
)
NO_IMAGE = "The image '{image}' does not exist. Ensure that the image exists in the repository."
GATED = ("meta-llama/",)
TOKENS = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}
NAMES = {
    "CreateModel": ("model", "ModelName", "_models"),
    "CreateEndpointConfig": ("endpoint configuration", "EndpointConfigName", "endpoint_configs"),
    "CreateEndpoint": ("endpoint", "EndpointName", "endpoints"),
}
# The types are checked against botocore's list; moto's own ends in 2020.
FakeEndpointConfig.validate_instance_type = lambda self, instance_type: None  # type: ignore[method-assign]


@dataclass
class Deployment:
    """What runs behind one endpoint.

    Attributes:
        container: What answers; None once it has ended, or where there is nothing to start.
        due: When its present change is done at the earliest, on the cloud's clock.
        doomed: Why its present change will fail.
        next: While Updating: the container to be, and the configuration it is for.
    """

    region: str
    name: str
    container: Container | None
    due: float
    doomed: str | None = None
    next: tuple[Container | None, str] | None = None


class ControlPlane:
    """Endpoints with a life of their own, over moto's."""

    def __init__(
        self, switches: Switches, now: Callable[[], float], *, models: Models, cache: Path, folder: Path
    ) -> None:
        self.switches = switches
        self._now, self._models, self._cache, self._folder = now, models, cache, folder
        self._deployments: dict[tuple[str, str], Deployment] = {}
        self._lock = threading.RLock()
        self._started = 0

    def answer(self, call: Call, forward: Callable[[], Response]) -> Response:
        """Carry out one call; `forward` has moto do it."""
        check_shape("sagemaker", call.action, call.body)
        with self._lock:
            self.refresh()
            backend = sagemaker_backends[ACCOUNT][call.region]
            if call.action in NAMES:
                self._refuse_twice(call, backend)
            match call.action:
                case "CreateModel":
                    response = _create_model(call, backend, forward)
                case "CreateEndpoint":
                    response = self._create_endpoint(call, backend, forward)
                case "UpdateEndpoint":
                    response = self._update_endpoint(call, backend)
                case "DeleteEndpoint":
                    response = self._delete_endpoint(call, backend, forward)
                case "AddTags" | "ListTags" | "DeleteTags":
                    response = _tags(call, backend, forward)
                case "ListModels":
                    response = _list_models(call, forward)
                case _:
                    response = forward()
            return response

    def container(self, region: str, name: str) -> Container | None:
        """What answers for an endpoint; None if none is in service by that name."""
        with self._lock:
            self.refresh()
            endpoint = sagemaker_backends[ACCOUNT][region].endpoints.get(name)
            if endpoint is None or endpoint.endpoint_status not in ("InService", "Updating"):
                return None
            return self._deployments[region, name].container

    def refresh(self) -> None:
        """Let time pass for every endpoint."""
        with self._lock:
            for deployment in list(self._deployments.values()):
                self._live(deployment)

    def settle(self) -> None:
        """Wait until no model is loading."""
        with self._lock:
            found = [(one.container, *(one.next or ())[:1]) for one in self._deployments.values()]
        settle([container for several in found for container in several if container is not None])

    def renew(self) -> None:
        """Say to every server that it is still wanted."""
        with self._lock:
            for deployment in self._deployments.values():
                for container in (deployment.container, *(deployment.next or ())[:1]):
                    if container is not None:
                        container.renew()

    def stop(self) -> None:
        """End every container and forget the endpoints."""
        with self._lock:
            while self._deployments:
                _, deployment = self._deployments.popitem()
                _stop(deployment.container, *(deployment.next or ())[:1])

    def _refuse_twice(self, call: Call, backend: SageMakerModelBackend) -> None:
        kind, key, kept = NAMES[call.action]
        if call.body[key] in getattr(backend, kept):
            refuse(f'Cannot create already existing {kind} "{call.resource}".')

    def _create_endpoint(self, call: Call, backend: SageMakerModelBackend, forward: Callable[[], Response]) -> Response:
        config = _config(backend, call.body["EndpointConfigName"])
        self._check_room(call, backend, config)
        response = forward()
        if response.status_code != 200:
            return response
        endpoint = backend.endpoints[call.body["EndpointName"]]
        endpoint.endpoint_status = "Creating"
        container, doomed = self._start(endpoint, config, backend)
        due = self._now() + self.switches.start_seconds
        self._deployments[call.region, endpoint.endpoint_name] = Deployment(
            call.region, endpoint.endpoint_name, container, due, doomed
        )
        return response

    def _update_endpoint(self, call: Call, backend: SageMakerModelBackend) -> Response:
        endpoint = _endpoint(backend, call)
        config = _config(backend, call.body["EndpointConfigName"])
        if endpoint.endpoint_status != "InService":
            refuse(f'Cannot update in-progress endpoint "{endpoint.arn}".')
        _config(backend, endpoint.endpoint_config_name)  # AWS refuses an update from a configuration that is gone
        if endpoint.endpoint_config_name == config.endpoint_config_name:
            refuse(f'Cannot update endpoint "{endpoint.arn}" with the same endpoint configuration.')
        self._check_room(call, backend, config)
        deployment = self._deployments[call.region, endpoint.endpoint_name]
        container, deployment.doomed = self._start(endpoint, config, backend)
        deployment.next = (container, config.endpoint_config_name)
        deployment.due = self._now() + self.switches.start_seconds
        endpoint.endpoint_status = "Updating"
        return Response(json.dumps({"EndpointArn": endpoint.arn}), content_type="application/x-amz-json-1.1")

    def _delete_endpoint(self, call: Call, backend: SageMakerModelBackend, forward: Callable[[], Response]) -> Response:
        endpoint = _endpoint(backend, call)
        if endpoint.endpoint_status not in ("InService", "Failed"):
            refuse(f'Cannot update in-progress endpoint "{endpoint.arn}".')
        deployment = self._deployments[call.region, endpoint.endpoint_name]
        _stop(deployment.container)
        deployment.container = None
        if self.switches.delete_seconds:
            endpoint.endpoint_status = "Deleting"
            deployment.due = self._now() + self.switches.delete_seconds
            return Response("", content_type="application/x-amz-json-1.1")
        del self._deployments[call.region, endpoint.endpoint_name]
        return forward()

    def _check_room(self, call: Call, backend: SageMakerModelBackend, config: FakeEndpointConfig) -> None:
        for variant in config.production_variants:
            kind = variant.get("InstanceType", "")
            if self.switches.no_capacity.get(kind) == "at create":
                raise AwsError("InsufficientInstanceCapacity", NO_CAPACITY)
            if kind in self.switches.quotas:
                limit, delta = self.switches.quotas[kind], variant.get("InitialInstanceCount", 1)
                used = _in_use(backend, kind)
                if used + delta > limit:
                    raise AwsError(
                        "ResourceLimitExceeded",
                        f"The account-level service limit '{kind} for endpoint usage' is {limit} Instances, with "
                        f"current utilization of {used} Instances and a request delta of {delta} Instances. Please use "
                        "AWS Service Quotas to request an increase for this quota.",
                    )

    def _start(
        self, endpoint: FakeEndpoint, config: FakeEndpointConfig, backend: SageMakerModelBackend
    ) -> tuple[Container | None, str | None]:
        """Start the container of a configuration, or say why it will fail."""
        name, variant = endpoint.endpoint_name, config.production_variants[0]
        reasons = self.switches.failing_starts
        if self.switches.no_capacity.get(variant.get("InstanceType", "")) == "while starting":
            return None, NO_CAPACITY
        if reason := reasons.get(name) or reasons.get("*"):
            return None, reason
        model = backend.describe_model(variant["ModelName"])
        definition: dict[str, Any] = model.primary_container or (model.containers or [{}])[0]
        environment = definition.get("Environment", {})
        if environment.get("HF_MODEL_ID", "").startswith(GATED) and not TOKENS & environment.keys():
            return None, _no_ping(endpoint)  # the hub does not give it the files
        try:
            what = loads(definition.get("Image", ""), environment, self._models)
        except NoImage:
            return None, NO_IMAGE.format(image=definition.get("Image", ""))
        if self._models == "hashing":
            return InProcess(what), None
        self._started += 1
        return ServingProcess(name, what, cache=self._cache, folder=self._folder / f"{self._started}-{name}"), None

    def _live(self, deployment: Deployment) -> None:
        backend = sagemaker_backends[ACCOUNT][deployment.region]
        endpoint = backend.endpoints[deployment.name]
        if self._now() < deployment.due:
            return
        match endpoint.endpoint_status:
            case "Creating":
                self._finish_creation(deployment, endpoint)
            case "Updating":
                self._finish_update(deployment, endpoint, backend)
            case "Deleting":
                backend.delete_endpoint(deployment.name)
                del self._deployments[deployment.region, deployment.name]

    def _finish_creation(self, deployment: Deployment, endpoint: FakeEndpoint) -> None:
        reason = deployment.doomed or _failure(deployment.container, endpoint)
        if reason:
            _become(endpoint, "Failed", reason)
            _stop(deployment.container)
            deployment.container = None
        elif deployment.container is not None and deployment.container.state() == "ready":
            _become(endpoint, "InService")

    def _finish_update(self, deployment: Deployment, endpoint: FakeEndpoint, backend: SageMakerModelBackend) -> None:
        assert deployment.next is not None
        container, config = deployment.next
        reason = deployment.doomed or _failure(container, endpoint)
        if reason:  # the endpoint goes back to what it was
            _stop(container)
            _become(endpoint, "InService", reason)
        elif container is not None and container.state() == "ready":
            _stop(deployment.container)
            deployment.container = container
            _become(endpoint, "InService")
            endpoint.endpoint_config_name = config
            endpoint.production_variants = endpoint._process_production_variants(
                backend.endpoint_configs[config].production_variants
            )
        else:
            return
        deployment.next = deployment.doomed = None


def _create_model(call: Call, backend: SageMakerModelBackend, forward: Callable[[], Response]) -> Response:
    response = forward()
    if response.status_code == 200:
        model = backend._models[call.body["ModelName"]]
        # Described as absent, not as empty.
        for name in ("vpc_config", "containers", "primary_container"):
            setattr(model, name, getattr(model, name) or None)
    return response


def _become(endpoint: FakeEndpoint, status: str, reason: str | None = None) -> None:
    endpoint.endpoint_status = status
    endpoint.failure_reason = reason  # type: ignore[assignment]  # moto's endpoints never fail
    endpoint.last_modified_time = utcnow()


def _failure(container: Container | None, endpoint: FakeEndpoint) -> str | None:
    if container is None or container.state() != "ended":
        return None
    return _no_ping(endpoint)


def _no_ping(endpoint: FakeEndpoint) -> str:
    variant = endpoint.production_variants[0]["VariantName"]
    return (
        f"The primary container for production variant {variant} did not pass the ping health check. Please check "
        "CloudWatch logs for this endpoint."
    )


def _stop(*containers: Any) -> None:
    for container in containers:
        if container is not None:
            container.stop()


def _endpoint(backend: SageMakerModelBackend, call: Call) -> FakeEndpoint:
    endpoint = backend.endpoints.get(call.body["EndpointName"])
    if endpoint is None:
        refuse(f'Could not find endpoint "{call.resource}".')
    return endpoint


def _config(backend: SageMakerModelBackend, name: str) -> FakeEndpointConfig:
    config = backend.endpoint_configs.get(name)
    if config is None:
        arn = FakeEndpointConfig.arn_formatter(name, ACCOUNT, backend.region_name)
        refuse(f'Could not find endpoint configuration "{arn}".')
    return config


def _in_use(backend: SageMakerModelBackend, instance_type: str) -> int:
    return sum(
        variant.get("InitialInstanceCount", 1)
        for endpoint in backend.endpoints.values()
        if endpoint.endpoint_status != "Failed" and endpoint.endpoint_config_name in backend.endpoint_configs
        for variant in backend.endpoint_configs[endpoint.endpoint_config_name].production_variants
        if variant.get("InstanceType") == instance_type
    )


def _tags(call: Call, backend: SageMakerModelBackend, forward: Callable[[], Response]) -> Response:
    resource = backend._get_resource_from_arn(call.body["ResourceArn"])
    if resource is None:
        refuse(f"Could not find {call.body['ResourceArn']}")
    response = forward()
    # A tag given again replaces the one of that name.
    resource.tags = list({tag["Key"]: tag for tag in resource.tags}.values())
    if len(resource.tags) > 50:
        refuse("Tag limit of 50 exceeded.")
    return response


def _list_models(call: Call, forward: Callable[[], Response]) -> Response:
    """moto takes no notice of the filter."""
    response = forward()
    content = json.loads(response.get_data())
    wanted = call.body.get("NameContains", "")
    content["Models"] = [model for model in content["Models"] if wanted in model["ModelName"]]
    return Response(json.dumps(content), response.status_code, content_type="application/x-amz-json-1.1")
