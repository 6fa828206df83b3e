"""A report's text as sentences of words, each with its section and its place in the text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

# Words in capitals before a colon, anywhere; or up to four words before one where a sentence or line starts.
_HEADING = re.compile(
    r"(?<![A-Za-z])(?P<capitals>[A-Z][A-Z/&]+(?:[ ][A-Z/&]+){0,3})[ ]?:"
    r"|(?:^|(?<=[.!?;]\s)|(?<=\n))[ \t]*(?P<mixed>[A-Za-z]+(?:[ ](?![A-Z]{3})[A-Za-z/&]+){0,3})[ ]?:"
)
_WORD = re.compile(r"\d+(?:\.\d+)+|[a-z0-9]+|[,:()/?]")
# A sentence ends with . ! or ; before a space or the end, with a blank line, or where the next line starts
# like a sentence or a list entry (reports are often wrapped, and as often a list without full stops).
_END = re.compile(r"[.!;](?=\s|$)|\n\s*\n|\n(?=\s*(?:[-*•]|\d+[.)]\s|[A-Z]))")


@dataclass(frozen=True, slots=True)
class Sentence:
    """words: lower case; punctuation that matters is a word. lowered: their text, from `start` on."""

    words: tuple[str, ...]
    lowered: str
    start: int

    def offsets(self) -> list[tuple[int, int]]:
        """Where each word begins and ends in the report, in characters."""
        return [(self.start + m.start(), self.start + m.end()) for m in _WORD.finditer(self.lowered)]


def sentences(text: str, ignored: Collection[str], read: Collection[str]) -> Iterator[Sentence]:
    """The sentences of a report, without those of the ignored sections.

    ignored, read: headings in lower case. A heading in capitals opens a section whatever it says; another one
    does so if it is listed, or ends an ignored section if it begins a line. Otherwise ("Lungs: clear") the
    words before the colon are part of what is said.
    """
    for start, end in _sections(text, ignored, read):
        begin = start
        for stop in _END.finditer(text, start, end):
            yield from _sentence(text, begin, stop.start())
            begin = stop.end()
        yield from _sentence(text, begin, end)


def _sections(text: str, ignored: Collection[str], read: Collection[str]) -> Iterator[tuple[int, int]]:
    """Ranges of the text that are not in an ignored section."""
    begin, wanted = 0, True
    for heading in _HEADING.finditer(text) if ":" in text else ():
        name = (heading["capitals"] or heading["mixed"]).lower().strip()
        skip, opens = (_listed(name, one, bool(heading["capitals"])) for one in (ignored, read))
        begins_line = not wanted and text[: heading.start()].rstrip(" \t").endswith("\n")
        if not (skip or heading["capitals"] or opens or begins_line):
            continue
        if wanted and heading.start() > begin:
            yield begin, heading.start()
        # What an unlisted heading names may be the subject of its sentence: "Lungs: clear".
        begin, wanted = (heading.end() if skip or opens else heading.start()), not skip
    if wanted and begin < len(text):
        yield begin, len(text)


def _listed(name: str, headings: Collection[str], capitals: bool) -> bool:
    # Capitals that end the sentence before may run into a heading: "... COPD FINDINGS:".
    if name in headings:
        return True
    return capitals and " " in name and any(name.endswith(f" {heading}") for heading in headings)


def _sentence(text: str, start: int, end: int) -> Iterator[Sentence]:
    piece = text[start:end]
    lowered = piece.lower()
    if len(lowered) != len(piece):
        # Lower case is taken of single characters that keep their length, so that offsets stay true.
        lowered = "".join(c.lower() if len(c.lower()) == 1 else c for c in piece)
    words = _WORD.findall(lowered)
    if words:
        yield Sentence(tuple(words), lowered, start)
