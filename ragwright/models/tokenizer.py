"""The tokenizer of a model, so that texts are measured with the ruler of whoever reads them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ragwright.errors import ConfigurationError, ModelError
from ragwright.models.catalog import get_model
from ragwright.models.resolver import resolve

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def load_tokenizer(name: str, *, cache: Path) -> Tokenizer:
    """Load a model's own tokenizer, set to neither pad nor truncate. Fetches no other file of the model.

    Raises:
        ConfigurationError: The model is unknown or has no tokenizer file.
        ModelError: The file cannot be had or read.
    """
    from tokenizers import Tokenizer

    info = get_model(name)
    if info.runtime == "hashing":
        return _words_and_marks()
    if "tokenizer" not in info.files:
        raise ConfigurationError(f"model {name!r} has no tokenizer file.", hint="Name a feature-extraction model.")
    path = resolve(name, cache=cache, roles=("tokenizer",))["tokenizer"]
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise ModelError(f"not a tokenizer: {error}.", place=str(path)) from error
    # The published file pads and cuts to 128 tokens.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _words_and_marks() -> Tokenizer:
    """Count words and punctuation marks; a hashed text has no tokens of its own."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))  # noqa: S106 - not a password
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer
