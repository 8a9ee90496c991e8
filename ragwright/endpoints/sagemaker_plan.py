"""What a spec comes to on SageMaker: a model and an endpoint configuration for each capacity that may be tried."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from pydantic import ValidationError

from ragwright.endpoints import EndpointSpec, Lease
from ragwright.endpoints.presets import Instance, Preset, Serverless, image_of, preset_for
from ragwright.errors import ConfigurationError
from ragwright.models import get_model
from ragwright.settings import Settings

SERVERLESS = "serverless"
PREFIX = "ragwright:"
# Every name we give begins so: listing by it keeps other people's resources out of sight.
NAME_PREFIX = "ragwright-"
_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_TAG_VALUE = re.compile(r"[\w\s.:/=+\-@]{0,256}")
_OPTIONS = ("instance_type", "instances", "preset")

Tags = Mapping[str, str]
"""Our tags of one resource, without their prefix."""


@dataclass(frozen=True)
class Variant:
    """One capacity to run on.

    Attributes:
        capacity: Instance type, or `serverless`.
        instances: How many; 0 for serverless.
        model_name: Of the SageMaker model, derived from its content.
        config_name: Of the endpoint configuration, derived from its content.
        container: Definition of the container, without the token.
        production: The production variant.
        tags: What is true of this configuration for ever.
    """

    capacity: str
    instances: int
    model_name: str
    config_name: str
    container: Mapping[str, Any]
    production: Mapping[str, Any]
    tags: Tags


@dataclass(frozen=True)
class Plan:
    """A spec worked out. Equal specs under equal settings have equal digests and names."""

    spec: EndpointSpec
    preset: Preset
    digest: str
    variants: tuple[Variant, ...]

    @property
    def is_serverless(self) -> bool:
        """Whether it runs without instances."""
        return self.preset.serverless is not None

    def after(self, capacity: str) -> tuple[Variant, ...]:
        """The variants to try once this one had no room."""
        capacities = [variant.capacity for variant in self.variants]
        return self.variants[capacities.index(capacity) + 1 :] if capacity in capacities else ()


def is_name(name: str) -> bool:
    """Whether SageMaker takes it as the name of an endpoint."""
    return _NAME.fullmatch(name) is not None


def stem(endpoint: str) -> str:
    """How the names of an endpoint's models and configurations begin; another endpoint's may begin so too."""
    return f"{NAME_PREFIX}{endpoint[:36]}-"


def plan_for(spec: EndpointSpec, settings: Settings, *, region: str) -> Plan:
    """Work a spec out.

    Raises:
        ConfigurationError: There is no preset for it, an option is unknown, or a setting that it needs is missing.
    """
    if not is_name(spec.name):
        raise ConfigurationError(
            f"SageMaker takes no endpoint named {spec.name!r}", hint="End it with a letter or digit."
        )
    if not settings.sagemaker.role_arn:
        raise ConfigurationError(
            "sagemaker.role_arn is not set: containers need an execution role",
            hint="Set RAGWRIGHT_SAGEMAKER__ROLE_ARN; deploy/iam has the role's policy.",
        )
    preset = _chosen(preset_for(spec, settings), spec)
    if preset.eula and preset.name not in settings.sagemaker.accept_eula:
        raise ConfigurationError(
            f"the licence of preset {preset.name!r} is not accepted: {preset.eula}",
            hint=f"Read it, then add {preset.name!r} to sagemaker.accept_eula.",
        )
    if preset.gated and not preset.model_data and settings.sagemaker.hugging_face_token is None:
        raise ConfigurationError(
            f"model {spec.model!r} is gated and there is no Hugging Face token",
            hint="Set RAGWRIGHT_SAGEMAKER__HUGGING_FACE_TOKEN, or give the preset `model_data` on S3.",
        )
    image = image_of(preset, region=region, cache=settings.home / "images.json")
    return _assemble(spec, preset, image, settings)


def _chosen(preset: Preset, spec: EndpointSpec) -> Preset:
    """The preset with the spec's options applied."""
    if unknown := sorted(set(spec.options) - set(_OPTIONS)):
        raise ConfigurationError(
            f"options of endpoint {spec.name!r} are not valid: {unknown}",
            hint=f"The SageMaker host knows {', '.join(_OPTIONS)}.",
        )
    changes: dict[str, Any] = {}
    if wanted := spec.options.get("instance_type"):
        known = [instance for instance in preset.instances if instance.type == wanted]
        changes["instances"] = known or [
            Instance(type=wanted, gpus=preset.instances[0].gpus if preset.instances else 0)
        ]
        changes["serverless"] = None
    if count := spec.options.get("instances"):
        changes["count"] = count
    try:
        return Preset.model_validate({**preset.model_dump(), **changes})
    except ValidationError as error:
        raise ConfigurationError(f"options of endpoint {spec.name!r} are not valid: {dict(spec.options)!r}") from error


