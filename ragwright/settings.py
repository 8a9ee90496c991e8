"""The one settings tree: the profile < `ragwright.toml` < `.env` < environment < what a call passes in.

Environment names are `RAGWRIGHT_` plus the path with double underscores: `RAGWRIGHT_EMBEDDING__ENDPOINT`.
Nothing is read at import; call `load_settings()`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from ragwright.cloud_settings import CostSettings, DaskSettings, PineconeSettings, SageMakerSettings
from ragwright.errors import ConfigurationError
from ragwright.model_settings import EmbeddingSettings, EncoderSettings, EndpointSettings, GenerationSettings
from ragwright.profiles import Profile, ProfileSource
from ragwright.retry import RetryPolicy
from ragwright.settings_section import Section, Share

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class SourceSettings(Section):
    """How the FAQ is read."""

    question_column: str = Field("question", description="Column that holds the question.")
    answer_column: str = Field("answer", description="Column that holds the answer.")
    key_column: str | None = Field(
        None, description="Column that names a row for ever. Without one the question's own text does."
    )
    metadata_columns: tuple[str, ...] = Field((), description="Other columns to keep with every answer.")
    encoding: str = Field("utf-8", description="Text encoding of CSV and JSONL sources.")
    partition_rows: int = Field(5_000, ge=1, description="Rows read, checked and chunked at a time.")
    delimiter: str | None = Field(
        None, min_length=1, max_length=1, description="What separates CSV cells. None: a comma, or a tab in .tsv."
    )
    timeout_seconds: float = Field(60, gt=0, description="Limit on each read from a URL.")
    download_seconds: float = Field(3_600, gt=0, description="Limit on a whole download.")
    max_download_bytes: int = Field(10 * 2**30, ge=1, description="Downloads larger than this are refused.")


class QualitySettings(Section):
    """What makes a row unfit to index."""

    max_bad_share: Share = Field(0.1, description="The run fails when a larger share of rows is bad.")
    min_answer_chars: int = Field(2, ge=1)
    max_answer_chars: int = Field(1_000_000, ge=1)
    max_question_chars: int = Field(2_000, ge=1)
    damaged_text: Literal["quarantine", "warn"] = Field(
        "quarantine", description="What becomes of rows with mojibake or replacement characters."
    )
    keep_runs: int = Field(5, ge=1, le=100, description="Runs that the Data Docs show.")


class ChunkingSettings(Section):
    """How answers become sections."""

    max_tokens: int | None = Field(
        None, ge=16, description="Tokens of one embedded text; None: what the embedder takes."
    )
    overlap_tokens: int = Field(24, ge=0, description="Tokens that neighbouring sections share.")
    embed: Literal["question+answer", "answer"] = Field(
        "question+answer", description="What is embedded; see docs/evaluation.md for what it is worth."
    )


class AnsweringSettings(Section):
    """From matches to an answer."""

    candidates: int = Field(20, ge=1, le=200, description="Sections retrieved, to be ranked by reading them.")
    lexical_candidates: int = Field(
        0,
        ge=0,
        le=200,
        description="Sections retrieved by their words (BM25) and added to those. 0: none, because over five FAQs they "
        "gained nothing on average once sections are ranked by late interaction; worth a try where questions name "
        "rare products or codes. A process's first search reads the words of the whole FAQ.",
    )
    top_k: int = Field(5, ge=1, le=100, description="Sections read closely: what an answer may rest on.")
    late_interaction: bool = Field(
        True,
        description="Rank and judge by comparing words in their context, where the embedding endpoint gives a vector "
        "a token.",
    )
    max_false_answer_rate: Share = Field(
        0.2,
        description="Share of near misses and unrelated questions, half and half, that may be answered when the "
        "answerability model is fitted; docs/evaluation.md has what readers meet.",
    )
    calibration_rows: int = Field(
        150,
        ge=0,
        le=5_000,
        description="Rows whose questions are held out to fit the answerability model; 0: do not fit.",
    )
    context_tokens: int = Field(400, ge=32, description="Tokens of context given to the language model.")
    context_margin: Share = Field(
        0.03,
        description="Sections this much less relevant than the best are kept from the language model. Small models "
        "mix up what they are shown; with a large one raise it to 1.",
    )
    quote_alone_tokens: int = Field(
        64,
        ge=0,
        description="One section this short, when the language model would be shown no other, is quoted as it stands "
        "without asking the model, which could only repeat it or spoil it. 0: always ask.",
    )
    quote_tokens: int = Field(120, ge=16, description="Tokens of a quoted answer; one sentence may exceed it.")

    @property
    def retrieved(self) -> int:
        """Sections to retrieve by meaning: at least those that are read closely."""
        return max(self.candidates, self.top_k)


class AgentSettings(Section):
    """How the conversational agent remembers, asks the model and is bounded."""

    window: int = Field(5, ge=0, le=100, description="Exchanges (a user's turn and its reply) that are remembered.")
    max_steps: int = Field(4, ge=1, le=20, description="Tool calls in one turn at most.")
    max_repairs: int = Field(2, ge=0, le=10, description="Replies in one turn that may be asked for again at most.")
    max_new_tokens: int = Field(512, ge=16, le=8_192, description="Tokens of one reply of the model.")
    max_reply_chars: int = Field(
        400, ge=40, le=8_000, description="Characters of an `action_input` under constrained decoding."
    )
    temperature: float = Field(0.0, ge=0, le=2)
    context_tokens: int | None = Field(
        None, ge=256, description="Prompt and reply together. None: what models.toml says of the model."
    )
    constrained: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Bind replies to the JSON schema of the protocol. auto: where the endpoint takes one, else mend "
        "what comes; on: an endpoint that does not is an error.",
    )
    routing: Literal["take", "hint", "off"] = Field(
        "hint",
        description="What becomes of a tool call that can be read off the user's own words (`what is 4 to the power of "
        "2.1?`). take: it is made without asking the model; hint: the model is told, and offered that tool alone; off: "
        "the model finds it by itself.",
    )
    tools: tuple[Literal["Calculator", "Search"], ...] = Field(
        ("Calculator", "Search"), description="Tools that are offered."
    )
    verbatim_search: bool = Field(
        True,
        description="A found answer is the reply, word by word with its sources. False: the model words the reply.",
    )
    max_turn_chars: int = Field(8_000, ge=100, description="Longer turns of a user are refused.")


class LanceDBSettings(Section):
    """The vector store on this machine."""

    memory_mb: int = Field(
        300,
        ge=0,
        le=2**20,
        description="Memory, in MiB, for what searches read. A space whose vectors fit into it is searched there, "
        "exactly (200,000 vectors of 384 numbers do); larger ones by an index on disk, which a re-index makes. Writers "
        "and readers need the same.",
    )


class RetentionSettings(Section):
    """What is kept of an index's past."""

    generations: int = Field(5, ge=1, description="Generations that can still be read, the live one among them.")


