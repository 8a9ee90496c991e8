"""What a user's own words ask for. Only these decide which tools a turn may use, never what a tool or a quote says."""

from __future__ import annotations

import re

from ragwright.agent.arithmetic import read_arithmetic, wants_arithmetic
from ragwright.agent.foreign import QUOTED, sentences_of

_TALK = re.compile(
    r"^\W{0,8}(?:hey|hi|hello|hallo|yo|thanks?|thank you|good (?:morning|day|afternoon|evening|night)|bye|goodbye|ok|"
    r"okay|great|cool|nice|sure|yes|no|please)?[\s,.!]{0,5}(?:there|you)?[\s,.!]{0,5}"
    r"(?:(?:how (?:are|do|have) you|what can you (?:do|help)|"
    r"how's it|how is it|what's up|who are you|what are you|what is your|what's your|"
    r"nice to|are you|do you|can you hear|i am|i'm|my name)\b.*)?[\s?.!]{0,8}$",
    re.IGNORECASE | re.DOTALL,
)
# About the conversation, not about what the index knows.
_RECALL = re.compile(
    r"\b(?:my (?:name|favou?rite|last|previous|first|age|birthday|dog|cat|job|city)|did i|have i|am i|i just|"
    r"i (?:said|told|asked|mentioned)|you (?:said|told|just|remember)|remember|do you know me|our conversation|"
    r"earlier|so far|we talked|the (?:last|previous|first) (?:result|answer|number|question|thing|message))\b",
    re.IGNORECASE,
)
_NO_SEARCH = re.compile(
    r"\b(?:(?:do not|don['\u2019]?t|never|without|no need to) "
    r"(?:search|look(?:ing)?(?: \w+)? up|us(?:e|ing) (?:any |a )?tools?)"
    r"|search(?:ing)? (?:for )?nothing|no (?:search(?:es|ing)?|tools?))\b",
    re.IGNORECASE,
)
# "Is that polite?", "What mood is this text in?" after a quote.
_OF_THE_QUOTED = re.compile(
    r"\b(?:this|that|it|these|those|the (?:text|title|note|e-?mail|message|review|poem|letter|document|page|passage|"
    r"sentence|quote|writer|author))\b",
    re.IGNORECASE,
)
_DECLINED = re.compile(r"\b(?:not|never|no|nothing|nobody|without|cannot|\w+n['\u2019]t|dont)\b", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_ENDING = re.compile(r"(?<=\w{2})(?:ing|ed|es|s|e)$")
_SMALL = (
    "a an the this that these those of to in on at by for from with into about as and or is are be it its one ever you "
    "your i my me we our any all some what which when where how can could will would should may do does did has have "
    "get gets give gives am was were who whose"
)
_SMALL_WORDS = frozenset(_SMALL.split())
_CREATIVE = re.compile(r"\b(?:joke|poem|story|song|haiku|rhyme|sing)\b", re.IGNORECASE)
_QUESTION = re.compile(
    r"\?|^\W*(?:(?:please|can you|could you|hey|hi|ok|and|so)[ ,]+)*"
    r"(?:what|which|when|where|who|whom|whose|why|how|is|are|does|do|did|can|could|should|will|would|may|search|"
    r"look up|find|tell me|explain|describe|show me|i want to know|give me)\b",
    re.IGNORECASE,
)


def asks_for_arithmetic(text: str) -> bool:
    """Whether a user's own words may need the Calculator."""
    return wants_arithmetic(text) or read_arithmetic(text, "1") is not None


def asks_for_knowledge(text: str) -> bool:
    """Whether a user's own words ask about the world, so that the index may know; not about a text they quote."""
    plain = text.replace(QUOTED, " ").strip()
    if not plain or _TALK.match(plain) or _RECALL.search(plain) or _CREATIVE.search(plain) or _NO_SEARCH.search(plain):
        return False
    if QUOTED in text and _OF_THE_QUOTED.search(plain):
        return False
    return bool(_QUESTION.search(plain))


def names_tool(own: str, name: str, purpose: str) -> bool:
    """Whether a user's own words name a tool, or what it is for.

    One sentence has to hold every word of the name (`SendEmail`: "send", "email", in any form and order), or two words
    and half of all words of the purpose that mean something. A sentence that says no, as in "do not send it", names
    nothing.
    """
    named, meant = stems(_CAMEL.sub(" ", name).replace("_", " ")), stems(purpose)
    enough = max(min(2, len(meant)), -(-len(meant) // 2))
    for sentence in sentences_of(own.replace(QUOTED, " ")):
        if _DECLINED.search(sentence):
            continue
        said = stems(_CAMEL.sub(" ", sentence).replace("_", " "))
        if (named and named <= said) or (meant and len(meant & said) >= enough):
            return True
    return False


def stems(text: str) -> frozenset[str]:
    """The words of a text that mean something, in lower case and without their endings."""
    words = re.findall(r"[^\W\d_]+", text.lower().replace("-", "").replace("\u2019", "'"))
    return frozenset(_ENDING.sub("", word) for word in words if len(word) > 1 and word not in _SMALL_WORDS)
