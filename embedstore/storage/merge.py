"""What several sources say of one item becomes one row: the first word is kept, disagreements are told."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, get_args, get_type_hints

from embedstore.contracts.record import HEADER_COLUMNS, Header
from embedstore.storage.batches import ItemKey
from embedstore.storage.types import clean_extra, clean_scalar, clean_text

_PATIENT_FIELDS = ("patient_group", "patient_id", "patient_issuer")
_COLLECTIONS = ("train/", "val/", "test/", "images/", "report/")
_VOXELS_APART = re.compile(r"data/[^/]+")
_HINTS = get_type_hints(Header)
COLUMN_TYPES: Mapping[str, type] = {
    f.name: next(t for t in get_args(_HINTS[f.name]) if t is not type(None))
    for f in fields(Header)
    if f.name != "extra"
}
"""Python type of each header column: str, int or float."""


@dataclass(frozen=True, slots=True)
class Word:
    """One source's word on an item: its header as plain values, and what a table said against it."""

    source_id: int
    header: Mapping[str, Any]
    overruled: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Disagreement:
    """`source_id` says `other` where the item keeps `kept`."""

    field: str
    kept: str
    other: str
    source_id: int


@dataclass(frozen=True, slots=True)
class Merged:
    """Header columns, `extra` and patient columns of the item row, and who disagrees with them."""

    columns: Mapping[str, Any]
    disagreements: tuple[Disagreement, ...]


def plain_header(header: Header) -> dict[str, Any]:
    """A header as JSON: known columns of the right type only, and `extra`."""
    plain: dict[str, Any] = {}
    for name in HEADER_COLUMNS:
        value = _typed(getattr(header, name), COLUMN_TYPES[name])
        if value is not None:
            plain[name] = value
    extra = clean_extra(header.extra)
    if extra:
        plain["extra"] = extra
    return plain


def _typed(value: Any, wanted: type) -> Any:
    if value is None or value == "":
        return None
    if wanted is str:
        return clean_text(str(value)) or None
    cleaned = clean_scalar(value)
    if not isinstance(cleaned, int | float):
        return None
    return int(cleaned) if wanted is int else float(cleaned)


def reasserted(old: Word, new: Word) -> Word:
    """The same source met again: what it says now counts, what it no longer mentions stays.

    But a group belongs to its PatientID: another one without a group would go unheard behind the old group.
    """
    header = {**old.header, **new.header}
    if "patient_group" not in new.header and _another(old.header, new.header, "patient_id"):
        header.pop("patient_group", None)
    extra = {**old.header.get("extra", {}), **new.header.get("extra", {})}
    if extra:
        header["extra"] = extra
    return Word(old.source_id, header, {**old.overruled, **new.overruled})


def _another(old: Mapping[str, Any], new: Mapping[str, Any], name: str) -> bool:
    return name in old and name in new and old[name] != new[name]


def merge(key: ItemKey, words: Sequence[Word]) -> Merged:
    """The item row that the words of its sources, in the order they were met, add up to."""
    kept: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for word in words:
        for name, value in word.header.items():
            if name != "extra":
                kept.setdefault(name, value)
        for name, value in word.header.get("extra", {}).items():
            extra.setdefault(name, value)
    columns: dict[str, Any] = {name: kept.get(name) for name in HEADER_COLUMNS}
    columns["extra"] = extra
    columns.update(patient_columns(key, kept))
    found: dict[tuple[str, int], Disagreement] = {}
    for word in words:
        for said in _disagreements(key, kept, extra, columns["patient"], word):
            found.setdefault((said.field, said.source_id), said)
    return Merged(columns, tuple(found.values()))


def _disagreements(
    key: ItemKey, kept: Mapping[str, Any], extra: Mapping[str, Any], patient: str, word: Word
) -> list[Disagreement]:
    found: list[Disagreement] = []

    def say(name: str, one: Any, other: Any) -> None:
        found.append(Disagreement(name, str(one), str(other), word.source_id))

    other_patient = _patient_said(key, kept, word.header)
    if other_patient != patient:
        say("patient", patient, other_patient)
    for name, value in word.header.items():
        covered = name in _PATIENT_FIELDS and other_patient != patient
        if name != "extra" and value != kept[name] and not covered:
            say(name, kept[name], value)
    for name, value in word.header.get("extra", {}).items():
        if value != extra[name]:
            say(f"attr.{name}", extra[name], value)
    for name, value in word.overruled.items():
        own = kept.get(name, extra.get(name.removeprefix("attr.")))
        if name in _PATIENT_FIELDS:
            claimed = _patient_said(key, kept, {**word.header, name: value})
            if claimed != patient:
                say("patient", patient, claimed)
                continue
        say(name, own if own is not None else "", value)
    return found


def _patient_said(key: ItemKey, kept: Mapping[str, Any], header: Mapping[str, Any]) -> str:
    """The patient one source means; what it leaves open is taken from what is kept."""
    filled = dict(header)
    same_person = header.get("patient_id") in (None, kept.get("patient_id"))
    for name in (*_PATIENT_FIELDS, "site", "study_uid"):
        if same_person or name != "patient_group":
            filled.setdefault(name, kept.get(name))
    return str(patient_columns(key, filled)["patient"])


def patient_columns(key: ItemKey, header: Mapping[str, Any]) -> dict[str, Any]:
    """patient, patient_known, patient_code and study_code of an item.

    The patient is the group of merged persons when one is given, else (issuer or site)/PatientID. Without an
    identifier: everything of one study, else everything of one file is one unknown person, however it is cut;
    only rows of arrays and of tables are a person each.
    """
    study = header.get("study_uid")
    whole = _one_person(key)
    name = header.get("patient_group")
    if name is None and header.get("patient_id") is not None:
        issuer = header.get("patient_issuer") or header.get("site")
        name = f"{issuer}/{header['patient_id']}" if issuer else str(header["patient_id"])
    known = name is not None
    if name is None:
        name = f"unknown/{study}" if study is not None else f"unknown/{whole}"
    return {
        "patient": name,
        "patient_known": known,
        "patient_code": _code("patient", name),
        "study_code": _code("study", name, study) if study is not None else _code("item", whole),
    }


def _one_person(key: ItemKey) -> str:
    """What of a file is surely of one person: the file, unless it is a collection of many people's."""
    sha256, part = key
    if part.startswith(_COLLECTIONS):
        return f"{sha256}/{part}"
    pair = _VOXELS_APART.match(part)  # two patients' headers can be equal to the byte, their voxels are not
    return f"{sha256}/{pair[0]}" if pair else sha256


def _code(*words: str) -> int:
    """63 bits of sha256: collisions among a million are one in 10 million."""
    return int.from_bytes(hashlib.sha256("\0".join(words).encode()).digest()[:8], "big") >> 1
