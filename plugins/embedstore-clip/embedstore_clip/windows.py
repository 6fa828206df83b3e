"""Long texts for short text towers: CLIP reads 77 tokens, SigLIP 64, a radiology report has often more."""

from __future__ import annotations

import re
from collections.abc import Callable

LONGER = (
    "sentences packed in order into windows of at most the context; mean of the windows' unit vectors "
    "weighted by words"
)
_SENTENCE_END = re.compile(r"(?<=[.;:!?])\s+|\n+")


def pack(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Split a text into windows that fit, at sentence ends where possible, else between words.

    A text that fits is given back as it is. A single word that does not fit is a window of its own.
    """
    if fits(text):
        return [text]
    windows: list[str] = []
    for sentence in filter(None, (part.strip() for part in _SENTENCE_END.split(text))):
        for piece in _halve(sentence, fits):
            joined = f"{windows[-1]} {piece}" if windows else piece
            if windows and fits(joined):
                windows[-1] = joined
            else:
                windows.append(piece)
    return windows


def _halve(sentence: str, fits: Callable[[str], bool]) -> list[str]:
    words = sentence.split()
    if len(words) < 2 or fits(sentence):
        return [sentence]
    middle = len(words) // 2
    return _halve(" ".join(words[:middle]), fits) + _halve(" ".join(words[middle:]), fits)
