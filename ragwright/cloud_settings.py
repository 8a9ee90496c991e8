"""The branches of the settings tree that reach past this machine: SageMaker, prices, Pinecone, Dask."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from ragwright.settings_section import Section


class SageMakerSettings(Section):
    """Where and as whom endpoints run on SageMaker; credentials come from the AWS environment."""

    region: str | None = Field(None, description="AWS region. None: as the AWS environment or profile says.")
    role_arn: str = Field("", description="Execution role of the containers.")
    scheduler_role_arn: str = Field(
        "", description="Role with which EventBridge Scheduler deletes an endpoint when its lease ends."
    )
    scheduler_group: str = Field(
        "ragwright",
        pattern=r"^[0-9a-zA-Z-_.]{1,64}$",
        description="Schedule group that holds these schedules and no others.",
    )
    presets: dict[str, str] = Field(
        default_factory=dict,
        description="Preset by endpoint name; others take the first preset of their model and contract.",
    )
    hugging_face_token: SecretStr | None = Field(
        None, description="For gated models. It goes into the container's environment, which DescribeModel shows."
    )
    accept_eula: tuple[str, ...] = Field((), description="Presets whose licence you have read and accept.")
    tags: dict[str, str] = Field(default_factory=dict, description="Tags of your own on all that is created.")
    subnets: tuple[str, ...] = Field((), description="Subnets of the containers; none: no VPC.")
    security_groups: tuple[str, ...] = Field((), description="Security groups of the containers in those subnets.")
    poll_seconds: float = Field(5, gt=0, le=60, description="First wait between two looks at an endpoint's status.")
    settle_seconds: float = Field(
        1_800, gt=0, description="How long a deletion or replacement waits for a change that is still going on."
    )
    max_concurrency: int = Field(16, ge=1, description="Requests to an endpoint in flight, before it asks for fewer.")


class CostSettings(Section):
    """Where prices come from."""

    prices: Path | None = Field(
        None, description="Prices of your own (TOML), put over the packaged table; docs/sizing.md has the format."
    )
    warn_after_days: int = Field(180, ge=1, le=3_650, description="A price older than this is said to be stale.")
    use_pricing_api: bool = Field(
        False, description="Ask the AWS Price List for instance prices; needs the permission pricing:GetProducts."
    )


class PineconeSettings(Section):
    """How a Pinecone index is filled; which index it is stands in `store`, the key in PINECONE_API_KEY."""

    bulk_import_rows: int | None = Field(
        None,
        ge=0,
        description="A first load of more sections than this goes into Parquet files in the catalog's bucket, which "
        "Pinecone imports by itself. None: never, for an import takes ten minutes at least, a paid plan, an index on "
        "AWS and a catalog on S3.",
    )
    bulk_import_integration: str = Field(
        "",
        max_length=1_000,
        description="Id of the storage integration that lets Pinecone read the catalog's bucket. Empty: it is public.",
    )


class DaskSettings(Section):
    """Dask's workers, where `task_runner` is `dask`."""

    address: str | None = Field(
        None,
        pattern=r"^(tcp|tls|ws|wss)://.",
        description="Scheduler of a Dask cluster that runs already. None: a cluster on this machine for each run.",
    )
    workers: int = Field(2, ge=1, le=256, description="Processes of a cluster on this machine.")
    start_timeout_seconds: float = Field(
        120, gt=0, description="How long to wait for the scheduler, for the first worker, and for one after the last."
    )
    silence_seconds: float = Field(
        60, gt=0, description="How long a run waits for a word from the scheduler before it gives its workers up."
    )
