"""The same question as another person would type it, by rule; the meaning stays, the words change little.

Every rule is a pure function of a question on one line and `pick`, a number that decides wherever there is a choice.
None means that the rule has nothing to say on this question. `ENGLISH` names the rules that only know English.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ragwright.terms import STOPWORDS, words

# A run of letters; scripts without spaces have no words to misspell one letter of.
_LONG_WORD = re.compile(r"[^\W\d_\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]{5,}")
_TOKEN = re.compile(r"\S+")
_ENDS = " \t\n?!.,;:¿¡؟。？！"  # noqa: RUF001 - other scripts' marks are meant
_QUOTES = "\"'()[]«»„“”…"
_ASKING = frozenset(("who", "what", "when", "where", "which", "why", "how", "whose", "whom"))

_OPENERS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), forms)
    for pattern, forms in (
        (
            r"how (?:do|can|should|would|could|must|may) (?:i|we|you|one) (?P<x>.+)",
            ("steps to {x}", "{x} how to", "I want to {x}. How?", "what is the way to {x}"),
        ),
        (r"how (?:do|does|can|did) (?P<x>.+)", ("explain how {x}", "in which way {x}")),
        (r"how (?:much|many) (?P<x>.+)", ("what number of {x}", "tell me how many {x}")),
        (r"what (?:is|are) (?P<x>.+)", ("explain {x}", "{x}, what is that", "tell me about {x}")),
        (
            r"(?:can|may|could|should) (?:i|we|you|one) (?P<x>.+)",
            ("is it possible to {x}", "{x} possible?", "I want to {x}. Is that allowed?"),
        ),
        (
            r"(?P<v>is|are|does|do|did|will|can) (?P<x>.+)",
            ("I would like to know: {v} {x}, yes or no?", "yes or no: {v} {x}"),
        ),
        (r"which (?P<x>.+)", ("what {x}", "tell me which {x}")),
        (r"what (?P<x>.+)", ("tell me what {x}", "I need to know what {x}")),
        (r"why (?P<x>.+)", ("for what reason {x}", "the reason why: {x}")),
        (r"when (?P<x>.+)", ("at what time {x}", "what is the date when {x}")),
        (r"where (?P<x>.+)", ("in which place {x}", "what is the place where {x}")),
    )
)

_POLITE = (
    "Hello, could you please tell me: {q}",
    "Hi there! {q} Thanks in advance.",
    "Sorry to bother you, but I was wondering: {q}",
    "Quick question, please. {q} Thank you!",
    "Dear team, I could not find this anywhere. {q} Kind regards",
)

_NEGATION = re.compile(r"\b(?:no|not|never|without|cannot|\w+n't)\b", re.IGNORECASE)


def reads_as_english(text: str) -> bool:
    """Whether a question has the small words of an English one; a short question without any is not taken for one."""
    found = words(text)
    small = [word for word in found if word in STOPWORDS]
    return len(set(small)) >= 2 and len(small) >= 0.15 * len(found)


def keywords(question: str, pick: int) -> str | None:
    """What is typed into a search box: the words that carry the meaning. "How do I stop a job?": "stop job"."""
    kept = _content(question)
    return " ".join(kept).lower() if len(kept) >= 2 and not _NEGATION.search(question) else None


def question_form(question: str, pick: int) -> str | None:
    """The same asked in another form. "How do I stop a job?": "steps to stop a job"."""
    plain = question.strip(_ENDS)
    if any(f"{mark} " in plain for mark in "?!.:"):  # more than one sentence
        return None
    for pattern, forms in _OPENERS:
        if found := pattern.fullmatch(plain):
            parts = {name: part.lower() if name == "v" else part for name, part in found.groupdict().items()}
            return forms[pick % len(forms)].format(**parts)
    return None


def polite(question: str, pick: int) -> str | None:
    """The question wrapped in courtesies."""
    asked = question if question.endswith(("?", ".", "!")) else f"{question}?"
    return _POLITE[pick % len(_POLITE)].format(q=asked)


def word_order(question: str, pick: int) -> str | None:
    """The end of the question first. "How long do refunds take to arrive?": "take to arrive how long do refunds"."""
    found = [token.strip(_ENDS) for token in _TOKEN.findall(question)]
    found = [token for token in found if token]
    if len(found) < 5:
        return None
    cut = 2 + pick % (len(found) - 3)
    return " ".join([*found[cut:], found[0].lower(), *found[1:cut]])


def plain(question: str, pick: int) -> str | None:
    """Lower case and no punctuation, as from a phone; what joins a word or a number stays."""
    tokens = (token.strip(_ENDS + _QUOTES) for token in _TOKEN.findall(question))
    typed = " ".join(token for token in tokens if token).lower()
    return typed if typed not in ("", question) else None


def typo(question: str, pick: int) -> str | None:
    """One letter of one longer word dropped, doubled or swapped with the next; the first letter stays."""
    longer = [found for found in _LONG_WORD.finditer(question) if found.group().lower() not in _ASKING]
    if not longer:
        return None
    pick, which = divmod(pick, len(longer))
    found = longer[which]
    word = found.group()
    pick, edit = divmod(pick, 3)
    at = 1 + pick % (len(word) - 2)
    wrong = (
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
    )[edit]
    return question[: found.start()] + wrong + question[found.end() :] if wrong != word else None


def _content(question: str) -> list[str]:
    tokens = (token.strip(_ENDS + _QUOTES) for token in _TOKEN.findall(question))
    return [token for token in tokens if token and not set(words(token)) <= STOPWORDS]


Perturbation = Callable[[str, int], str | None]

KINDS: dict[str, Perturbation] = {
    "keywords": keywords,
    "question-form": question_form,
    "word-order": word_order,
    "typo": typo,
    "polite": polite,
    "plain": plain,
}
"""Every rule by the kind of question it makes."""

ENGLISH = frozenset({"keywords", "question-form", "polite"})
"""Kinds made by rules that only know English."""
