"""Free text with the persons taken out: what equals a known identifier, and what is one by its form.

No text is ever proven free of identity by this: names that no header knows and nobody announces by a title
stay. See docs/privacy.md.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import date
from functools import lru_cache

from embedstore.privacy.identifiers import NOBODY, Identifiers

NAME, NUMBER, DATE, PLACE, CONTACT = "[NAME]", "[ID]", "[DATE]", "[PLACE]", "[CONTACT]"

# Not preceded or followed by a letter or digit; an underscore is a boundary (file names).
_BEFORE, _AFTER = r"(?<![^\W_])", r"(?![^\W_])"
_NOT_LATIN = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_SPELLED = {"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "æ": "ae", "ß": "ss", "œ": "oe"}
_SHORT_NAME, _SHORT_NUMBER = 3, 4
_WORD_LIKE = 5
_NUMBER_GAP = "[-./ ]?"
# Names that are words of reports too: masked only where written like a name.
_WORDS = frozenset(
    re.findall(
        r"\w+",
        "age arm back bell best black bone bowel brain bright brown chest clear cross day dense "
        "early else even field fields fine foot good gray green grey hand hard hart head heart hill "
        "hip house hull knee lane large late left light limb little long low lung lunge may mild "
        "miller more neck new old park pleura poor price rice rich right rose sharp short side "
        "small stone strong swift thick thin view walker wall ward west white will wise wood young ",
    )
)
_MONTHS = (
    "jan(?:uary|uar|vier|uari|eiro)?|ene(?:ro)?|gen(?:naio)?",
    "feb(?:ruary|ruar|rero|braio|ruari)?|fev(?:rier|ereiro)?",
    "mar(?:ch|s|zo|co)?|maerz|marz|mrz|maart|mrt",
    "apr(?:il|ile)?|avr(?:il)?|abr(?:il)?",
    "may|mai|mayo|maggio|maio|mei",
    "june?|juni|juin|junio|giu(?:gno)?|junho",
    "july?|juli|juil(?:let)?|julio|lug(?:lio)?|julho",
    "aug(?:ust|ustus)?|aout|ago(?:sto)?",
    "sept?(?:ember|embre|tiembre|iembre|embro)?|set(?:tembre|embro)?",
    "oct(?:ober|obre|ubre)?|okt(?:ober)?|ott(?:obre)?|out(?:ubro)?",
    "nov(?:ember|embre|iembre|embro)?",
    "dec(?:ember|embre)?|dez(?:ember|embro)?|dic(?:iembre|embre)?",
)
_ANY_MONTH = "|".join(_MONTHS)
_SEPARATOR = r"[ \t]?[./\-][ \t]?"
# A date also ends before the time of ISO 8601: 1947-10-29T00:00.
_DATE_ENDS = rf"(?:{_AFTER}|(?=t\d\d))"
# Soft hyphens and the like, which text taken out of documents carries inside of words, and nobody sees.
_UNSEEN = re.compile("[\u00ad\u200b\u2060\ufeff]")
_APOSTROPHES = "'’`´ʼ"
_ANY_DATE = re.compile(
    rf"{_BEFORE}(?:(?:19|20)\d\d{_SEPARATOR}\d{{1,2}}{_SEPARATOR}\d{{1,2}}"
    rf"|\d{{1,2}}{_SEPARATOR}\d{{1,2}}{_SEPARATOR}(?:19|20)\d\d"
    r"|(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
    rf"|\d{{1,2}}(?:st|nd|rd|th|\.)?[ \t\-](?:of |de )?(?:{_ANY_MONTH})\.?,?[ \t\-](?:de )?\d{{4}}"
    rf"|(?:{_ANY_MONTH})\.?[ \t]\d{{1,2}}(?:st|nd|rd|th)?,?[ \t]\d{{4}}){_DATE_ENDS}"
)
_CONTACTS = re.compile(
    r"[\w.+\-]{1,64}@[\w\-]{1,63}(?:\.[\w\-]{1,63}){1,8}"
    r"|https?://\S{1,500}"
    r"|(?<!\w)(?:call|telephone|telefon|tel|phone|fon|fax|mobile?|pager|beeper)\.?:?[ \t]*"
    r"\+?[\d(][\d ()/\-.]{4,20}\d"
    r"|(?<![\w.])\+\d{1,3}[ \-.]?(?:\(?\d{1,5}\)?[ \-./]?){2,6}\d"
    r"|(?<![\w.\-])\(?\d{3}\)?[ .\-]\d{3}[.\-]\d{4}(?![\w\-])"
)
_UIDS = re.compile(r"(?<![\d.])[0-2](?:\.\d{1,39}){4,20}(?![\d])")
_ANNOUNCED = re.compile(
    r"(?<!\w)(?:mrn|medical record(?: no| number)?|patient(?:en)?[ \-]?(?:id|no|nr|nummer|number)"
    r"|case[ \-]?(?:id|no|nr)"
    r"|accession(?: no| number)?|acc(?:ession)?[ ]?#|ssn|nhs(?: no| number)?|fallnummer|fall-?nr)"
    r"\.?[ \t]*[:#=]?[ \t]*(?P<id>[a-z]{0,4}[\-/]?\d[\w\-/]{2,30})"
)
# Matched on the text as it is written: what follows a title with a capital is a name.
_TITLED = re.compile(
    r"(?<!\w)(?:Drs?|DR|Prof(?:essor)?|PROF|Doctor|Mr|MR|Mrs|MRS|Ms|Miss|Herr(?:n)?|Frau|Mme|Mlle|Monsieur|Madame"
    r"|Sr|Sra|Dott|Sig|Nurse|Sister)\b(?:\.[ \t]*|[ \t]+)(?:(?:Dr|DR|med|Prof)\b(?:\.[ \t]*|[ \t]+))*"
    r"(?P<name>(?:(?:von|van|de|der|den|di|da|al|el|la|le)[ \t\-]+)*"
    r"(?:[A-ZÀ-ÖØ-Þ]\.[ \t]*)*[A-ZÀ-ÖØ-Þ][\w'’\-]*"
    r"(?:[ \t]+(?:[A-ZÀ-ÖØ-Þ]\.|[A-ZÀ-ÖØ-Þ][\w'’\-]+)){0,3})"
)


def clean_text(text: str, identifiers: Identifiers = NOBODY, *, dates: bool = True) -> str:
    """Text with identifiers replaced by [NAME], [ID], [DATE], [PLACE] and [CONTACT].

    Masked are, in any case and with or without accents: names of the header in every order, numbers with
    and without separators, the header's dates in the notations of common languages; and, known or not,
    e-mail and web addresses, telephone numbers, UIDs, announced record numbers, names after a title, complete
    dates. A name of one or two letters, a number of fewer than four characters, is masked
    only where its surroundings say what it is. dates: False leaves dates alone.
    """
    plain = _UNSEEN.sub("", unicodedata.normalize("NFC", text))
    spans: list[tuple[int, int, str]] = []
    folded = fold(plain)
    for pattern, mask in _patterns(identifiers, dates):
        spans.extend((*_span(found), mask) for found in pattern.finditer(folded))
    for pattern, mask in _exact_patterns(identifiers):
        spans.extend((*_span(found), mask) for found in pattern.finditer(plain))
    return _masked(plain, spans)


def fold(text: str) -> str:
    """Lower case without accents, character for character: positions stay those of `text`."""
    if text.isascii():
        return text.lower()
    return "".join(_folded(c) for c in text)


def _folded(c: str) -> str:
    base = unicodedata.normalize("NFKD", c)[:1].lower() or c
    return base if len(base) == 1 else c


def _span(found: re.Match[str]) -> tuple[int, int]:
    for group in ("id", "name"):
        if group in found.re.groupindex:
            return found.span(group)
    return found.span()


def _masked(text: str, spans: list[tuple[int, int, str]]) -> str:
    """Overlapping spans are masked together, by the mask of the one that begins first."""
    out: list[str] = []
    at = 0
    for start, end, mask in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= at and end > start:
            out.extend((text[at:start], mask))
            at = end
        elif end > at:
            at = end
    out.append(text[at:])
    return "".join(out)


@lru_cache(maxsize=64)
def _patterns(identifiers: Identifiers, dates: bool) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Patterns over folded text."""
    found: list[tuple[re.Pattern[str], str]] = [(_CONTACTS, CONTACT), (_ANNOUNCED, NUMBER), (_UIDS, NUMBER)]
    found += _compiled((_phrase(p) for p in identifiers.phrases if len(p) >= _SHORT_NAME), PLACE)
    found += _compiled((p for name in identifiers.names for p in _name_patterns(name)), NAME)
    found += _compiled((p for number in identifiers.numbers for p in _number_patterns(number)), NUMBER)
    if dates:
        found += _compiled((_date_pattern(date.fromisoformat(day)) for day in identifiers.dates), DATE)
        found.append((_ANY_DATE, DATE))
    return tuple(found)


