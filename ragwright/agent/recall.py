"""What the user told about themselves, found again: "which city do I live in?" goes back to "I live in Lisbon".

A question goes back to a statement of the remembered exchanges if it is about the user ("I", "my", "our") or about
something the user named ("the code word is ..."), and every word that says what it asks for is in the statement. The
word of a kind ("which city", "name", "called") need not be. A question how something is done, or whether it may be, is
never one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ragwright.agent.foreign import QUOTED, own_words, sentences_of
from ragwright.agent.memory import Exchange
from ragwright.agent.wishes import stems

_ASKS = re.compile(
    r"\b(?:what|what's|which|who|who's|whose|where|where's|when|when's|how (?:many|much|old|long|far|tall))\b",
    re.IGNORECASE,
)
_HOW_TO = re.compile(r"\b(?:can|could|may|might|should|shall|must|would|will|how (?:do|does|to))\b", re.IGNORECASE)
_OF_USER = re.compile(r"\b(?:i|i'm|my|mine|me|we|our|ours)\b", re.IGNORECASE)
_DEFINES = re.compile(r"^\W*(?:the|this|that)\b.{1,60}\b(?:is|are|was|were)\b", re.IGNORECASE)
_KIND = re.compile(
    r"\b(which|what) (?:kind of |sort of |type of )?\w+(?= (?:do|does|did|is|are|am|was|were|have|has)\b)",
    re.IGNORECASE,
)
_GENERIC = stems("name named called kind sort type number many much long old")


def recall(own: str, exchanges: Sequence[Exchange]) -> str | None:
    """The statement that a question goes back to, the latest if there are several; None if there is none."""
    asked = own.replace(QUOTED, " ")
    if not _ASKS.search(asked) or _HOW_TO.search(asked):
        return None
    about = stems(_KIND.sub(r"\1", asked))
    about = about - _GENERIC or about or stems(asked)
    if not about:
        return None
    fits = _OF_USER if _OF_USER.search(asked) else _DEFINES
    for exchange in reversed(exchanges):
        for sentence in reversed(sentences_of(own_words(exchange.text))):
            said = sentence.strip()
            if not said.endswith("?") and QUOTED not in said and fits.search(said) and about <= stems(said):
                return said
    return None


def restate(reply: str, told: str, own: str) -> str:
    """The reply if it says something of what was told that the question does not, else what was told."""
    new = _pieces(told) - _pieces(own)
    return reply if new & _pieces(reply) else f"You told me: {told}"


def _pieces(text: str) -> frozenset[str]:
    return stems(text) | frozenset(re.findall(r"\d+", text))
