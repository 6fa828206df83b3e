"""The gate of a de-identified store: what it lets through of headers, paths, parts, tables and reports.

An allow-list: a column or attribute that no rule names does not pass. Everything else becomes a keyed
pseudonym, is shifted, searched, or left out, by the profile, and by the row of PS3.15 Table E.1-1 where the
attribute has one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.tag import Tag

from embedstore.contracts.record import HEADER_COLUMNS, READER_ATTRIBUTES, Header, Report, Scalar, Source
from embedstore.errors import ReadFailure
from embedstore.privacy.dates import parsed, shifted
from embedstore.privacy.deidentify import pseudonym
from embedstore.privacy.identifiers import NUMBERS, PHRASES, Identifiers
from embedstore.privacy.key import Key, is_registered
from embedstore.privacy.profile import Profile
from embedstore.privacy.table import row_of
from embedstore.privacy.text import clean_text

OLDEST = 90.0
"""Years; whoever is older is recorded as this old (45 CFR 164.514(b)(2)(i)(C))."""
_PATH_MARK = "hmac:"
_PART_WORDS = frozenset(
    re.findall(
        r"\w+",
        "image volume frame slice slab tile level page time text report box roi band channel series "
        "train val test valid all row item part z t c x y l",
    )
)
_PART_PIECE = re.compile(r"[a-z]+|[0-9]{1,9}|[/,.x@_=\-]")
_FORMATS = frozenset(
    {"DICOM", "DICOMDIR", "NIFTI", "TIFF", "JPEG", "OPENSLIDE", "RTDOSE", "RTPLAN", "RTSTRUCT"}
)
_UID = re.compile(r"[0-9][0-9.]{0,63}\Z")
# Values of at most 16 characters (PS3.5 6.2); none of them a telephone or record number.
_CODE = re.compile(r"(?!.*[0-9]{7})[A-Z0-9 _.+\-/]{0,16}(\\[A-Z0-9 _.+\-/]{0,16}){0,31}\Z")
_SPLIT = re.compile(
    r"(?:train(?:ing)?|val(?:id(?:ation)?)?|test(?:ing)?|dev(?:elopment)?|calibration|hold-?out|internal|external"
    r"|(?:fold|split|cv)?[ _\-]?[0-9]{1,2})\Z",
    re.IGNORECASE,
)
_AGE = re.compile(r"[0-9]{3}[DWMY]\Z", re.ASCII)
_NUMERIC = frozenset({"DS", "IS", "US", "SS", "UL", "SL", "UV", "SV", "FD", "FL"})
# Free text by its VR, but a code of the manufacturer by its use.
_HARMLESS = frozenset({"ConvolutionKernel", "ReconstructionAlgorithm", "SequenceName", "TransferSyntaxUID"})
_EXPLANATORY = (
    (re.compile(r"name|physician|operator|referr|doctor|arzt|patientin|radiolog|reader|author"), "names"),
    (re.compile(r"id$|_id|mrn|accession|number|nummer|nr$|phone|record|insur"), "numbers"),
    (re.compile(r"date|birth|dob|datum|geb"), "dates"),
    (re.compile(r"address|street|city|town|adresse|ort$|hospital|institution|clinic"), "phrases"),
)


@dataclass(frozen=True, slots=True)
class SealedSource:
    """A source as a de-identified store knows it: its HMAC for a name, one number for size and time."""

    path: str
    mtime_ns: int
    size: int = 0

    def open(self) -> Any:
        """Not from here: only the holder of the key and the folder can say which file it was."""
        raise ReadFailure("a de-identified store does not know where its files are")


@dataclass(frozen=True, slots=True)
class Gate:
    """What a store may see, under one profile and one key.

    kept: attributes (CSV columns, DICOM keywords) that the user wants through; their text is searched.
    """

    profile: Profile
    key: Key
    kept: frozenset[str] = frozenset()

    # Files

    def name(self, path: str) -> str:
        """What stands for an absolute path; the same for the same path and key."""
        return f"{_PATH_MARK}{self.key.token('path', path, length=32)}"

    def sha256(self, sha256: str) -> str:
        """What stands for the sha256 of a source's bytes: 64 hex digits."""
        return self.key.hex("sha256", sha256)

    def seal(self, source: Source) -> SealedSource:
        """The source as it is recorded; equal as long as path, size and time are."""
        stamp = self.key.number("stamp", str(source.size), str(source.mtime_ns))
        return SealedSource(self.name(source.path), stamp)

    def part(self, part: str) -> str:
        """A part key whose every piece is one of ours ("frame/3"); others become an HMAC."""
        pieces = _PART_PIECE.findall(part)
        ours = all(p in _PART_WORDS for p in pieces if p.isalpha()) and part.count(".") <= 2
        if "".join(pieces) == part and ours and not part.startswith("report/"):
            return part
        word = part.partition("/")[0]
        return f"{word if word in _PART_WORDS else 'part'}/{self.key.token('part', part, length=26).lower()}"

    def site(self, site: str) -> str:
        """The site itself where institutions are retained, else what stands for it."""
        return site if self.profile.institution else f"S-{self.key.token('site', site, length=8)}"

    def reason(self, reason: str, path: str) -> str:
        """A failure's reason without the names of the file, its folders and its archive.

        Reasons are the readers' own words and quote nothing; this is the second lock on that door. A folder
        called like one of those words does not take it out.
        """
        for piece in sorted(set(re.split(r"[/\\!]+", path)) | {path}, key=len, reverse=True):
            for known in (piece, piece.partition(".")[0]):
                if len(known) > 3 and not known.islower() and known.upper() not in _FORMATS:
                    reason = reason.replace(known, "[FILE]")
        return clean_text(reason)

    # Headers

    def header(self, header: Header, known: Identifiers, tabled: frozenset[str] = frozenset()) -> Header:
        """The columns and attributes that pass. known: identifiers of the object and its patient.

        tabled: attributes that a table gave. They pass only when they are `kept`, whatever their names: a
        column is not a DICOM element because it is called like one.
        """
        through = _Through(self, header, known, tabled)
        values = {name: through.column(name) for name in HEADER_COLUMNS}
        return Header(**values, extra=through.extra())

    def column(self, header: Header, name: str, value: Any, known: Identifiers) -> Any:
        """One column's value as `header` would let it through."""
        return getattr(self.header(replace(header, **{name: value}), known), name)

    def report(self, report: Report, known: Identifiers, tabled: frozenset[str] = frozenset()) -> Report:
        """A report with its text searched, the rest as `header`; its source is sealed by the caller."""
        dates = not self.profile.full_dates
        return replace(
            report,
            part=self.part(report.part),
            text=clean_text(report.text, known | self.identifiers(report.header), dates=dates),
            header=self.header(report.header, known, tabled),
            about_path=None if report.about_path is None else self.name(report.about_path),
        )

    def identifiers(self, header: Header) -> Identifiers:
        """What a header and the CSV columns joined to it say about persons, by the columns' names."""
        found: dict[str, set[str]] = {"names": set(), "numbers": set(), "dates": set(), "phrases": set()}
        for name in ("patient_id", "patient_group"):
            found["numbers"].update({getattr(header, name)} - {None})
        for name in ("study_date", "acquisition_date"):
            found["dates"].update({getattr(header, name)} - {None})
        if not self.profile.institution:
            found["phrases"].update(place for place in (header.institution, header.site) if place)
        for name, value in header.extra.items():
            kind = _kind_of(name)
            if kind is not None and name not in self.kept:
                found[kind].add(str(value))
        days = {day.isoformat() for text in found["dates"] if (day := parsed(text)) is not None}
        long = (frozenset(v for v in found[kind] if len(v) > 1) for kind in ("names", "numbers"))
        names, numbers = long
        return Identifiers(names, numbers, frozenset(days), frozenset(found["phrases"]))


