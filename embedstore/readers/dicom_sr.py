"""The text of a structured report, rendered from its content tree (PS3.3 C.17.3)."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset

from embedstore.errors import ReadFailure
from embedstore.readers.dicom_charset import printable, printable_lines
from embedstore.readers.dicom_values import code, element, item_at, items_of, meaning, text

_DEEPEST = 32
_MOST_ITEMS = 100_000
_INDENT = "  "
_TOO_LONG = "the report is longer than the limit of {:,} characters"
# Person Observer Name, Subject Name, ID, Birth Date, Mother of Fetus (PS3.16 TID 1003, 1007, 1008).
_PERSONS = frozenset(("121008", "121029", "121030", "121031", "121036", "11955-2"))
_PLAIN = {"DATE": "Date", "TIME": "Time", "DATETIME": "DateTime"}


def render_sr(ds: Dataset, most: int) -> str:
    """Lines of the report: a container's title as a heading, what it contains indented below it.

    "Concept: value" for text, codes (by their meaning), dates and numbers (with units). Left out are names of
    persons and what else identifies the subject, UIDs, references to images and other objects, coordinates,
    and items that only refer to other items of the tree. Empty when only headings remain. Raises ReadFailure
    beyond `most` characters, for trees deeper than 32 and for more than 100,000 items.
    """
    lines: list[str] = []
    length, says = 0, False
    for line, has_value in _lines(ds, 0, _Count()):
        length += len(line) + 1
        if length > most + 1:
            raise ReadFailure(_TOO_LONG.format(most))
        lines.append(line)
        says = says or has_value
    return "\n".join(lines) if says else ""


def referenced_image(ds: Dataset) -> str | None:
    """SOP Instance UID of the one image that a report or document refers to; None for none or several.

    Images in the content tree come before those of Source Instance Sequence and the current evidence.
    """
    for found in (_content_images(ds, 0), _listed(ds, "SourceInstanceSequence"), _evidence(ds)):
        uids = set(found)
        if uids:
            return next(iter(uids)) if len(uids) == 1 else None
    return None


class _Count:
    """Items met so far."""

    def __init__(self) -> None:
        self.items = 0

    def one(self) -> None:
        self.items += 1
        if self.items > _MOST_ITEMS:
            raise ReadFailure(f"the report has more than {_MOST_ITEMS:,} content items")


def _lines(item: Dataset, depth: int, count: _Count) -> Iterator[tuple[str, bool]]:
    """Lines, and whether each says more than a heading."""
    count.one()
    if depth > _DEEPEST:
        raise ReadFailure(f"the report is nested deeper than {_DEEPEST} levels")
    kind = code(item, "ValueType") or ("CONTAINER" if depth == 0 else "")
    name = _title(item)
    inside = depth
    if kind == "CONTAINER":
        if name:
            yield _INDENT * depth + name, False
            inside = depth + 1
    else:
        said = _said(item, kind)
        if said:
            said = said.replace("\n", "\n" + _INDENT * (depth + 1))
            yield _INDENT * depth + (f"{name}: {said}" if name else said), True
            inside = depth + 1
    for child in items_of(item, "ContentSequence", _MOST_ITEMS):
        if code(child, "ValueType") is not None:  # else it refers to another item of the tree
            yield from _lines(child, inside, count)


def _title(item: Dataset) -> str | None:
    return meaning(item, "ConceptNameCodeSequence")


def _said(item: Dataset, kind: str) -> str | None:
    if _names_a_person(item):
        return None
    if kind == "TEXT":
        return _free_text(item)
    if kind == "CODE":
        return meaning(item, "ConceptCodeSequence")
    if kind == "NUM":
        return _measured(item)
    return text(item, _PLAIN[kind]) if kind in _PLAIN else None


def _names_a_person(item: Dataset) -> bool:
    concept = item_at(item, "ConceptNameCodeSequence", 0)
    return concept is not None and text(concept, "CodeValue") in _PERSONS


def _free_text(item: Dataset) -> str | None:
    value = element(item, "TextValue")
    return printable_lines(str(value)) if isinstance(value, str) else None


def _measured(item: Dataset) -> str | None:
    """Number and unit, or why there is none (Numeric Value Qualifier)."""
    measured = item_at(item, "MeasuredValueSequence", 0)
    if measured is None:
        return meaning(item, "NumericValueQualifierCodeSequence")
    value = text(measured, "NumericValue")
    if value is None:
        return None
    unit = item_at(measured, "MeasurementUnitsCodeSequence", 0)
    shown = _unit(unit) if unit is not None else None
    return f"{value} {shown}" if shown else value


def _unit(unit: Dataset) -> str | None:
    """The UCUM code, which is the written unit ("mm"); nothing for "no units" ("1", "{...}")."""
    if code(unit, "CodingSchemeDesignator") == "UCUM":
        short = printable(text(unit, "CodeValue") or "")
        return None if short == "1" or short.startswith("{") else short
    return text(unit, "CodeMeaning")


def _content_images(item: Dataset, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        return
    if code(item, "ValueType") == "IMAGE":
        yield from _listed(item, "ReferencedSOPSequence")
    for child in items_of(item, "ContentSequence", _MOST_ITEMS):
        yield from _content_images(child, depth + 1)


def _listed(item: Dataset, keyword: str) -> Iterator[str]:
    for reference in items_of(item, keyword, _MOST_ITEMS):
        uid = text(reference, "ReferencedSOPInstanceUID")
        if uid:
            yield uid


def _evidence(ds: Dataset) -> Iterator[str]:
    for study in items_of(ds, "CurrentRequestedProcedureEvidenceSequence", 64):
        for series in items_of(study, "ReferencedSeriesSequence", 64):
            yield from _listed(series, "ReferencedSOPSequence")
