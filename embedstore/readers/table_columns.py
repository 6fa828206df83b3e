"""Which column of a table means what, and how its cells become values."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

from embedstore.contracts.record import HEADER_COLUMNS, Scalar
from embedstore.errors import BadInputFile, UsageError
from embedstore.readers.normal import OLDEST, age_in_years, iso_date, sex_code, side_code

PATH, REPORT, EXTRA, IGNORE = "path", "report", "extra", "ignore"
FIELDS: tuple[str, ...] = (PATH, REPORT, EXTRA, IGNORE, *HEADER_COLUMNS)

# Spellings with punctuation and case removed; the name of a field itself always counts.
_SYNONYMS: dict[str, str] = {
    "path": PATH, "file": PATH, "filename": PATH, "filepath": PATH, "image": PATH, "imagepath": PATH,
    "imageindex": PATH, "dicompath": PATH,
    "report": REPORT, "reporttext": REPORT, "text": REPORT,
    "extra": EXTRA,
    "sha256": IGNORE,
    "patient": "patient_id", "patientid": "patient_id", "subject": "patient_id", "subjectid": "patient_id",
    "mrn": "patient_id", "issuer": "patient_issuer", "issuerofpatientid": "patient_issuer",
    "patientgroup": "patient_group",
    "studyuid": "study_uid", "studyinstanceuid": "study_uid", "study": "study_uid", "studyid": "study_uid",
    "seriesuid": "series_uid", "seriesinstanceuid": "series_uid",
    "sopuid": "sop_uid", "sopinstanceuid": "sop_uid", "sop": "sop_uid",
    "modality": "modality", "bodypart": "body_part", "bodypartexamined": "body_part",
    "laterality": "laterality", "side": "laterality", "view": "view", "viewposition": "view",
    "projection": "view", "studydate": "study_date", "date": "study_date",
    "studydescription": "study_description", "seriesdescription": "series_description",
    "age": "age", "patientage": "age", "sex": "sex", "gender": "sex", "patientsex": "sex",
    "patientgender": "sex", "manufacturer": "manufacturer", "model": "model", "institution": "institution",
    "hospital": "institution", "site": "site", "centre": "site", "center": "site",
    "label": "label", "finding": "label", "findinglabels": "label", "diagnosis": "label",
    "class": "label", "target": "label",
    "split": "split", "fold": "split", "partition": "split", "licence": "licence", "license": "licence",
}  # fmt: skip
_SECTIONS = frozenset({"comparison", "indication", "findings", "impression"})
_MISSING = frozenset({"", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL"})
_WHOLE = frozenset({"instance_number", "frame", "rows", "columns", "part_number", "tile_x", "tile_y"})
_REAL = frozenset(
    {"spacing_row_mm", "spacing_col_mm", "slice_thickness_mm", "kvp", "field_strength_t", "position_mm"}
    | {"time_s", "mpp", "magnification"}
)
# What a cell of a column may be, for whoever has to mend one.
_ACCEPTED = {
    "age": "years (62) or as in DICOM (062Y, 006M), up to 130",
    "sex": "M, F, O, male, female, other",
    "laterality": "L, R, B, U, left, right, both, bilateral",
    "study_date": "2024-05-31 or 20240531",
    "acquisition_date": "2024-05-31 or 20240531",
    **dict.fromkeys(_WHOLE, "whole numbers"),
    **dict.fromkeys(_REAL, "numbers with a decimal point"),
}
_KEYS = frozenset({PATH, "sop_uid", "study_uid", "patient_id"})
_SHOWN_COLUMNS = 20
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,17})(\.\d+)?([eE][+-]?\d{1,3})?")


def assign(path: Path, columns: Iterable[str], mapping: Mapping[str, str]) -> dict[str, str | None]:
    """The field of each column, None for a further attribute. A `mapping` entry beats the known names.

    Of two columns with one meaning the first has it and the other is an attribute. Only the sections of a
    report (comparison, indication, findings, impression) make one report together, when there is no column
    with the whole. Raises UsageError for an unknown field and BadInputFile for a mapped column that the
    table does not have.
    """
    names = list(columns)
    for column in mapping:
        if column not in names:
            raise BadInputFile(f"{path}: has no column '{column}' to map; its columns: {', '.join(names)}")
    for field in mapping.values():
        if field not in FIELDS:
            near = get_close_matches(field, FIELDS, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise UsageError(f"'{field}' is no field to map a column to; {hint}fields: {', '.join(FIELDS)}")
    assigned: dict[str, str | None] = {}
    taken = {mapping[column] for column in names if column in mapping} - {IGNORE}
    for column in names:
        if column in mapping:
            assigned[column] = mapping[column]
            continue
        plain = bare(column)
        guess = _SYNONYMS.get(plain)
        if guess is None or guess in taken:
            assigned[column] = IGNORE if not plain else None
        else:
            assigned[column] = guess
            taken |= {guess} - {IGNORE}
    if REPORT not in taken:
        sections = [name for name in names if assigned[name] is None and bare(name) in _SECTIONS]
        assigned.update(dict.fromkeys(sections, REPORT))
    return assigned


def refuse_useless(path: Path, assigned: Mapping[str, str | None], reports: bool) -> None:
    """Raise BadInputFile for a table whose rows join nothing, or that lacks the reports it is to bring."""
    found = set(assigned.values())
    if not found & _KEYS and EXTRA not in found:  # attributes in `extra` may hold identifiers
        lacks, field = "says which image, study or patient a row is about", "path"
        others = " (or sop_uid, study_uid, patient_id)"
    elif reports and REPORT not in found:
        lacks, field, others = "holds the text of a report", REPORT, ""
    else:
        return
    names = [name for name in assigned if name]
    more = f" and {len(names) - _SHOWN_COLUMNS} more" if len(names) > _SHOWN_COLUMNS else ""
    raise BadInputFile(
        f"{path}: no column {lacks}; its columns: {', '.join(names[:_SHOWN_COLUMNS])}{more}; "
        f"name one with --map COLUMN={field}{others}"
    )


def accepted(field: str) -> str:
    """What a cell of that column may be, in words."""
    return _ACCEPTED[field]


def bare(column: str) -> str:
    """A column's name without punctuation and case."""
    return re.sub(r"[^a-z0-9]", "", column.lower())