def _assemble(spec: EndpointSpec, preset: Preset, image: str, settings: Settings) -> Plan:
    section = settings.sagemaker
    vpc = (
        {"Subnets": list(section.subnets), "SecurityGroupIds": list(section.security_groups)} if section.subnets else {}
    )
    about = {"role": section.role_arn, "vpc": vpc, "spec": spec.model_dump(mode="json")}
    capacities: list[Instance | Serverless] = [preset.serverless] if preset.serverless else list(preset.instances)
    containers = [_container(preset, image, capacity) for capacity in capacities]
    digest = _hash({**about, "preset": preset.model_dump(mode="json"), "containers": containers})
    variants = []
    for capacity, container in zip(capacities, containers, strict=True):
        model_name = f"{stem(spec.name)}{_hash({**about, 'container': container})}"
        production = {"VariantName": "AllTraffic", "ModelName": model_name, **_capacity(preset, capacity)}
        tags = {
            "endpoint": spec.name,
            "spec": digest,
            "model": spec.model,
            "contract": spec.contract,
            "preset": preset.name,
            "options": " ".join(f"{key}={value}" for key, value in sorted(spec.options.items())),
            "instance-type": capacity.type if isinstance(capacity, Instance) else SERVERLESS,
            "instances": str(preset.count if isinstance(capacity, Instance) else 0),
            "version": version("ragwright"),
        }
        if isinstance(capacity, Serverless):
            tags["max-concurrency"] = str(capacity.max_concurrency)
        config_name = f"{stem(spec.name)}{_hash({'digest': digest, 'production': production})}"
        variants.append(
            Variant(
                capacity=tags["instance-type"],
                instances=int(tags["instances"]),
                model_name=model_name,
                config_name=config_name,
                container=container,
                production=production,
                tags=tags,
            )
        )
    return Plan(spec, preset, digest, tuple(variants))


def _container(preset: Preset, image: str, capacity: Instance | Serverless) -> dict[str, Any]:
    name = get_model(preset.model).hub or preset.model
    environment = {"HF_MODEL_ID": name}
    if preset.container == "djl-lmi":
        environment["OPTION_SERVED_MODEL_NAME"] = name  # vLLM refuses requests that name another model
    if preset.container == "tgi" and isinstance(capacity, Instance):
        environment["SM_NUM_GPUS"] = str(capacity.gpus)
    if preset.quantisation:
        environment["OPTION_QUANTIZE" if preset.container == "djl-lmi" else "HF_MODEL_QUANTIZE"] = preset.quantisation
    container: dict[str, Any] = {"Image": image}
    if preset.model_data:
        environment["HF_MODEL_ID"] = "/opt/ml/model"
        source: dict[str, Any] = {"S3Uri": preset.model_data, "S3DataType": "S3Prefix", "CompressionType": "None"}
        if preset.eula:
            source["ModelAccessConfig"] = {"AcceptEula": True}
        container["ModelDataSource"] = {"S3DataSource": source}
    return {**container, "Environment": {**environment, **preset.environment}}


def _capacity(preset: Preset, capacity: Instance | Serverless) -> dict[str, Any]:
    if isinstance(capacity, Serverless):
        size = {"MemorySizeInMB": capacity.memory_mb, "MaxConcurrency": capacity.max_concurrency}
        return {"ServerlessConfig": size}
    patience = {"ContainerStartupHealthCheckTimeoutInSeconds": preset.startup_seconds}
    if preset.model_data:
        patience["ModelDataDownloadTimeoutInSeconds"] = preset.startup_seconds
    return {
        "InstanceType": capacity.type,
        "InitialInstanceCount": preset.count,
        "InitialVariantWeight": 1.0,
        **patience,
    }


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def lease_tags(lease: Lease) -> dict[str, str]:
    """A lease as tags.

    Raises:
        ConfigurationError: The owner or a name cannot be written in a tag.
    """
    tags = {
        "owner": lease.owner,
        "run": lease.run_id,
        "flow": lease.flow,
        "expires-at": lease.expires_at.isoformat(),
    }
    for key, value in tags.items():
        if not _TAG_VALUE.fullmatch(value):
            raise ConfigurationError(
                f"{key} {value!r} cannot be the value of an AWS tag",
                hint="Up to 256 letters, digits, spaces and _.:/=+-@ may be.",
            )
    return tags


def lease_from(tags: Tags) -> Lease | None:
    """The lease in tags; None if it cannot be read."""
    named = {"owner": tags.get("owner", ""), "run_id": tags.get("run", ""), "flow": tags.get("flow", "")}
    try:
        return Lease.model_validate({**named, "expires_at": tags.get("expires-at")})
    except ValidationError:
        return None


def spec_from(tags: Tags) -> EndpointSpec | None:
    """The spec in a configuration's tags; None if it cannot be read."""
    options = dict(pair.split("=", 1) for pair in tags.get("options", "").split() if "=" in pair)
    named = {key: tags.get(key) for key in ("model", "contract")}
    try:
        return EndpointSpec.model_validate({"name": tags.get("endpoint"), **named, "options": options})
    except ValidationError:
        return None


def to_aws(tags: Tags, own: Mapping[str, str] | None = None) -> list[dict[str, str]]:
    """Our tags, prefixed, and the user's own, as AWS takes them."""
    named = {**(own or {}), f"{PREFIX}managed": "true", **{f"{PREFIX}{key}": value for key, value in tags.items()}}
    return [{"Key": key, "Value": value} for key, value in named.items()]


def from_aws(tags: list[dict[str, str]]) -> dict[str, str] | None:
    """Our tags of a resource; None if it is not ours."""
    named = {tag["Key"]: tag.get("Value", "") for tag in tags}
    if named.get(f"{PREFIX}managed") != "true":
        return None
    return {key.removeprefix(PREFIX): value for key, value in named.items() if key.startswith(PREFIX)}