class _Through:
    """One header on its way through the gate."""

    def __init__(self, gate: Gate, header: Header, known: Identifiers, tabled: frozenset[str]) -> None:
        self._gate = gate
        self._tabled = tabled
        self._key = gate.key
        self._profile = gate.profile
        self._header = header
        self._known = known | gate.identifiers(header)

    def column(self, name: str) -> Any:
        value = getattr(self._header, name)
        rule = _RULES.get(name)
        return None if value is None or rule is None else rule(self, value)

    def extra(self) -> dict[str, Scalar]:
        found = {name: self._attribute(name, value) for name, value in self._header.extra.items()}
        return {name: value for name, value in found.items() if value is not None}

    # Rules: what becomes of a value that is there.

    def number(self, value: float, most: float) -> float | None:
        """A number that says nothing about a person, as long as it can be what its column says."""
        return value if abs(value) <= most else None

    def patient(self, value: str) -> str:
        return pseudonym(self._key, self._header.patient_issuer or "", value)

    def issuer(self, value: str) -> str:
        return f"I-{self._key.token('issuer', value)}"

    def group(self, value: str) -> str:
        return f"G-{self._key.token('group', value)}"

    def split(self, value: str) -> str:
        """A usual word; another may be the name of an array in a file, and that the name of a patient."""
        return value if _SPLIT.match(value) else f"X-{self._key.token('split', value, length=8)}"

    def whole(self, value: str) -> str:
        return f"W-{self._key.token('whole', value, length=26)}"

    def uid(self, value: str) -> str:
        return value if self._profile.uids else self._key.uid(value)

    def standard_uid(self, value: str) -> str | None:
        return value if _UID.match(value) else None

    def date(self, value: str) -> str | None:
        if self._profile.full_dates:
            return value if parsed(value) else None
        return shifted(value, self._shift()) if self._profile.modified_dates else None

    def age(self, value: float) -> float | None:
        return min(value, OLDEST) if self._profile.patient else None

    def sex(self, value: str) -> str | None:
        return value if self._profile.patient and value in ("M", "F", "O") else None

    def text(self, value: str) -> str:
        return clean_text(value, self._known, dates=not self._profile.full_dates)

    def description(self, value: str) -> str | None:
        return self.text(value) if self._profile.descriptors else None

    def institution(self, value: str) -> str | None:
        return value if self._profile.institution else None

    def site(self, value: str) -> str:
        return self._gate.site(value)

    def _shift(self) -> int:
        header = self._header
        if header.patient_id is not None:
            return self._key.shift_days("\x00".join((header.patient_issuer or "", header.patient_id)))
        return self._key.shift_days("\x00".join(("study", header.study_uid or "")))

    def _attribute(self, name: str, value: Scalar) -> Scalar | None:
        if name in self._gate.kept:
            return self.text(value) if isinstance(value, str) else value
        if name in READER_ATTRIBUTES:
            return self.text(value) if isinstance(value, str) else value
        tag = tag_for_keyword(name)
        if tag is None or name in self._tabled:
            return None
        row = row_of(Tag(tag).group, Tag(tag).element)
        action = self._profile.action(row) if row is not None else "K"
        if action == "U" and isinstance(value, str):
            return "\\".join(self.uid(one) for one in value.split("\\"))
        if action not in ("K", "C"):
            return None
        return self._by_kind(name, dictionary_VR(tag), value, listed=row is not None)

    def _by_kind(self, name: str, vr: str, value: Scalar, listed: bool) -> Scalar | None:
        """A value the profile keeps: numbers, codes, dates; short text when the table names it."""
        if vr in _NUMERIC:
            return value if _are_numbers(str(value), vr) and self.text(str(value)) == str(value) else None
        if not isinstance(value, str):
            return None
        if vr == "CS":
            return value if _CODE.match(value.upper()) and self.text(value) == value else None
        if vr == "DA":
            return self.date(value)
        if vr == "UI":
            return value if listed or is_registered(value) else None  # the standard's own UIDs
        if vr in ("LO", "SH", "UC") and (
            listed or name in _HARMLESS
        ):  # a narrative (LT, ST, UT) never passes
            return self.text(value)
        if vr == "AS" and listed:
            return _age_string(value)
        return value if vr == "TM" and listed else None