@lru_cache(maxsize=64)
def _exact_patterns(identifiers: Identifiers) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Patterns over the text as written, where a capital tells a name from a word."""
    tokens = {t for name in identifiers.names for t in name_tokens(name) if fold(t) in _WORDS}
    wanted = (f"{_BEFORE}(?:{re.escape(t.capitalize())}|{re.escape(t.upper())}){_AFTER}" for t in tokens)
    return ((_TITLED, NAME), *_compiled(wanted, NAME))


def _compiled(patterns: Iterable[str], mask: str) -> list[tuple[re.Pattern[str], str]]:
    joined = "|".join(sorted(set(patterns), key=lambda p: (-len(p), p)))
    return [(re.compile(joined), mask)] if joined else []


def name_tokens(name: str) -> list[str]:
    """The parts of a person name: `Doe-Smith^John=...` gives Doe, Smith, John and the other groups'."""
    plain = unicodedata.normalize("NFC", name)
    return [t for t in re.split(r"[\^=\s,;.\\/\-_]+", plain) if t and not t.isdigit()]


def _name_patterns(name: str) -> Iterator[str]:
    for group in unicodedata.normalize("NFC", name).split("="):
        tokens = name_tokens(group)
        for token in tokens:
            if _NOT_LATIN.search(token):
                if len(token) > 1:
                    yield re.escape(token)
            elif len(token) >= _SHORT_NAME and fold(token) not in _WORDS:
                yield f"{_BEFORE}{_spellings(token)}(?:'?s)?{_AFTER}"
        yield from _together(tokens)


