"""What a user's own words ask for. Only these decide which tools a turn may use, never what a tool or a quote says."""

from __future__ import annotations

import re

from ragwright.agent.arithmetic import read_arithmetic, wants_arithmetic
from ragwright.agent.calculator import is_arithmetic

# Others' words inside a turn: quotes, code, markup, quoted lines, JSON.
_QUOTES = re.compile(
    r"```.*?(?:```|\Z)|\"\"\".*?(?:\"\"\"|\Z)|\"([^\"]*)\"|“([^”]*)”|«([^»]*)»|(?<!\w)'([^'\n]*)'(?!\w)|`([^`]*)`"
    r"|<[A-Za-z!/][^<>]*>|^[ \t]*>[^\n]*",
    re.DOTALL | re.MULTILINE,
)
_OBJECT = re.compile(r"\{[^{}]*\}")
# A line that plays another part of the conversation.
_PLAYED = re.compile(
    r"^\W{0,8}(?:system|assistant|ai|observation|tool|action(?:[ _]input)?|final answer|developer|instructions?)"
    r"\W{0,4}:[^\n]*",
    re.IGNORECASE | re.MULTILINE,
)
# Text to be worked on, not obeyed: "translate: ...", "summarise this e-mail: ...".
_WORKED_ON = re.compile(
    r"\b(?:translat|summari[sz]|rephras|paraphras|proofread|rewrit|repeat|correct|classif|spell|read|analy[sz]|edit|shorten"
    r"|review|reply to|respond to|comment on|extract|reformat|describe)\w*\b[^:\n]{0,200}:.*",
    re.IGNORECASE | re.DOTALL,
)
_TALK = re.compile(
    r"^\W{0,8}(?:hey|hi|hello|hallo|yo|thanks?|thank you|good (?:morning|day|afternoon|evening|night)|bye|goodbye|ok|"
    r"okay|great|cool|nice|sure|yes|no|please)?[\s,.!]{0,5}(?:there|you)?[\s,.!]{0,5}"
    r"(?:(?:how (?:are|do|have) you|how's it|how is it|what's up|who are you|what are you|what is your|what's your|"
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
_CREATIVE = re.compile(r"\b(?:joke|poem|story|song|haiku|rhyme|sing)\b", re.IGNORECASE)
_QUESTION = re.compile(
    r"\?|^\W*(?:(?:please|can you|could you|hey|hi|ok|and|so)[ ,]+)*"
    r"(?:what|which|when|where|who|whom|whose|why|how|is|are|does|do|did|can|could|should|will|would|may|search|"
    r"look up|find|tell me|explain|describe|show me|i want to know|give me)\b",
    re.IGNORECASE,
)


def own_words(text: str) -> str:
    """A turn without what it quotes; a quote that is nothing but arithmetic stays."""

    def kept(found: re.Match[str]) -> str:
        inside = next((group for group in found.groups() if group), "")
        return f" {inside} " if any(c.isdigit() for c in inside) and is_arithmetic(inside) else " "

    own = _PLAYED.sub(" ", _OBJECT.sub(" ", _QUOTES.sub(kept, text)))
    return _WORKED_ON.sub(" ", own).strip()


def asks_for_arithmetic(text: str) -> bool:
    """Whether a user's own words may need the Calculator."""
    return wants_arithmetic(text) or read_arithmetic(text, "1") is not None


def asks_for_knowledge(text: str) -> bool:
    """Whether a user's own words ask about the world, so that the index may know."""
    if not text or _TALK.match(text) or _RECALL.search(text) or _CREATIVE.search(text):
        return False
    return bool(_QUESTION.search(text))
