"""What the words, numbers and sentences of a text are, and how rare they are in a corpus."""

from __future__ import annotations

import math
import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import pyarrow as pa

from ragwright.errors import CatalogError

# Scripts written without spaces give one term a character; everything else one term a run of letters and digits.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+(?:['’][^\W\d_]+)?")  # noqa: RUF001
_ASCII_GAPS = {code: " " for code in range(128) if not chr(code).isalnum() and chr(code) != "'"}
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[^\W_])|(?<=[。！？])|\s*\n\s*")  # noqa: RUF001
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|Dr|Mr|Mrs|Ms|No|St|Inc|Ltd|[A-Z]))\.$")

TERM_RULES = f"1/{unicodedata.unidata_version}"
"""Changes whenever a text has other terms than before, so that counts by older rules are not added to."""

_COUNTS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen twenty"""
_NUMBER_WORDS = {word: str(value) for value, word in enumerate(_COUNTS.split())}
_NUMBER_WORDS |= {"thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "ninety": "90", "hundred": "100"}

_NEGATIONS = """no not never none neither nor cannot without nobody nothing unable can't don't doesn't didn't isn't
aren't wasn't weren't won't wouldn't shouldn't couldn't haven't hasn't"""
NEGATIONS = frozenset(_NEGATIONS.split())

# Words that ask or connect; what a question is about is in the others.
_FUNCTION_WORDS = """a about above after again all also am an and any are as at be because been before being below
between both but by can could did do does doing down during each either else few for from further get gets getting got
had has have having he her here hers him his how i if in into is it its itself just let like may me might mine more
most much must my myself need needs of off on once only or other our ours out over own please same shall she should so
some such than that the their theirs them then there these they this those through to too under until up upon us use
used uses using very via want was way we were what when where whether which while who whom whose why will with within
would yes yet you your yours tell know happen happens exactly there's what's it's i'm i've we're you're i'd possible
able"""
STOPWORDS = frozenset(_FUNCTION_WORDS.split()) | NEGATIONS


def words(text: str) -> list[str]:
    """The words of a text in order: compatibility-normalised, lower case, typographic apostrophes made plain."""
    return [word.replace("’", "'") for word in _WORD.findall(unicodedata.normalize("NFKC", text).lower())]  # noqa: RUF001


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """A word without its common English inflection, so that "instances" meets "instance" and "training" "train".

    Cruder than Porter's algorithm on purpose: it only has to map both sides of a comparison to the same string.
    """
    word = word.removesuffix("'s")
    if len(word) < 4 or not word.isascii() or not word.isalpha():
        return word
    for suffix, replacement in (
        ("ies", "y"),
        ("sses", "ss"),
        ("ing", ""),
        ("edly", ""),
        ("ed", ""),
        ("ly", ""),
        ("es", ""),
        ("s", ""),
    ):
        if (
            word.endswith(suffix)
            and len(word) - len(suffix) >= 3
            and not (suffix == "s" and word.endswith(("ss", "us", "is")))
        ):
            word = word.removesuffix(suffix) + replacement
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiouls":
        word = word[:-1]
    return word.removesuffix("e") if len(word) > 3 else word


def content_words(text: str) -> list[str]:
    """The different words of a text that say what it is about, in the order they first occur."""
    return [word for word in dict.fromkeys(words(text)) if word not in STOPWORDS]


def terms(text: str) -> list[str]:
    """Stems of the content words of a text, in order, repeats kept."""
    return [stem(word) for word in words(text) if word not in STOPWORDS]


class Vocabulary(dict[str, str]):
    """Remembers the stem of each word it meets, empty for a stopword, so that many texts cost little more than one."""

    def __missing__(self, word: str) -> str:
        found = self[word] = "" if word in STOPWORDS else stem(word)
        return found

    def listed(self, text: str) -> list[str]:
        """What `terms` finds: in order, repeats kept."""
        if not text.isascii():
            found = words(text)
        else:
            found = text.lower().translate(_ASCII_GAPS).split()
            if "'" in text:
                found = [piece for word in found for piece in (_WORD.findall(word) if "'" in word else (word,))]
        return [term for term in map(self.__getitem__, found) if term]

    def terms(self, text: str) -> set[str]:
        """What `terms` finds, without order or repeats."""
        if not text.isascii():
            found = set(words(text))
        else:
            found = set(text.lower().translate(_ASCII_GAPS).split())
            if "'" in text:
                # The gaps leave apostrophes wherever they are; a word has one at most, and letters after it.
                quoted = {word for word in found if "'" in word}
                found = found.difference(quoted).union(*map(_WORD.findall, quoted))
        stems = set(map(self.__getitem__, found))
        stems.discard("")
        return stems


