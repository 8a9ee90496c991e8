"""Presets, and what a spec comes to on SageMaker."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ragwright.endpoints import EndpointSpec
from ragwright.endpoints.presets import image_of, load_presets, preset_for
from ragwright.endpoints.sagemaker_plan import Plan, from_aws, is_name, lease_from, plan_for, spec_from, to_aws
from ragwright.errors import ConfigurationError
from ragwright.generation.chat import render_chat
from ragwright.generation.port import Message
from ragwright.models import get_model
from ragwright.settings import Settings

REGISTRY = "763104351884.dkr.ecr.us-east-1.amazonaws.com"
IMAGES = {
    "djl-lmi 0.34.0  us-east-1 ml.g5.2xlarge": f"{REGISTRY}/djl-inference:0.34.0-lmi16.0.0-cu128",
    "tgi 3.3.6  us-east-1 ml.g5.4xlarge": f"{REGISTRY}/huggingface-pytorch-tgi-inference:3.3.6",
    "tgi 3.3.6  us-east-1 ml.g5.12xlarge": f"{REGISTRY}/huggingface-pytorch-tgi-inference:3.3.6",
}


@pytest.fixture
def settings(on_sagemaker: Callable[..., Settings], tmp_path: Path) -> Settings:
    (tmp_path / "images.json").write_text(json.dumps(IMAGES))
    return on_sagemaker(
        presets={"by-request": "all-minilm-l6-v2-serverless"},
        hugging_face_token="hf_secret",
        accept_eula=("llama-2-70b-chat",),
    )


def planned(settings: Settings, **options: str) -> Plan:
    spec = EndpointSpec(name="minilm", model="hashing-384", contract="tei", options=options)
    return plan_for(spec, settings, region="us-east-1")


def test_the_packaged_presets_name_models_that_speak_their_contracts(settings: Settings) -> None:
    presets = load_presets(Path("nowhere"))
    assert {"flan-t5-xl", "all-minilm-l6-v2-tei", "llama-2-70b-chat", "qwen3-4b-instruct"} <= set(presets)
    for preset in presets.values():
        model = get_model(preset.model)
        generates = preset.contract in ("tgi", "openai-chat")
        assert (model.task == "text-generation") == generates
        assert model.hub
        if preset.contract == "tgi":
            assert render_chat([Message("user", "hello")], model.chat_template)[0]
        limit = preset.environment.get("MAX_TOTAL_TOKENS") or preset.environment.get("OPTION_MAX_MODEL_LEN")
        assert limit is None or int(limit) == model.context_tokens


def test_an_endpoint_takes_the_first_preset_of_its_model_and_contract_or_the_one_named(settings: Settings) -> None:
    spec = EndpointSpec(name="e", model="all-minilm-l6-v2", contract="hf-feature-extraction")
    assert preset_for(spec, settings).name == "all-minilm-l6-v2-feature-extraction"
    assert preset_for(spec.model_copy(update={"name": "by-request"}), settings).name == "all-minilm-l6-v2-serverless"
    chosen = spec.model_copy(update={"options": {"preset": "all-minilm-l6-v2-serverless"}})
    assert preset_for(chosen, settings).serverless is not None


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (EndpointSpec(name="e", model="scripted", contract="tgi"), "no preset says how 'scripted' runs"),
        (
            EndpointSpec(name="e", model="hashing-384", contract="tei", options={"preset": "nope"}),
            "unknown preset 'nope'",
        ),
        (EndpointSpec(name="e", model="scripted", contract="tgi", options={"preset": "small"}), "is for 'hashing-384'"),
        (EndpointSpec(name="e", model="hashing-384", contract="tei", options={"port": "1"}), "port"),
        (EndpointSpec(name="e", model="hashing-384", contract="tei", options={"instances": "many"}), "many"),
        (EndpointSpec(name="e-", model="hashing-384", contract="tei"), "'e-'"),
    ],
)
def test_a_spec_that_cannot_run_is_refused_with_the_reason(settings: Settings, spec: EndpointSpec, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        plan_for(spec, settings, region="us-east-1")


def test_without_an_execution_role_nothing_is_planned(on_sagemaker: Callable[..., Settings]) -> None:
    with pytest.raises(ConfigurationError, match="role_arn"):
        planned(on_sagemaker(role_arn=""))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[p", "not a readable"),
        ("p = 1", "not a readable"),
        ('[p]\nmodel = "m"\ncontract = "tei"\ncontainer = "tei"\nversion = "1"', "instances or serverless"),
        (
            '[p]\nmodel = "m"\ncontract = "tei"\ncontainer = "tei"\nversion = "1"\n'
            'instances = [{type = "ml.m5.large"}]\nenvironment = {HF_TOKEN = "hf_secret"}',
            "looks like a secret",
        ),
    ],
)
def test_a_damaged_presets_file_is_named_without_quoting_secrets(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "presets.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=said) as caught:
        load_presets(tmp_path)
    assert "presets.toml" in str(caught.value)
    assert "hf_secret" not in str(caught.value)


def test_equal_specs_have_equal_names_and_others_do_not(settings: Settings) -> None:
    plan = planned(settings)
    assert plan == planned(settings)
    names = {variant.config_name for variant in plan.variants}
    assert len(names) == 3
    assert len({variant.model_name for variant in plan.variants}) == 1  # the container does not depend on the type
    other = planned(settings, instances="2")
    assert other.digest != plan.digest
    assert names.isdisjoint(variant.config_name for variant in other.variants)
    assert all(is_name(name) and name.startswith("ragwright-minilm-") for name in names)


def test_an_instance_type_of_the_spec_is_the_only_one_tried(settings: Settings) -> None:
    assert [variant.capacity for variant in planned(settings, instance_type="ml.c5.2xlarge").variants] == [
        "ml.c5.2xlarge"
    ]


def test_llama_2_runs_in_four_bits_over_all_gpus(settings: Settings) -> None:
    plan = plan_for(EndpointSpec(name="llama", model="llama-2-70b-chat", contract="tgi"), settings, region="us-east-1")
    environments = [variant.container["Environment"] for variant in plan.variants]
    assert {environment["HF_MODEL_QUANTIZE"] for environment in environments} == {"bitsandbytes-nf4"}
    assert [environment["SM_NUM_GPUS"] for environment in environments] == ["4", "4", "8"]
    assert environments[0]["HF_MODEL_ID"] == "meta-llama/Llama-2-70b-chat-hf"
    assert "hf_secret" not in repr(plan)


def test_the_tutorials_model_runs_where_it_ran_and_answers_are_not_cut(settings: Settings) -> None:
    plan = plan_for(EndpointSpec(name="flan", model="flan-t5-xl", contract="tgi"), settings, region="us-east-1")
    first = plan.variants[0]
    assert first.production["InstanceType"] == "ml.g5.4xlarge"
    assert first.production["ContainerStartupHealthCheckTimeoutInSeconds"] == 900
    environment = first.container["Environment"]
    assert int(environment["MAX_TOTAL_TOKENS"]) - int(environment["MAX_INPUT_TOKENS"]) >= 512


def test_vllm_answers_to_the_name_that_requests_carry(settings: Settings) -> None:
    spec = EndpointSpec(name="qwen", model="qwen3-4b-instruct", contract="openai-chat")
    environment = plan_for(spec, settings, region="us-east-1").variants[0].container["Environment"]
    assert environment["OPTION_SERVED_MODEL_NAME"] == get_model("qwen3-4b-instruct").hub == environment["HF_MODEL_ID"]


def test_weights_on_s3_need_no_token_and_carry_the_licence(
    on_sagemaker: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = on_sagemaker(accept_eula=("gated",))
    own = (tmp_path / "presets.toml").read_text().replace("gated = true", 'gated = true\nmodel_data = "s3://bucket/m/"')
    (tmp_path / "presets.toml").write_text(own)
    plan = plan_for(EndpointSpec(name="e", model="hashing-32", contract="tei"), settings, region="us-east-1")
    container = plan.variants[0].container
    assert container["ModelDataSource"]["S3DataSource"]["ModelAccessConfig"] == {"AcceptEula": True}
    assert container["Environment"]["HF_MODEL_ID"] == "/opt/ml/model"


def test_what_tags_say_can_be_read_back(settings: Settings) -> None:
    plan = planned(settings, instances="2", instance_type="ml.m5.xlarge")
    tags = from_aws(to_aws(plan.variants[0].tags, {"team": "search"}))
    assert tags is not None
    assert spec_from(tags) == plan.spec
    assert lease_from(tags) is None
    assert from_aws([{"Key": "team", "Value": "search"}]) is None


def test_the_sdk_knows_the_image_of_every_packaged_preset_and_is_asked_once(tmp_path: Path) -> None:
    cache = tmp_path / "home" / "images.json"
    presets = load_presets(Path("nowhere")).values()
    images = {preset.name: image_of(preset, region="eu-west-1", cache=cache) for preset in presets}
    assert "tgi3.3.6-gpu" in images["flan-t5-xl"]
    assert "/tei-cpu:" in images["all-minilm-l6-v2-tei"]
    assert "huggingface-pytorch-inference:2.6.0-transformers4.49.0-cpu" in images["all-minilm-l6-v2-serverless"]
    assert "djl-inference:0.34.0-lmi" in images["qwen3-4b-instruct"]
    assert all(".eu-west-1.amazonaws.com/" in image for image in images.values())
    known = json.loads(cache.read_text())
    cache.write_text(json.dumps(dict.fromkeys(known, "kept")))
    assert {image_of(preset, region="eu-west-1", cache=cache) for preset in presets} == {"kept"}


def test_an_image_that_the_sdk_does_not_know_is_an_error(tmp_path: Path) -> None:
    preset = load_presets(Path("nowhere"))["flan-t5-xl"].model_copy(update={"version": "0.0.1"})
    with pytest.raises(ConfigurationError, match=r"'flan-t5-xl'.*0\.0\.1"):
        image_of(preset, region="us-east-1", cache=tmp_path / "images.json")
