from __future__ import annotations

from pathlib import Path

import pytest

from ragwright import hashing
from ragwright.errors import ConfigurationError
from ragwright.models import PathSource, get_model, load_catalog, load_tokenizer


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory and home, so that only what a test writes is found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAGWRIGHT_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path


OWN = """
[mine]
task = "text-generation"
runtime = "llama"
context_tokens = 512
[mine.files.model]
filename = "mine.gguf"
sha256 = "{sha}"
sources = [{{ path = "files/mine.gguf" }}]
"""


def test_the_packaged_models_are_complete() -> None:
    catalog = load_catalog()
    assert {"all-minilm-l6-v2-int8", "all-minilm-l6-v2", "smollm2-135m-instruct-q4", "hashing-384", "scripted"} <= {
        *catalog
    }
    for info in catalog.values():
        assert info.licence
        assert info.revision
        assert all(file.sha256 and file.size for file in info.files.values())
    minilm = catalog["all-minilm-l6-v2-int8"]
    assert (minilm.dimension, minilm.max_tokens, minilm.pooling, minilm.normalised) == (384, 256, "mean", True)
    assert minilm.revision == minilm.files["model"].sha256


def test_hashed_vectors_and_their_model_share_a_revision() -> None:
    assert get_model("hashing-384").revision == hashing.REVISION


def test_any_hashing_dimension_is_a_model() -> None:
    assert get_model("hashing-48").dimension == 48
    assert get_model("hashing-48").name == "hashing-48"


@pytest.mark.parametrize("name", ["nope", "hashing-0", "hashing-", "hashing-1234567", "missing.gguf"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{name}'.*all-minilm-l6-v2-int8"):
        get_model(name)


def test_a_gguf_file_is_a_model_by_itself(tmp_path: Path) -> None:
    (tmp_path / "my.gguf").write_bytes(b"GGUF")
    info = get_model("my.gguf")
    assert info.task == "text-generation"
    assert info.files["model"].sources == (PathSource(path=tmp_path / "my.gguf"),)


@pytest.mark.parametrize("place", ["models.toml", "home/models.toml"])
def test_a_users_file_adds_models_and_anchors_their_paths(place: str, tmp_path: Path) -> None:
    (tmp_path / place).write_text(OWN.format(sha="a" * 64))
    info = get_model("mine")
    assert info.files["model"].sources == (PathSource(path=(tmp_path / place).parent / "files" / "mine.gguf"),)
    assert info.revision == "a" * 64
    assert "scripted" in load_catalog()


def test_the_working_directory_wins_over_home_and_extra_files_over_both(tmp_path: Path) -> None:
    (tmp_path / "home/models.toml").write_text(OWN.format(sha="a" * 64))
    (tmp_path / "models.toml").write_text(OWN.format(sha="b" * 64))
    (tmp_path / "more.toml").write_text(OWN.format(sha="c" * 64))
    assert get_model("mine").revision == "b" * 64
    assert load_catalog(tmp_path / "more.toml")["mine"].revision == "c" * 64


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[mine]\ntask = 'dance'\n", "task"),
        ("[mine]\ntask = 'feature-extraction'\n", "dimension and max_tokens"),
        ("[mine]\ntask = 'text-generation'\n", "context_tokens"),
        ("[mine]\ntask = 'text-generation'\ncontext_tokens = 99\ncolour = 1\n", "colour"),
        (OWN.format(sha="xyz"), "sha256"),
        (OWN.format(sha="a" * 64).replace("path =", "place ="), "path, wheel, hub, s3"),
        (OWN.format(sha="a" * 64).replace('path = "files/mine.gguf"', 'wheel = "p==1", member = "x", y = 1'), "y"),
        (
            OWN.replace('sha256 = "{sha}"', "").replace('path = "files/mine.gguf"', 'hub = "a/b", filename = "c"'),
            "sha256",
        ),
        (OWN.format(sha="a" * 64).replace("mine.gguf", "../../mine.gguf", 1), "filename"),
        ("not toml", "TOML"),
        ("mine = 1", "mine"),
    ],
)
def test_a_faulty_file_is_refused_with_its_place_and_the_fault(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(text.replace("{{", "{").replace("}}", "}"))
    with pytest.raises(ConfigurationError, match=reason) as caught:
        load_catalog()
    assert caught.value.place == "models.toml"


def test_a_hashing_model_counts_words_and_marks(tmp_path: Path) -> None:
    tokenizer = load_tokenizer("hashing-8", cache=tmp_path)
    assert [len(tokenizer.encode(text).ids) for text in ("", "hello, world!", "word " * 600)] == [0, 4, 600]


def test_a_model_without_a_tokenizer_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="scripted"):
        load_tokenizer("scripted", cache=tmp_path)