def _age_string(value: str) -> str | None:
    """An age by PS3.5 6.2 (`045Y`), as old as `OLDEST` at most; only years can be more."""
    if not _AGE.match(value):
        return None
    return f"{OLDEST:03.0f}Y" if value[3] == "Y" and int(value[:3]) > OLDEST else value


def _kind_of(name: str) -> str | None:
    """Which kind of identifier an attribute holds: by its VR where DICOM knows it, else by its name."""
    tag = tag_for_keyword(name)
    if tag is None:
        return next((kind for pattern, kind in _EXPLANATORY if pattern.search(name.lower())), None)
    by_vr = {"PN": "names", "DA": "dates", "DT": "dates"}
    listed = "numbers" if name in NUMBERS else "phrases" if name in PHRASES else None
    return by_vr.get(dictionary_VR(tag), listed)


def _are_numbers(value: str, vr: str) -> bool:
    """Of integers that are written out (IS) at most seven digits: longer ones count nothing, they name."""
    most = 8 if vr == "IS" else 24
    try:
        return all(len(one.strip()) <= most and math.isfinite(float(one)) for one in value.split("\\"))
    except ValueError:
        return False


Rule = Callable[[_Through, Any], Any]

# The most that is believed: a table may have given the number, and a telephone number is no tube voltage.
_NUMBERS = {
    "instance_number": 99_999, "frame": 1e6, "rows": 1e6, "columns": 1e6, "spacing_row_mm": 1e3,
    "spacing_col_mm": 1e3, "slice_thickness_mm": 1e3, "kvp": 1e5, "field_strength_t": 100, "part_number": 1e6,
    "position_mm": 1e4, "time_s": 1e6, "tile_x": 1e6, "tile_y": 1e6, "mpp": 1e4, "magnification": 1e3,
}  # fmt: skip
_TEXTS = (
    "modality", "body_part", "laterality", "view", "manufacturer", "model", "label", "sequence", "licence",
)  # fmt: skip
_RULES: Mapping[str, Rule] = {
    **{name: partial(_Through.number, most=most) for name, most in _NUMBERS.items()},
    **dict.fromkeys(_TEXTS, _Through.text),
    **dict.fromkeys(("study_uid", "series_uid", "sop_uid"), _Through.uid),
    **dict.fromkeys(("sop_class", "transfer_syntax"), _Through.standard_uid),
    **dict.fromkeys(("study_date", "acquisition_date"), _Through.date),
    **dict.fromkeys(("study_description", "series_description", "contrast"), _Through.description),
    "patient_id": _Through.patient,
    "patient_issuer": _Through.issuer,
    "patient_group": _Through.group,
    "whole": _Through.whole,
    "split": _Through.split,
    "age": _Through.age,
    "sex": _Through.sex,
    "institution": _Through.institution,
    "site": _Through.site,
}


def ruled_columns() -> frozenset[str]:
    """Header columns that somebody has thought about; any other never passes."""
    return frozenset(_RULES)
