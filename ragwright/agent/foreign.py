"""Words of others: what a user's turn quotes, and what a passage of the FAQ says to the machine that reads it.

Neither is ever an instruction. `own_words` takes the first out before it is decided which tools a turn may use;
`without_commands` takes the second out of what a search found.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ragwright.agent.calculator import is_arithmetic
from ragwright.segmentation import strong_cuts

QUOTED = "\ufffc"
"""Stands in `own_words` where something was taken out: Unicode's object replacement character."""

# Marks of the chat formats that models are trained on. No reader types one, and no FAQ shows one to readers.
_CHAT_MARK = re.compile(
    r"<[|\uff5c]\w|\[/?inst\]|<</?sys>>|</?s>|<(?:start|end)_of_(?:turn|text|role)>|<[be]os>", re.IGNORECASE
)
_QUOTES = re.compile(
    r"```.*?(?:```|\Z)|\"\"\".*?(?:\"\"\"|\Z)|\"([^\"]*)\"|“([^”]*)”|«([^»]*)»|(?<!\w)'([^'\n]*)'(?!\w)|`([^`]*)`"
    r"|<[A-Za-z!/][^<>]*>|^[ \t]*>[^\n]*",
    re.DOTALL | re.MULTILINE,
)
_PART = (
    r"(?:system|assistant|ai|user|human|observation|thought|tool(?: (?:result|output|call))?|action(?:[ _]input)?"
    r"|final answer|developer|instructions?)"
)
# A line that plays a part of the conversation.
_PLAYED = re.compile(rf"^\W{{0,8}}{_PART}\W{{0,4}}:[^\n]*", re.IGNORECASE | re.MULTILINE)
# Text to be worked on, not obeyed: "translate: ...", "summarise this e-mail: ...".
_WORKED_ON = re.compile(
    r"\b(?:translat|summari[sz]|rephras|paraphras|proofread|rewrit|repeat|correct|classif|spell|read|analy[sz]|edit|shorten"
    r"|review|reply to|respond to|comment on|extract|reformat|describe)\w*\b[^:\n]{0,200}:.*",
    re.IGNORECASE | re.DOTALL,
)
# "Here is a poem: ...", "The page says: ...", "(Note to the assistant: ...)".
_INTRODUCED = re.compile(
    r"\b(?:poem|song|story|joke|texts?|notes?|e-?mails?|mails?|(?<!error )messages?|letters?|documents?|pages?|reviews?"
    r"|articles?|paragraphs?|passages?|posts?|tweets?|comments?|transcripts?|prompts?|assistant|chatbot|language model"
    r"|wrote|writes|says|said|reads)\b[^.!?:\n]{0,40}:(?=\s)",
    re.IGNORECASE,
)

_MACHINE = r"(?:ai|llm|chat ?bot|bot|language model|(?:ai |chat |virtual )?assistant)s?"
# What only a machine that answers questions would be told. Kept narrow: an FAQ may well speak of assistants, prompts,
# actions and calls that the reader has to make.
_TO_A_MACHINE = (
    # "Ignore all previous instructions", in the languages of common attacks.
    r"\b(?:ignor\w*|disregard|forget|olvid\w*|oubli\w*|vergiss|missachte|esque[cç]\w*|dimentica)\b[^.!?\n]{0,30}"
    r"\b(?:all\w*|any|every\w*|your|previous|prior|above|earlier|tod[ao]s|anterior\w*|tou\w+|vos|deine|vorherige\w*|tutte)\b"
    r"[^.!?\n]{0,30}\b(?:instru\w+|istruzion\w+|anweisung\w*|consignes|rules|prompts?|guidelines|reglas|regeln|r[eè]gles)\b",
    # The machine addressed, and its duties.
    rf"\b(?:dear|hey|attention|note to|(?:message|text|instructions?) (?:to|for)) (?:the |an? |any |all )?{_MACHINE}\b",
    rf"\b(?:to|for) the {_MACHINE}\s*:",
    r"^\W{0,3}(?:ai|chatbot|assistant)\s*,",
    rf"\b{_MACHINE} (?:must|should|shall|has to|have to|needs? to|is (?:required|instructed|told|ordered) to)(?: now)? "
    r"(?:answer|reply|respond|say|ignore|call|use|run|invoke|send|delete|compute|calculate|search|execute)\b",
    rf"^\W{{0,8}}you are (?:now )?(?:\w*bot|an? (?:\w+ )?{_MACHINE})\b",
    # How replies are to be worded, and what is to be done before one.
    r"\b(?:reply|respond|answer)\b[^.!?\n]{0,20}\b(?:only with|with (?:only )?the words?)\b",
    r"\b(?:responde\w*|r[ée]pond\w*|antworte\w*|rispond\w*)\b[^.!?\n]{0,40}\b(?:palabra|palavra|mot|wort|parola)\b",
    r"\b(?:answer|reply to|respond to) (?:each|every|all) (?:questions?|turns?|messages?) with\b",
    r"\b(?:begin|start|end|finish|prefix|say\b[^.!?\n]{0,30}\b(?:in|at the end of)) (?:each|every|all|your) "
    r"(?:reply|replies|answers?|responses?)\b",
    r"\bfrom now on,? (?:answer|reply|respond|say|you are)\b",
    r"\bbefore you (?:answer|reply|respond)\b",
    r"[\"']action_input[\"']\s*:",
)
# Fewer than in a user's turn: an FAQ may have a line "System: Linux", or "Action: choose Delete".
_PART_IN_FAQ = (
    r"(?:assistant|observation|thought|tool (?:result|output|call)|action[ _]input|final answer"
    r"|(?-i:SYSTEM|AI|USER|HUMAN))"
)
_COMMAND = re.compile(rf"^\W{{0,8}}{_PART_IN_FAQ}\W{{0,4}}:(?=\s)|{'|'.join(_TO_A_MACHINE)}", re.IGNORECASE)
_SHORT_ANSWER = re.compile(r"\s*(?:yes|no)[.!]\s+", re.IGNORECASE)
_FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Said:
    """A user's turn as tools are chosen by it.

    Attributes:
        own: The user's own words, with `QUOTED` where others' were.
        whole: The turn as it was typed.
        last: The last number of the conversation.
    """

    own: str
    whole: str
    last: str | None = None