def is_missing(cell: str) -> bool:
    """Empty, or one of the usual spellings of nothing (NA, N/A, NaN, null)."""
    return cell in _MISSING


def field_value(field: str, cell: str) -> Scalar | None:
    """A cell as the value of a header column; None when it does not make sense there."""
    if field == "age":
        return _age(cell)
    if field == "sex":
        return sex_code(cell)
    if field == "laterality":
        return side_code(cell)
    if field in ("study_date", "acquisition_date"):
        return iso_date(cell)
    if field in _WHOLE:
        number = attribute(cell)
        return int(number) if isinstance(number, (int, float)) and number == int(number) else None
    if field in _REAL:
        number = attribute(cell)
        return float(number) if isinstance(number, (int, float)) else None
    return cell


def _age(cell: str) -> float | None:
    """`62`, `62.0` and DICOM's `062Y` alike."""
    number = attribute(cell)
    if isinstance(number, str):
        return age_in_years(number)
    return float(number) if 0 <= number <= OLDEST else None


def attribute(cell: str) -> Scalar:
    """A cell as a number when it is written as one (`7`, `-0.5`, not `007`), else as text."""
    if not _NUMBER.fullmatch(cell):
        return cell
    if cell.lstrip("-").isdigit():
        return int(cell)
    number = float(cell)
    return number if math.isfinite(number) else cell


def attributes(cell: str) -> dict[str, Scalar]:
    """The members of a JSON object: scalars kept, lists joined by `; `, null left out.

    A cell that is no JSON object is one attribute called `extra`.
    """
    try:
        loaded = json.loads(cell)
    except (ValueError, RecursionError):
        return {EXTRA: cell}
    if not isinstance(loaded, dict):
        return {EXTRA: cell}
    found = {str(name): _scalar(value) for name, value in loaded.items()}
    return {name: value for name, value in found.items() if value is not None}


def _scalar(value: object) -> Scalar | None:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return value if abs(value) < 2**63 else float(value)
    if isinstance(value, (str, float)):
        return value
    if isinstance(value, list) and all(isinstance(part, (str, int, float)) for part in value):
        return "; ".join(str(part) for part in value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
