"""Phrases of a lexicon, written without regular expressions.

A phrase is words; a word that ends in `*` stands for every word that begins so (`effusion*`); ` ... ` stands
for up to eight words between (`heart ... enlarged`). Case, hyphens and line breaks do not matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from embedstore.errors import BadInputFile

GAP = "..."
_LONGEST_GAP = 8
_KEY = 3
_PIECE = re.compile(r"\.\.\.|\d+(?:\.\d+)+|[a-z0-9]+\*?|[,:()/?]")
_ALLOWED = re.compile(r"[a-z0-9 *.,:()/?'\-]+")


@dataclass(frozen=True, slots=True)
class Phrase:
    """parts: words, prefixes with a final `*`, and gaps. text: as the lexicon has it."""

    text: str
    parts: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, where: str) -> Phrase:
        """Raises BadInputFile when the phrase is empty, begins or ends with a gap, or has odd signs."""
        lowered = text.lower().strip()
        parts = tuple(_PIECE.findall(lowered))
        if not parts or not _ALLOWED.fullmatch(lowered):
            raise BadInputFile(f"{where}: {text!r} is not a phrase of words; '*' ends a word, '...' is a gap")
        if GAP in (parts[0], parts[-1]) or len(parts[0].rstrip("*")) < (_KEY if "*" in parts[0] else 1):
            raise BadInputFile(
                f"{where}: {text!r} must begin and end with a word, and a first word with '*' has 3 letters"
            )
        return cls(text, parts)

    def match(self, words: Sequence[str], at: int, barrier: Sequence[bool]) -> int | None:
        """End of the shortest match that starts at word `at`, or None. Gaps do not cross a barrier word."""
        return _match(self.parts, 0, words, at, barrier)


def _match(
    parts: tuple[str, ...], part: int, words: Sequence[str], at: int, barrier: Sequence[bool]
) -> int | None:
    while part < len(parts):
        if parts[part] == GAP:
            for end in range(at, min(at + _LONGEST_GAP, len(words) - 1) + 1):
                if (found := _match(parts, part + 1, words, end, barrier)) is not None:
                    return found
                if barrier[end]:
                    return None
            return None
        if at >= len(words) or not _same(parts[part], words[at]):
            return None
        part, at = part + 1, at + 1
    return at


def _same(part: str, word: str) -> bool:
    return word.startswith(part[:-1]) if part.endswith("*") else word == part


@dataclass(frozen=True, slots=True)
class Found:
    """A phrase at words [start, end) of a sentence; tag says what the phrase is for."""

    tag: str
    start: int
    end: int
    text: str


class PhraseTable:
    """Phrases with tags, looked up by the first letters of their first word."""

    def __init__(self, tagged: Iterable[tuple[str, Phrase]]) -> None:
        self._by_key: dict[str, list[tuple[str, Phrase]]] = {}
        for tag, phrase in tagged:
            self._by_key.setdefault(phrase.parts[0].rstrip("*")[:_KEY], []).append((tag, phrase))

    def find(self, words: Sequence[str], barrier: Sequence[bool] | None = None) -> Iterator[Found]:
        """All matches, overlapping ones too, from left to right."""
        walls = barrier if barrier is not None else [False] * len(words)
        for at, word in enumerate(words):
            for tag, phrase in self._by_key.get(word[:_KEY], ()):
                end = phrase.match(words, at, walls)
                if end is not None:
                    yield Found(tag, at, end, phrase.text)


def longest(found: Iterable[Found]) -> list[Found]:
    """Matches that do not overlap, the longest first chosen, in reading order."""
    chosen: list[Found] = []
    for one in sorted(found, key=lambda f: (f.start - f.end, f.start)):
        if all(one.end <= other.start or other.end <= one.start for other in chosen):
            chosen.append(one)
    return sorted(chosen, key=lambda f: f.start)
