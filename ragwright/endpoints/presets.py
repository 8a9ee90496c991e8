"""How a model runs on SageMaker: container, instance types and environment, as data."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ragwright.endpoints import Contract, EndpointSpec
from ragwright.errors import ConfigurationError
from ragwright.settings import Settings

Container = Literal["tgi", "tei-cpu", "tei", "hf-feature-extraction", "djl-lmi"]

# Our name of a container, and the SDK's.
FRAMEWORKS: Mapping[Container, str] = {
    "tgi": "huggingface-llm",
    "tei": "huggingface-tei",
    "tei-cpu": "huggingface-tei-cpu",
    "hf-feature-extraction": "huggingface",
    "djl-lmi": "djl-lmi",
}
_PACKAGED = Path(__file__).with_name("presets.toml")
_SECRET_NAMES = ("TOKEN", "SECRET", "PASSWORD", "API_KEY")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Instance(_Frozen):
    """One instance type and its GPUs, over which a model is spread."""

    type: str = Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9-]+$")
    gpus: int = Field(0, ge=0, le=16)


class Serverless(_Frozen):
    """Capacity that is there for the length of a request."""

    memory_mb: Literal[1024, 2048, 3072, 4096, 5120, 6144]
    max_concurrency: int = Field(ge=1, le=200)


class Preset(_Frozen):
    """How one model runs.

    Attributes:
        model: Name in models.toml.
        contract: What the container speaks.
        container: Its kind.
        version: Of the container, as `sagemaker.core.image_uris` counts.
        framework_version: Of what is inside, for the Hugging Face container.
        image: Address of the image, instead of the above.
        instances: Types to try, in order; none for serverless.
        count: How many instances.
        serverless: Capacity by the request.
        environment: Of the container. No secrets: presets are shown.
        model_data: `s3://` prefix of the model's uncompressed files, for containers without a way to the hub.
        quantisation: In the container's words.
        gated: Whether the hub wants a token for it.
        eula: Where the licence is that its user must accept.
        startup_seconds: How long it may take to load the model.
    """

    name: str
    model: str
    contract: Contract
    container: Container
    version: str = ""
    framework_version: str | None = None
    image: str | None = None
    instances: tuple[Instance, ...] = ()
    count: int = Field(1, ge=1, le=100)
    serverless: Serverless | None = None
    environment: Mapping[str, str] = Field(default_factory=dict)
    model_data: str | None = Field(None, pattern=r"^s3://[^/]+/.+/$")
    quantisation: str | None = None
    gated: bool = False
    eula: str | None = None
    startup_seconds: int = Field(600, ge=60, le=3600)

    @model_validator(mode="after")
    def _is_complete(self) -> Preset:
        if bool(self.instances) == bool(self.serverless):
            raise ValueError("a preset has either instances or serverless")
        if not self.version and not self.image:
            raise ValueError("a preset has a version or an image")
        if secret := [name for name in self.environment if name.upper().endswith(_SECRET_NAMES)]:
            raise ValueError(f"{secret[0]} looks like a secret; tokens come from the settings")
        return self


def load_presets(home: Path) -> dict[str, Preset]:
    """Every preset by name: the packaged ones, then presets.toml in RAGWRIGHT_HOME and in the working directory.

    Raises:
        ConfigurationError: A file cannot be read or says something unknown.
    """
    own = [path for path in (home / "presets.toml", Path("presets.toml")) if path.is_file()]
    presets: dict[str, Preset] = {}
    for path in (_PACKAGED, *own):
        presets |= _read(path)
    return presets


def preset_for(spec: EndpointSpec, settings: Settings) -> Preset:
    """The preset of an endpoint: its option `preset`, or what the settings name for it, or the first that fits.

    Raises:
        ConfigurationError: There is none, it is for another model or contract, or its licence is not accepted.
    """
    presets = load_presets(settings.home)
    named = spec.options.get("preset") or settings.sagemaker.presets.get(spec.name)
    if named:
        if named not in presets:
            raise ConfigurationError(f"unknown preset {named!r}; known are {', '.join(sorted(presets))}.")
        preset = presets[named]
        if (preset.model, preset.contract) != (spec.model, spec.contract):
            raise ConfigurationError(
                f"preset {named!r} is for {preset.model!r} by {preset.contract!r}, endpoint {spec.name!r} wants "
                f"{spec.model!r} by {spec.contract!r}",
                hint="Change the model and contract in the settings, or the preset.",
            )
        return preset
    for preset in presets.values():
        if (preset.model, preset.contract) == (spec.model, spec.contract):
            return preset
    known = ", ".join(f"{preset.model} by {preset.contract}" for preset in presets.values())
    raise ConfigurationError(
        f"no preset says how {spec.model!r} runs on SageMaker and speaks {spec.contract!r}; there are: {known}.",
        hint="Name one of these models and contracts, or describe it in a presets.toml of your own.",
    )


def image_of(preset: Preset, *, region: str, cache: Path) -> str:
    """Address of a preset's container image in a region.

    The SDK that knows it takes seconds to import, so its answers are kept in `cache`.

    Raises:
        ConfigurationError: The SDK is not installed or knows no such image.
    """
    if preset.image:
        return preset.image.replace("{region}", region)
    instance = preset.instances[0].type if preset.instances else "ml.m5.xlarge"
    key = " ".join((preset.container, preset.version, preset.framework_version or "", region, instance))
    known = _cached(cache)
    if key not in known:
        known[key] = _retrieve(preset, region=region, instance=instance)
        draft = cache.with_name(f"{cache.name}.{os.getpid()}.tmp")
        cache.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(known, indent=1))
        draft.replace(cache)
    return known[key]


def _cached(cache: Path) -> dict[str, str]:
    try:
        known = json.loads(cache.read_text())
    except (OSError, ValueError):  # none yet, or damaged: it is only a cache
        return {}
    return known if isinstance(known, dict) else {}


def _retrieve(preset: Preset, *, region: str, instance: str) -> str:
    try:
        from sagemaker.core import image_uris
    except ImportError as error:
        raise ConfigurationError(
            f"the container image of preset {preset.name!r} cannot be looked up: {error}",
            hint="Install the `aws` extra (pip install 'ragwright[aws]'), or give the preset an `image`.",
        ) from error
    try:
        return str(
            image_uris.retrieve(
                FRAMEWORKS[preset.container],
                region=region,
                version=preset.version,
                base_framework_version=preset.framework_version,
                instance_type=instance,
                image_scope="inference",
            )
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"preset {preset.name!r} has no image in {region!r}: {error}",
            hint="Change its version, or give it an `image`.",
        ) from error


def _read(path: Path) -> dict[str, Preset]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        return {name: Preset.model_validate({"name": name, **fields}) for name, fields in content.items()}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as error:
        raise ConfigurationError(f"not a readable presets.toml: {error}", place=str(path)) from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ConfigurationError(
            f"a preset is not valid: {faults}", place=str(path), hint="Compare with the packaged presets.toml."
        ) from None
