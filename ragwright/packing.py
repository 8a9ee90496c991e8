"""Fitting retrieved chunks into a prompt: whole sections first, cut at sentences where they must be cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ragwright.documents import Match
from ragwright.terms import sentences

TokenCounter = Callable[[Sequence[str]], npt.NDArray[np.int32]]

# Of the room that is left, what a section too long for it may take while others wait.
_GREED = 2 / 3
# Characters two neighbouring chunks may share.
_LEAST_OVERLAP, _LONGEST_OVERLAP = 16, 2_000


@dataclass(frozen=True)
class Section:
    """What one row of the FAQ contributes to an answer.

    Attributes:
        row: 0-based number in the source.
        row_key: Identity of the row.
        question: The row's question.
        text: A run of the row's answer, as far as it was retrieved.
        score: Best cosine similarity among the chunks it is made of, in [-1, 1].
        parts: The chunks' own texts, where the text is made of several.
    """

    row: int
    row_key: str
    question: str
    text: str
    score: float
    parts: tuple[str, ...] = ()

    @property
    def pieces(self) -> tuple[str, ...]:
        """Question and text of each chunk it is made of, no longer than what was embedded."""
        return tuple(f"{self.question}\n{part}" for part in self.parts or (self.text,))

    @property
    def full_text(self) -> str:
        """Question and text, as they stand in the prompt."""
        return f"{self.question}\n{self.text}"


def sections(matches: Sequence[Match]) -> list[Section]:
    """Join neighbouring chunks of a row, in order and without what they overlap; best score first."""
    by_row: dict[str, dict[int, Match]] = {}
    for match in matches:
        by_row.setdefault(match.row_key, {}).setdefault(match.part, match)
    joined: list[Section] = []
    for parts in by_row.values():
        run: Section | None = None
        previous = -2
        for part, match in sorted(parts.items()):
            if run is not None and part == previous + 1:
                run = replace(
                    run,
                    text=_join(run.text, match.text),
                    score=max(run.score, match.score),
                    parts=(*(run.parts or (run.text,)), match.text),
                )
            else:
                if run is not None:
                    joined.append(run)
                run = Section(match.row, match.row_key, match.question, match.text, match.score)
            previous = part
        if run is not None:
            joined.append(run)
    return sorted(joined, key=lambda section: -section.score)


def pack(candidates: Sequence[Section], budget: int, count_tokens: TokenCounter) -> list[Section]:
    """Sections that fit `budget` tokens together, in the order given.

    A section that fits the room left is taken whole. One that does not is cut at a sentence, and leaves room for those
    after it; one whose first sentence does not fit is cut at a word if it is the first, and passed over otherwise.
    """
    packed: list[Section] = []
    room = budget
    costs = count_tokens([section.full_text for section in candidates]).tolist() if candidates else []
    for position, (section, cost) in enumerate(zip(candidates, costs, strict=True)):
        if cost > room:
            last = position == len(candidates) - 1
            allowance = room if last else int(room * _GREED)
            cut = _cut(section, allowance, count_tokens, at_words=not packed)
            if cut is None:
                continue
            section, cost = cut  # noqa: PLW2901
        packed.append(section)
        room -= cost
    return packed


def _cut(section: Section, allowance: int, count_tokens: TokenCounter, *, at_words: bool) -> tuple[Section, int] | None:
    """The longest prefix of whole sentences within the allowance, and its cost in tokens."""
    ends = _sentence_ends(section.text)
    if at_words and _cost(section, ends[0], count_tokens) > allowance:
        ends = _word_ends(section.text)
    # Costs grow with the prefix, so the longest that fits is found by bisection: few calls even for a huge cell.
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high + 1) // 2
        if _cost(section, ends[middle - 1], count_tokens) <= allowance:
            low = middle
        else:
            high = middle - 1
    if low == 0:
        return None
    cut = replace(section, text=section.text[: ends[low - 1]].rstrip())
    return cut, int(count_tokens([cut.full_text])[0])


def _cost(section: Section, end: int, count_tokens: TokenCounter) -> int:
    return int(count_tokens([f"{section.question}\n{section.text[:end]}"])[0])


def _sentence_ends(text: str) -> list[int]:
    ends: list[int] = []
    for sentence in sentences(text):
        ends.append(text.index(sentence, ends[-1] if ends else 0) + len(sentence))
    return ends or [len(text)]


def _word_ends(text: str) -> list[int]:
    ends = [end for end in range(1, len(text) + 1) if end == len(text) or text[end].isspace()]
    return ends if len(ends) > 1 else list(range(1, len(text) + 1))


def _join(left: str, right: str) -> str:
    """Two neighbouring chunks as one text; the words that both hold stand once."""
    begun = right[:_LEAST_OVERLAP]
    at = left.find(begun, max(0, len(left) - min(len(right), _LONGEST_OVERLAP)))
    while at >= 0 and len(begun) == _LEAST_OVERLAP:
        if right.startswith(left[at:]):
            return left + right[len(left) - at :]
        at = left.find(begun, at + 1)
    return f"{left.rstrip()}\n{right.lstrip()}" if right.strip() else left
