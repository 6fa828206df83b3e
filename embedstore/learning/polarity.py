"""What a query asks to be there and what it asks to be absent, told apart by rule before anything is encoded.

Text encoders hardly hear a "no": "no pneumothorax" lies close to "pneumothorax" (Alhamoud et al.,
Vision-Language Models Do Not Understand Negation, CVPR 2025). So the denied part is taken out by the cues of
a lexicon, and what counts is the likeness to its absence and, by half as much again, to its absence less its
presence: without the first, texts that never mention it would be found.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from embedstore.contracts.image import F32
from embedstore.learning.lexicon import Lexicon, chest_lexicon
from embedstore.learning.phrases import Found, longest
from embedstore.learning.report_text import Sentence, sentences
from embedstore.learning.vectors import unit_rows

_BEFORE, _AFTER = "negation_before", "negation_after"
_LEADING = re.compile(r"^(?:(?:an?|the|any|of|for|evidence|signs?|to|suggest|there is|there are)\s+)+")
_TRAILING = re.compile(
    r"(?:\s+(?:is|are|was|were|has|have|been|seen|identified|noted|present|evident|visible))+$"
)
# Absence and presence in the same words: what is left of their difference is the finding, not the style.
_PAIRS = (
    ("There is no {}.", "There is {}."),
    ("No evidence of {}.", "Evidence of {}."),
    ("{} is absent.", "{} is present."),
    ("Negative for {}.", "Positive for {}."),
)
_JOINING = re.compile(r"(?:^(?:but|and|with)\s+)|(?:[\s,]+(?:but|and|with))+$")
_LETTERS = re.compile(r"[a-z]")
_AWAY = 1.5  # weight of the difference beside the topic; see benchmarks/polarity.py
_SAME = 1e-6  # squared length of the difference of two unit vectors that are one


@dataclass(frozen=True, slots=True, kw_only=True)
class Polarity:
    """affirmed: what is asked for, "" for nothing. denied: what is asked to be absent, by the words `cue`."""

    affirmed: str
    denied: str = ""
    cue: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """What is encoded: absence and presence of what is denied, in turn, and what is affirmed."""
        if not self.denied:
            return (self.affirmed,)
        pairs = tuple(side.format(self.denied) for pair in _PAIRS for side in pair)
        return (*pairs, self.affirmed) if self.affirmed else pairs

    @property
    def sentence(self) -> str:
        """What was done, for a person; "" when nothing was."""
        if not self.denied:
            return ""
        beside = f", beside likeness to '{self.affirmed}'" if self.affirmed else ""
        return (
            f"read as the absence of '{self.denied}' (by '{self.cue}'): ranked by likeness to "
            f"'{self.texts[0]}' rather than to '{self.texts[1]}'{beside}"
        )

    def direction(self, vectors: F32) -> F32:
        """(dim,) to compare with, from the (n, dim) vectors of `texts`."""
        if not self.denied:
            return np.asarray(vectors[0], dtype=np.float32)
        rows = unit_rows(vectors)
        absent, present = (rows[side : 2 * len(_PAIRS) : 2].mean(axis=0) for side in (0, 1))
        away = absent - present
        # An encoder that hears no difference at all still knows what is least like the denied thing.
        told = -present if float(away @ away) < _SAME else _unit(absent) + _AWAY * _unit(away)
        wanted = _unit(told)
        return np.asarray(wanted + rows[-1] if self.affirmed else wanted, dtype=np.float32)


def _unit(vector: F32) -> F32:
    return np.asarray(unit_rows(vector[None])[0])


def read_polarity(text: str, lexicon: Lexicon | None = None) -> Polarity:
    """The parts of a query; cues are those of the lexicon, the shipped one without any.

    A question that denies nothing comes back as it is, whatever else its words are.
    """
    affirmed: list[str] = []
    denied: list[str] = []
    cues: list[str] = []
    for sentence in sentences(text, (), ()):
        kept, absent, cue = _divided(sentence, lexicon or chest_lexicon())
        affirmed += [kept] if _LETTERS.search(kept) else []
        denied += [absent] if absent else []
        cues += [cue] if absent else []
    if not denied:
        return Polarity(affirmed=text)
    return Polarity(affirmed=", ".join(affirmed), denied=" or ".join(denied), cue=", ".join(cues))


def _divided(sentence: Sentence, lexicon: Lexicon) -> tuple[str, str, str]:
    """(what is left, what is denied, by which cue) of one sentence."""
    cues = longest(lexicon.cues.find(sentence.words))
    mine: list[Found | None] = [None] * len(sentence.words)
    for cue in cues:
        if cue.tag == _BEFORE:
            _claim(mine, cue, range(cue.end, _wall_after(cue.end, cues, len(mine))))
    for cue in cues:
        if cue.tag == _AFTER and all(mine[at] is None for at in range(cue.start)):
            _claim(mine, cue, range(_wall_before(cue.start, cues), cue.start))
    spent = {at for cue in cues if cue.tag in (_BEFORE, _AFTER) for at in range(cue.start, cue.end)}
    spent |= {at for cue in cues if cue.tag == "terminators" for at in range(cue.start, cue.end)}
    absent = _words(sentence, [at for at, cue in enumerate(mine) if cue is not None and at not in spent])
    kept = _words(sentence, [at for at, cue in enumerate(mine) if cue is None and at not in spent])
    absent = _TRAILING.sub("", _LEADING.sub("", absent))
    kept = _JOINING.sub("", kept)
    used = dict.fromkeys(cue.text for cue in mine if cue is not None)
    return (kept, absent, ", ".join(used)) if _LETTERS.search(absent) else (kept, "", "")


def _claim(mine: list[Found | None], cue: Found, words: range) -> None:
    for at in words:
        mine[at] = cue


def _wall_after(start: int, cues: list[Found], end: int) -> int:
    return min((cue.start for cue in cues if cue.tag == "terminators" and cue.start > start), default=end)


def _wall_before(end: int, cues: list[Found]) -> int:
    return max((cue.end for cue in cues if cue.tag == "terminators" and cue.end < end), default=0)


def _words(sentence: Sentence, places: list[int]) -> str:
    text = " ".join(sentence.words[at] for at in places)
    return re.sub(r"\s+([,:?])", r"\1", text).strip(" ,:?/()")
