"""Phrases of a lexicon, written without regular expressions.

A phrase is words; a word that ends in `*` stands for every word that begins so (`effusion*`); ` ... ` stands
for up to eight words between (`heart ... enlarged`). Case, hyphens and line breaks do not matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from embedstore.errors import BadInputFile

GAP = "..."
_LONGEST_GAP = 8
_KEY = 3
_VOCABULARY = 100_000
_PIECE = re.compile(r"\.\.\.|\d+(?:\.\d+)+|[a-z0-9]+\*?|[,:()/?]")
_ALLOWED = re.compile(r"[a-z0-9 *.,:()/?'\-]+")


@dataclass(frozen=True, slots=True)
class Phrase:
    """parts: words, prefixes with a final `*`, and gaps. text: as the lexicon has it.

    clue: the last whole word after the first part, without which there is no match; "" when there is none.
    """

    text: str
    parts: tuple[str, ...]
    clue: str = ""

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
        clue = next((part for part in parts[:0:-1] if part != GAP and not part.endswith("*")), "")
        return cls(text, parts, clue)

    def match(self, words: Sequence[str], at: int, barrier: Sequence[bool]) -> int | None:
        """End of the shortest match that starts at word `at`, or None. Gaps do not cross a barrier word."""
        parts = self.parts
        if len(parts) == 1:
            return at + 1 if _same(parts[0], words[at]) else None
        return _match(parts, 0, words, at, barrier)


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


class Found(NamedTuple):
    """A phrase at words [start, end) of a sentence; tag says what the phrase is for."""

    tag: str
    start: int
    end: int
    text: str


Tagged = tuple[str, Phrase]


class PhraseTable:
    """Phrases with tags, looked up by their first word."""

    def __init__(self, tagged: Iterable[Tagged]) -> None:
        self.tagged = tuple(tagged)
        self._by_key: dict[str, list[Tagged]] = {}
        self._by_word: dict[str, tuple[Tagged, ...]] = {}
        for tag, phrase in self.tagged:
            self._by_key.setdefault(phrase.parts[0].rstrip("*")[:_KEY], []).append((tag, phrase))

    def find(self, words: Sequence[str], barrier: Sequence[bool] | None = None) -> Iterator[Found]:
        """All matches, overlapping ones too, from left to right."""
        walls = barrier if barrier is not None else [False] * len(words)
        known, present = self._by_word, frozenset(words)
        for at, word in enumerate(words):
            begun = known.get(word)
            if begun is None:
                begun = self._beginning(word)
            for tag, phrase in begun:
                if phrase.clue and phrase.clue not in present:
                    continue
                end = phrase.match(words, at, walls)
                if end is not None:
                    yield Found(tag, at, end, phrase.text)

    def _beginning(self, word: str) -> tuple[Tagged, ...]:
        """Phrases that may begin with this word; remembered, since reports are made of few words."""
        begun = tuple(one for one in self._by_key.get(word[:_KEY], ()) if _same(one[1].parts[0], word))
        if len(self._by_word) < _VOCABULARY:
            self._by_word[word] = begun
        return begun


def longest(found: Iterable[Found]) -> list[Found]:
    """Matches that do not overlap, the longest first chosen, in reading order."""
    ranked = sorted(found, key=lambda f: (f.start - f.end, f.start))
    if len(ranked) < 2:
        return ranked
    chosen: list[Found] = []
    taken: set[int] = set()
    for one in ranked:
        words = range(one.start, one.end)
        if taken.isdisjoint(words):
            chosen.append(one)
            taken.update(words)
    return sorted(chosen, key=lambda f: f.start)