class WriterSettings(Section):
    """The right to write an index, held by one run at a time."""

    lease_seconds: float = Field(
        30,
        ge=8,
        le=3_600,
        description="How long the right outlives its holder's last sign of life; after a crash on another machine the "
        "next run waits as long. One request to the store may take a third of it.",
    )


class EvaluationSettings(Section):
    """What a generation is measured with."""

    questions: Path | None = Field(Path("data/questions.jsonl"), description="Question set (JSONL).")
    concurrency: int = Field(2, ge=1, le=64, description="Questions in flight.")
    judge: str | None = Field(
        None,
        description="Language model that gives a second opinion on answers: endpoint name, or a URL. None: nobody is "
        "asked.",
    )
    judge_model: str = Field("smollm2-135m-instruct-q4", description="The judge's name in models.toml.")
    judge_contract: Literal["tgi", "openai-chat"] = "tgi"
    judge_api_key: SecretStr | None = Field(None, description="For a URL that asks for one.")
    judge_max_new_tokens: int = Field(200, ge=32, le=4_096, description="Tokens that a verdict may take.")


class GateFloors(Section):
    """What a candidate must reach whatever the live generation does; None asks for nothing.

    The defaults are what the embedded models reach with room to spare: they catch what is broken, not what is mediocre.
    """

    answer_correctness: Share | None = Field(0.4, description="Least share of all questions treated correctly.")
    answerable_correctness: Share | None = Field(
        0.2, description="Least share of the answerable questions that are answered correctly."
    )
    hit_at_5: Share | None = Field(0.5, description="Least share of questions with the right row in the top five.")
    mrr: Share | None = Field(None, description="Least mean reciprocal rank of the right row.")
    false_answer_rate: Share | None = Field(
        0.8, description="Greatest share of the unanswerable questions that are answered."
    )
    over_refusal_rate: Share | None = Field(
        0.8, description="Greatest share of the answerable questions that are refused."
    )


