"""A report's text as sentences of words, each with its section and its place in the text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

_HEADING = re.compile(r"(?:(?<=[.!?;:\s])|^)([A-Za-z][A-Za-z/&]*(?:[ ][A-Za-z/&]+){0,3})[ ]?:")
_WORD = re.compile(r"\d+(?:\.\d+)+|[a-z0-9]+|[,:()/?]")
# A sentence ends with . ! or ; before a space or the end, with a blank line, or where the next line starts
# like a sentence or a list entry (reports are often wrapped, and as often a list without full stops).
_END = re.compile(r"[.!;](?=\s|$)|\n\s*\n|\n(?=\s*(?:[-*•]|\d+[.)]\s|[A-Z]))")


@dataclass(frozen=True, slots=True)
class Sentence:
    """words: lower case; punctuation that matters is a word. starts, ends: character offsets of each word."""

    words: tuple[str, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]


def sentences(text: str, ignored_sections: Collection[str]) -> Iterator[Sentence]:
    """The sentences of a report, without those of the ignored sections (lower-case headings).

    A heading is one to four words before a colon, at the start of a sentence. Only headings that are ignored
    or in capitals open a section; in "Lungs: clear" the words before the colon are part of what is said.
    """
    for start, end in _sections(text, ignored_sections):
        begin = start
        for stop in _END.finditer(text, start, end):
            yield from _sentence(text, begin, stop.start())
            begin = stop.end()
        yield from _sentence(text, begin, end)


def _sections(text: str, ignored: Collection[str]) -> Iterator[tuple[int, int]]:
    """Ranges of the text between headings, leaving out ignored sections."""
    begin, wanted = 0, True
    for heading in _HEADING.finditer(text):
        name = heading.group(1)
        plain = name.lower().strip()
        if plain not in ignored and not name.isupper():
            continue
        if wanted and heading.start() > begin:
            yield begin, heading.start()
        begin, wanted = heading.end(), plain not in ignored
    if wanted and begin < len(text):
        yield begin, len(text)


def _sentence(text: str, start: int, end: int) -> Iterator[Sentence]:
    # Lower case is taken of single characters that keep their length, so that offsets stay true.
    lowered = "".join(c.lower() if len(c.lower()) == 1 else c for c in text[start:end])
    found = [(m.group(), start + m.start(), start + m.end()) for m in _WORD.finditer(lowered)]
    if found:
        words, starts, ends = zip(*found, strict=True)
        yield Sentence(words, starts, ends)
