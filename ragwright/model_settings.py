"""The branches of the settings tree about models: where they run, and how they are fed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from ragwright.settings_section import Adapter, Section, Share

Precision = Literal["f32", "bf16", "f16"]


class EndpointSettings(Section):
    """Where models run and for how long."""

    host: Literal["local", "sagemaker"] | Adapter = Field(
        "local", description="Where endpoints run; `python:MODULE:FACTORY` names a host of another package."
    )
    owner: str = Field("ragwright", description="Whose endpoints these are; teardown touches no other's.")
    lease_minutes: float = Field(60, gt=0, description="An endpoint goes away this long after its last extension.")
    ask_lease_minutes: float = Field(10, gt=0, description="The same for endpoints that `ask` starts by itself.")
    start_timeout_seconds: float = Field(180, gt=0)
    request_timeout_seconds: float = Field(60, gt=0)


class EmbeddingSettings(Section):
    """The embedding endpoint and how it is fed."""

    endpoint: str = Field(
        "minilm-demo",
        description="Endpoint name, or a URL, or `hashing:DIMENSION`, or `python:MODULE:FACTORY` for an embedder of "
        "another package.",
    )
    model: str = Field("all-minilm-l6-v2-int8", description="Name in models.toml.")
    contract: Literal["tei", "hf-feature-extraction", "openai-embeddings"] = "tei"
    api_key: SecretStr | None = Field(None, description="For a URL that asks for one.")
    batch_tokens: int = Field(4_096, ge=32, description="Tokens of one request, padding included.")
    batch_texts: int = Field(32, ge=1, description="Texts of one request at most.")
    concurrency: int = Field(3, ge=1, description="Requests in flight.")
    check_order: bool = Field(
        True,
        description="Embed one text of every write batch again by itself, and refuse an endpoint that gives it another "
        "vector. Endpoints that number their vectors are not asked.",
    )
    write_batch: int = Field(
        1_000,
        ge=1,
        le=20_000,
        description="Sections embedded and written together. A killed run may have to embed two of these again; memory "
        "holds as many.",
    )


class EncoderSettings(Section):
    """How a local server runs an embedding model; what is left open is chosen by measuring, when it first starts."""

    precision: Precision | None = Field(None, description="What it computes in.")
    streams: int | None = Field(None, ge=1, le=256, description="Batches computed at the same time.")
    batch_tokens: int | None = Field(None, ge=32, le=65_536, description="Tokens of one batch, padding included.")
    remember_mb: int = Field(
        1_024,
        ge=0,
        le=1_048_576,
        description="Disk for what was computed of each token of the texts embedded last, in MiB: to compare words "
        "then costs no second look. 0: none.",
    )
    min_cosine: Share = Field(
        0.999,
        description="Least cosine to the fp32 original's vectors on a fixed sample; a model that stays below is not "
        "served.",
    )


class GenerationSettings(Section):
    """The language model and how it is asked."""

    endpoint: str = Field(
        "smollm2-demo",
        description="Endpoint name, or a URL, or `scripted`, or `none`, or `python:MODULE:FACTORY` for a generator of "
        "another package.",
    )
    model: str = Field("smollm2-135m-instruct-q4", description="Name in models.toml.")
    contract: Literal["tgi", "openai-chat"] = "tgi"
    api_key: SecretStr | None = Field(None, description="For a URL that asks for one.")
    max_new_tokens: int = Field(160, ge=1)
    temperature: float = Field(0.0, ge=0, le=2)
    seed: int = 7