def _together(tokens: list[str]) -> Iterator[str]:
    """Two tokens of one name side by side, in either order: enough to tell that short ones are a name."""
    gap = r"[\s,.^_\-]{1,3}"
    for first in tokens:
        for second in tokens:
            if first is second:
                continue
            if _NOT_LATIN.search(first) and _NOT_LATIN.search(second):
                yield f"{re.escape(first)}[\\s^\u30fb\u3000]?{re.escape(second)}"
            elif len(first) > 1 or len(second) > 1:
                yield f"{_BEFORE}{_spellings(first)}{gap}{_spellings(second)}{_AFTER}"
            if min(len(first), len(second)) >= _SHORT_NAME:  # as in names of files
                yield f"{_BEFORE}{_spellings(first)}{_spellings(second)}{_AFTER}"


def _spellings(token: str) -> str:
    """A token in folded text, umlauts also spelled out, spelled-out umlauts also as such."""
    lower = "".join(c.lower() if len(c.lower()) == 1 else _folded(c) for c in token)
    # O'Brien is O Brien as well; in a short name (D'Or) the two pieces may be words.
    apart = f"[{_APOSTROPHES} ]?" if len(lower) > _WORD_LIKE else f"[{_APOSTROPHES}]?"
    parts: list[str] = []
    at = 0
    while at < len(lower):
        if lower[at] in _SPELLED:
            parts.append(f"(?:{re.escape(fold(lower[at]))}|{_SPELLED[lower[at]]})")
            at += 1
        elif lower[at : at + 2] in ("ae", "oe", "ue"):
            parts.append(f"{lower[at]}e?")
            at += 2
        else:
            parts.append(apart if lower[at] in _APOSTROPHES else re.escape(fold(lower[at])))
            at += 1
    return "".join(parts)


def _number_patterns(number: str) -> Iterator[str]:
    plain = fold(number.strip())
    solid = re.sub(r"[^a-z0-9]", "", plain)
    if len(solid) >= _SHORT_NUMBER:
        yield _BEFORE + _NUMBER_GAP.join(solid) + _AFTER
        runs = {solid.lstrip("0"), *(run.lstrip("0") for run in re.findall(r"\d{6,}", solid))}
        for digits in sorted(runs - {solid}):
            if len(digits) >= _SHORT_NUMBER:
                yield f"{_BEFORE}(?:0{_NUMBER_GAP})*{_NUMBER_GAP.join(digits)}{_AFTER}"
    elif solid and any(c.isdigit() for c in solid):
        said = "|".join(
            f"(?<={word})" for word in ("id ", "id:", "id: ", r"no\. ", r"nr\. ", "#", "mrn ", "mrn: ")
        )
        yield f"(?:{said}){re.escape(solid)}{_AFTER}"
    elif len(plain) >= _SHORT_NUMBER:
        yield re.escape(plain)


def _phrase(phrase: str) -> str:
    words = [re.escape(fold(word)) for word in re.split(r"[\s^,]+", phrase) if word]
    return _BEFORE + r"[\s,]+".join(words) + _AFTER if words else r"(?!)"


def _date_pattern(day: date) -> str:
    d, m = (f"0?{n}" if n < 10 else str(n) for n in (day.day, day.month))
    year, short = f"{day.year:04d}", f"'?{day.year % 100:02d}"
    either, month = f"(?:{year}|{short})", f"(?:{_MONTHS[day.month - 1]})"
    s = rf"(?:{_SEPARATOR}|[ \t])"
    return (
        f"{_BEFORE}(?:{year}{day.month:02d}{day.day:02d}|{day.day:02d}{day.month:02d}{year}"
        f"|{day.month:02d}{day.day:02d}{year}|{year}{s}{m}{s}{d}|{d}{s}{m}{s}{either}|{m}{s}{d}{s}{either}"
        rf"|{d}(?:st|nd|rd|th|\.)?[ \t\-](?:of |de )?{month}\.?,?[ \t\-](?:de )?{either}"
        rf"|{month}\.?[ \t]{d}(?:st|nd|rd|th)?,?[ \t]{either}){_DATE_ENDS}"
    )
