"""Profiles: defaults for a kind of place, below everything that a user says."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragwright.endpoints import embedder_spec, generator_spec
from ragwright.endpoints.presets import preset_for
from ragwright.errors import ConfigurationError
from ragwright.profiles import PROFILES, missing, require
from ragwright.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_a_profile_everything_runs_here() -> None:
    assert load_settings() == load_settings(profile="local")
    assert load_settings().endpoints.host == "local"


def test_the_cloud_s_profile_names_models_that_have_presets() -> None:
    settings = load_settings(profile="aws")
    assert (settings.endpoints.host, settings.store) == ("sagemaker", "pinecone:ragwright")
    for spec in (embedder_spec(settings), generator_spec(settings)):
        assert spec is not None
        preset = preset_for(spec, settings)
        assert not preset.gated
        assert preset.startup_seconds <= settings.endpoints.start_timeout_seconds


def test_every_other_source_wins_over_a_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ragwright.toml").write_text('profile = "aws"\n[embedding]\nendpoint = "of-the-file"\n')
    monkeypatch.setenv("RAGWRIGHT_STORE", "pinecone:of-the-environment")
    settings = load_settings(generation={"endpoint": "of-the-call"})
    assert settings.embedding.endpoint == "of-the-file"
    assert settings.store == "pinecone:of-the-environment"
    assert settings.generation.endpoint == "of-the-call"
    assert settings.embedding.model == "all-minilm-l6-v2", "what they leave open is the profile's"


def test_a_profile_survives_the_way_to_another_process() -> None:
    settings = load_settings(profile="aws")
    assert Settings.model_validate(settings.model_dump()) == settings


def test_an_unknown_profile_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match=f"profile: .*'{PROFILES[0]}' or '{PROFILES[1]}'"):
        load_settings(profile="mars")


def test_all_that_only_its_user_can_know_is_asked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PINECONE_API_KEY", raising=False)
    require(load_settings())
    bare = load_settings(profile="aws")
    assert len(missing(bare)) == 4
    with pytest.raises(ConfigurationError) as refused:
        require(bare)
    assert all(name in str(refused.value) for name in missing(bare))
    monkeypatch.setenv("PINECONE_API_KEY", "pcsk_x")
    roles = {"role_arn": "arn:aws:iam::1:role/a", "scheduler_role_arn": "arn:aws:iam::1:role/b"}
    require(load_settings(profile="aws", catalog="s3://bucket/here", sagemaker=roles))