class GateSettings(Section):
    """What a candidate generation must show before it goes live."""

    mode: Literal["warn", "block", "off"] = Field(
        "block", description="What a candidate that fails leads to: a warning, no publishing, or nothing is asked."
    )
    margin: Share = Field(0.02, description="A figure may fall by so much; a smaller loss is never held against it.")
    confidence: float = Field(
        0.95,
        gt=0.5,
        lt=1,
        description="Of the gate as a whole: a candidate as good as the live generation is blocked by chance in at "
        "most 1 - confidence of runs, however much a language model's answers vary.",
    )
    min_questions: int = Field(20, ge=1, description="A figure over fewer questions than this warns and cannot block.")
    sample: int = Field(
        160, ge=1, description="Ask at most so many questions, drawn with a seed; the time of a re-index depends on it."
    )
    known_share: Share = Field(
        0.5,
        description="Least share of the questions with gold rows whose rows the FAQ has, or had; a question set below "
        "it is about something else and does not gate this FAQ.",
    )
    floors: GateFloors = GateFloors()


class Settings(BaseSettings):
    """Everything ragwright can be told."""

    model_config = SettingsConfigDict(
        env_prefix="RAGWRIGHT_",
        env_nested_delimiter="__",
        env_file=".env",
        toml_file="ragwright.toml",
        extra="forbid",
        frozen=True,
        # .env may hold other programs' variables; only RAGWRIGHT_ names are read from it.
        dotenv_filtering="match_prefix",
    )

    profile: Profile = Field(
        "local", description="Defaults for a kind of place: `aws` is SageMaker and Pinecone; every other source wins."
    )
    home: Path = Field(Path(".ragwright"), description="Where state lives: models, endpoints, catalog, store, reports.")
    model_cache: Path | None = Field(None, description="Where model files are kept. Default: `models` in `home`.")
    index: str = Field("faq", pattern=r"^[a-z0-9][a-z0-9-]{0,44}$", description="Name of the index.")
    store: str = Field(
        "lancedb:",
        description="Vector store: `lancedb:PATH`, `memory:NAME`, `pinecone:INDEX` or `python:MODULE:FACTORY:WHERE`.",
    )
    catalog: str = Field("", description="Catalog location: a folder or `s3://bucket/prefix`. Default: in `home`.")

    task_runner: Literal["threads", "dask"] = Field(
        "threads",
        description="What runs a re-index's partitions: threads of its process, or Dask's workers.",
    )

    source: SourceSettings = SourceSettings()
    quality: QualitySettings = QualitySettings()
    chunking: ChunkingSettings = ChunkingSettings()
    endpoints: EndpointSettings = EndpointSettings()
    costs: CostSettings = CostSettings()
    sagemaker: SageMakerSettings = SageMakerSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    encoder: EncoderSettings = EncoderSettings()
    generation: GenerationSettings = GenerationSettings()
    answering: AnsweringSettings = AnsweringSettings()
    agent: AgentSettings = AgentSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    gate: GateSettings = GateSettings()
    retention: RetentionSettings = RetentionSettings()
    writer: WriterSettings = WriterSettings()
    dask: DaskSettings = DaskSettings()
    pinecone: PineconeSettings = PineconeSettings()
    lancedb: LanceDBSettings = LanceDBSettings()
    retry: RetryPolicy = RetryPolicy()

    @property
    def store_spec(self) -> str:
        """The store with its default place filled in."""
        return f"lancedb:{self.home / 'store'}" if self.store == "lancedb:" else self.store

    @property
    def model_folder(self) -> Path:
        """Where model files are kept, with its default filled in."""
        return self.model_cache or self.home / "models"

    @property
    def catalog_url(self) -> str:
        """The catalog with its default place filled in."""
        return self.catalog or str(self.home / "catalog")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the file below the environment, and the profile below all."""
        own = init_settings, env_settings, dotenv_settings, TomlConfigSettingsSource(settings_cls)
        return *own, ProfileSource(settings_cls)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings tree; `overrides` win over every other source.

    Raises:
        ConfigurationError: A value is unknown or out of bounds (every offending name is listed), or a source cannot
            be read.
    """
    try:
        return Settings(**overrides)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, SettingsError, OSError) as error:
        raise ConfigurationError(
            f"settings cannot be read: {error}",
            hint="Mend ragwright.toml (TOML), .env, or the variable (a whole section is a JSON object).",
        ) from error
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}{_shown(fault)}"
            for fault in error.errors(include_url=False)
        )
        raise ConfigurationError(
            f"settings are not valid: {faults}",
            hint="Fix the name or value in ragwright.toml, .env or the environment (RAGWRIGHT_...).",
        ) from None


def _shown(fault: ErrorDetails) -> str:
    """The refused value; nothing where it may be a secret: by its name, under an unknown name, in a whole section."""
    name = str(fault["loc"][-1]) if fault["loc"] else ""
    may_be_secret = "key" in name or name.endswith("_token") or fault["type"] == "extra_forbidden"
    is_plain = isinstance(fault["input"], str | int | float | bool) and not fault["type"].startswith("model_")
    return f" (got {fault['input']!r})" if is_plain and not may_be_secret else ""