def numbers(text: str) -> set[str]:
    """Every number in a text, digits or English words, without thousands separators: `{"1779", "3.5"}`."""
    normal = unicodedata.normalize("NFKC", text)
    found = {match.replace(",", "").rstrip(".") for match in _NUMBER.findall(normal)}
    return found | {_NUMBER_WORDS[word] for word in words(text) if word in _NUMBER_WORDS}


def sentences(text: str) -> list[str]:
    """The sentences and list items of a text, stripped, none empty; abbreviations do not end one."""
    found: list[str] = []
    start = 0
    for end in _SENTENCE_END.finditer(text):
        if _ABBREVIATION.search(text[start : end.start()]) and "\n" not in end.group():
            continue
        found.append(text[start : end.end()].strip())
        start = end.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if sentence]


@dataclass(frozen=True)
class CorpusStatistics:
    """How many of a corpus's texts contain each term; frozen with the generation it was counted on.

    Attributes:
        documents: Texts counted.
        frequencies: Term to the number of texts that contain it.
    """

    documents: int = 0
    frequencies: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> CorpusStatistics:
        """Count the terms of each text once; memory is bounded by the vocabulary."""
        counts: Counter[str] = Counter()
        documents, vocabulary = 0, Vocabulary()
        for text in texts:
            counts.update(vocabulary.terms(text))
            documents += 1
        return cls(documents, dict(counts))

    def rarity(self, term: str) -> float:
        """Inverse document frequency, scaled to [0, 1]: 1 for a term no text has, near 0 for one all have.

        Robertson and Sparck Jones's weight `log((N + 1) / (n + 0.5))` over its value for an unseen term.
        """
        if self.documents == 0:
            return 1.0
        seen = self.frequencies.get(term, 0)
        return max(0.0, math.log((self.documents + 1) / (seen + 0.5)) / math.log((self.documents + 1) / 0.5))

    def knows(self, term: str) -> bool:
        """Whether any text has the term."""
        return term in self.frequencies

    def to_table(self) -> pa.Table:
        """Arrow table (term: string, documents: int64), sorted by term; the count of texts is schema metadata.

        So are the rules by which terms were told (`TERM_RULES`).
        """
        ordered = sorted(self.frequencies.items())
        columns = {
            "term": pa.array([term for term, _ in ordered], pa.string()),
            "documents": pa.array([count for _, count in ordered], pa.int64()),
        }
        return pa.table(columns).replace_schema_metadata({"documents": str(self.documents), "rules": TERM_RULES})

    @classmethod
    def from_table(cls, table: pa.Table) -> CorpusStatistics:
        """The inverse of `to_table`.

        Raises:
            CatalogError: The table is not one that `to_table` wrote.
        """
        metadata = table.schema.metadata or {}
        if b"documents" not in metadata or not {"term", "documents"} <= set(table.column_names):
            raise CatalogError(
                f"these are not corpus statistics: columns {table.column_names!r}, metadata {sorted(metadata)!r}",
                hint="Index the source again to count its terms anew.",
            )
        return cls(int(metadata[b"documents"]), _Counted(table))


class _Counted(Mapping[str, int]):
    """Terms and their counts as they are stored, sorted: a tenth of the room of a dict, and there at once."""

    def __init__(self, table: pa.Table) -> None:
        self._terms = table["term"].combine_chunks()
        self._counts = table["documents"].combine_chunks()

    def __getitem__(self, term: str) -> int:
        # Arrow sorts by UTF-8 and Python by code points, which is the same order.
        at = bisect_left(self._terms, term, key=lambda found: found.as_py())
        if at == len(self._terms) or self._terms[at].as_py() != term:
            raise KeyError(term)
        count: int = self._counts[at].as_py()
        return count

    def __iter__(self) -> Iterator[str]:
        return iter(self._terms.to_pylist())

    def __len__(self) -> int:
        return len(self._terms)