def own_words(text: str) -> str:
    """A turn without the words of others, each of which leaves a `QUOTED`.

    Taken out are: quotes, code, markup and JSON, unless they are nothing but arithmetic; lines that play a part of the
    conversation (`SYSTEM: ...`); text to be worked on (`translate: ...`); what is introduced as a text ("here is a
    poem: ..."), up to a closing question; and whatever follows a mark of a chat format.
    """

    def kept(found: re.Match[str]) -> str:
        inside = next((group for group in found.groups() if group), "")
        return f" {inside} " if any(c.isdigit() for c in inside) and is_arithmetic(inside) else f" {QUOTED} "

    if mark := _CHAT_MARK.search(text):
        text = f"{text[: mark.start()]} {QUOTED}"
    own = _without_objects(_QUOTES.sub(kept, text))
    own = _WORKED_ON.sub(f" {QUOTED} ", _PLAYED.sub(f" {QUOTED} ", own))
    if introduced := _INTRODUCED.search(own):
        own = f"{own[: introduced.end()]} {QUOTED} {_closing_question(own[introduced.end() :])}"
    return own.strip()


def _without_objects(text: str) -> str:
    """Braces and what is in them taken out; an opening one that is never closed takes the rest along."""
    kept, depth, start = [], 0, 0
    for found in re.finditer(r"[{}]", text):
        if found.group() == "{":
            if depth == 0:
                kept += [text[start : found.start()], f" {QUOTED} "]
            depth += 1
        elif depth:
            depth -= 1
            start = found.end()
    return "".join(kept) + (text[start:] if not depth else "")


def _closing_question(text: str) -> str:
    """The last sentence behind an introduced text, if it is a question and not all of it."""
    sentences = sentences_of(text.strip())
    return sentences[-1] if len(sentences) > 1 and sentences[-1].rstrip().endswith("?") else ""


def sentences_of(text: str) -> list[str]:
    """The sentences and lines of a text, each with the blanks after it; joined they are the text."""
    ends = sorted({end for end, _ in strong_cuts(text)} | {len(text)})
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False) if end > start]


def without_commands(passage: str) -> tuple[str, int]:
    """A passage of the FAQ without the sentences that speak to the machine that reads it, and how many those were.

    Such a sentence plays a part of the conversation ("Assistant: ..."), sets instructions aside, addresses an assistant
    or or says what it must do, dictates how replies are worded, or is an action in JSON. What follows a mark of a chat
    format goes too. Sentences that tell the reader what to do ("Open the console and choose
    Delete.") stay.
    """
    mark = _CHAT_MARK.search(passage)
    text = passage[: mark.start()] if mark else passage
    left_out = int(mark is not None)

    def fenced(found: re.Match[str]) -> str:
        nonlocal left_out
        if not _COMMAND.search(found.group()):
            return found.group()
        left_out += 1
        return ""

    text = _FENCED.sub(fenced, text)
    kept = []
    for sentence in sentences_of(text):
        # "No." passes for an abbreviation where sentences are told apart.
        short = _SHORT_ANSWER.match(sentence)
        for part in (sentence[: short.end()], sentence[short.end() :]) if short else (sentence,):
            if _COMMAND.search(part):
                left_out += 1
            else:
                kept.append(part)
    return "".join(kept).strip() if left_out else passage, left_out
