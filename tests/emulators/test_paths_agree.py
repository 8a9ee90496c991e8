"""The same model on this machine and behind SageMaker gives the same vectors, and the FAQ the same answers."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulators.aws_cloud import ROLES, AwsCloud
from emulators.aws_main_job import IMAGES

from ragwright.assembly import in_service, open_answerer, wanted_endpoints
from ragwright.bundled import bundled
from ragwright.embedding import open_embedder
from ragwright.endpoints import open_host
from ragwright.index.attempt import ReindexRequest
from ragwright.index.reindex import reindex
from ragwright.settings import Settings, load_settings

pytestmark = pytest.mark.long  # real models, each a server in a process of its own

ROWS = 16
TGI = IMAGES["tgi 3.3.6  us-east-1 ml.g5.4xlarge"]
# The packaged preset for this contract runs a model of 3 B parameters; agreement takes the same model on both paths.
PRESETS = f"""
[smollm2]
model = "smollm2-135m-instruct-q4"
contract = "tgi"
container = "tgi"
image = "{TGI}"
instances = [{{ type = "ml.g5.xlarge", gpus = 1 }}]
"""


@pytest.fixture(scope="module")
def faq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with bundled("sagemaker_faq.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[: ROWS + 1]
    path = tmp_path_factory.mktemp("faq") / "faq.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture(scope="module")
def paths(model_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Settings]]:
    """Settings by path, with the endpoints of all of them in service."""
    folder = tmp_path_factory.mktemp("paths")
    roles = {name: ROLES[f"RAGWRIGHT_SAGEMAKER__{name.upper()}"] for name in ("role_arn", "scheduler_role_arn")}

    def settings(name: str, **given: Any) -> Settings:
        (folder / name).mkdir()
        return load_settings(home=folder / name, model_cache=model_cache, answering={"calibration_rows": 8}, **given)

    def on_sagemaker(name: str, contract: str) -> Settings:
        made = settings(
            name,
            endpoints={"host": "sagemaker", "start_timeout_seconds": 120},
            sagemaker={**roles, "poll_seconds": 0.1, "settle_seconds": 30},
            embedding={"endpoint": name, "model": "all-minilm-l6-v2", "contract": contract},
            generation={"endpoint": "smollm2"},
        )
        (made.home / "images.json").write_text(json.dumps(IMAGES))
        (made.home / "presets.toml").write_text(PRESETS)
        return made

    with AwsCloud(models="real", cache=model_cache) as cloud, _environment(cloud), ExitStack() as stack:
        found = {
            "local": settings("local"),
            "tei": on_sagemaker("tei", "tei"),
            "hf-feature-extraction": on_sagemaker("toolkit", "hf-feature-extraction"),
        }
        for one in found.values():
            stack.callback(_stop, one)
            stack.enter_context(in_service(one, wanted_endpoints(one), minutes=10))
        yield found


@contextmanager
def _environment(cloud: AwsCloud) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cloud.environment().items():
            patch.setenv(name, value)
        yield


def _stop(settings: Settings) -> None:
    with open_host(settings) as host:
        for spec in wanted_endpoints(settings):
            host.delete(spec.name)


@pytest.mark.parametrize("contract", ["tei", "hf-feature-extraction"])
def test_vectors_agree_whatever_they_were_padded_with(paths: dict[str, Settings], faq: Path, contract: str) -> None:
    with faq.open(encoding="utf-8", newline="") as file:
        answers = [row["answer"] for row in csv.DictReader(file)]
    # Short beside long: the shorter of two in a request are filled up with padding.
    texts = [
        text for pair in zip(answers, ["Why?", "What does it cost?"] * len(answers), strict=False) for text in pair
    ]
    one_request = {"batch_texts": len(texts), "batch_tokens": 100_000}
    with open_embedder(paths["local"]) as embedder:
        here = np.stack([embedder.embed([text])[0] for text in texts])
    settings = paths[contract]
    with open_embedder(
        settings.model_copy(update={"embedding": settings.embedding.model_copy(update=one_request)})
    ) as embedder:
        there = embedder.embed(texts)
    assert np.sum(here * there, axis=1).min() >= 0.999


def test_answers_agree(paths: dict[str, Settings], faq: Path) -> None:
    questions = [
        "Why is it called SageMaker AI now?",
        "Which boto3 client gets predictions?",
        "Is Unified Studio the same as Studio?",
        "What color is my desk?",
    ]
    answers = {}
    for name in ("local", "hf-feature-extraction"):
        reindex(paths[name], ReindexRequest(source=str(faq)))
        with open_answerer(paths[name]) as answerer:
            found = [answerer.answer(question) for question in questions]
        answers[name] = [(one.answer, one.abstained, [cited.row for cited in one.citations]) for one in found]
    assert answers["local"] == answers["hf-feature-extraction"]
    assert {abstained for _, abstained, _ in answers["local"]} == {True, False}
