"""Weakly labelled datasets as files: CSV for people, Parquet for programs."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedstore.contracts.labels import LabelSet
from embedstore.contracts.query import Item
from embedstore.errors import UsageError

# A spreadsheet runs a cell that begins so as a formula (CWE-1236); an apostrophe makes it text again.
_FORMULA = tuple("=+-@|%\t\r\n＝＋－＠")
_BLANK = " \u00a0\u200b\ufeff"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRow:
    """One labelled image. votes: voter to the class it named. majority: None when undecided."""

    item: Item
    label: str
    probabilities: Mapping[str, float]
    majority: str | None
    votes: Mapping[str, str]


def write_labels(
    out: Path, label_set: LabelSet, rows: Sequence[LabelRow], provenance: Mapping[str, Any]
) -> int:
    """Write rows to `out`, which appears whole or not at all; returns their number.

    CSV cells that a spreadsheet would run are defused; Parquet carries values as they are and `provenance` in
    its schema metadata. Raises UsageError for a suffix other than .csv and .parquet.
    """
    writers = {".csv": _write_csv, ".parquet": _write_parquet}
    write = writers.get(out.suffix.lower())
    if write is None:
        raise UsageError(f"{out}: labels are exported to .csv or .parquet; choose one of these suffixes")
    if not out.parent.is_dir():
        raise UsageError(f"{out}: its folder does not exist; create it first")
    draft = out.with_name(out.name + ".part")
    try:
        write(draft, label_set, rows, provenance)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    return len(rows)


def record_of(label_set: LabelSet, row: LabelRow) -> dict[str, Any]:
    """A row as a table has it."""
    item = row.item
    record: dict[str, Any] = {
        "id": item.id,
        "path": item.path,
        "part": item.part,
        "sha256": item.sha256,
        "patient": item.patient,
        "study": item.columns.get("study_uid"),
        "site": item.columns.get("site"),
        "label_set": label_set.name,
        "label": row.label,
        "majority": row.majority,
    }
    record.update({f"p_{name}": row.probabilities[name] for name in label_set.classes})
    record["votes"] = json.dumps(dict(row.votes), sort_keys=True, ensure_ascii=False)
    return record


def _write_csv(
    out: Path, label_set: LabelSet, rows: Sequence[LabelRow], provenance: Mapping[str, Any]
) -> None:
    names = list(record_of(label_set, rows[0])) if rows else []
    with out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(names)
        for row in rows:
            writer.writerow([csv_safe(value) for value in record_of(label_set, row).values()])


def plain_cell(cell: str) -> str:
    """The value that `csv_safe` made a cell of."""
    return cell[1:] if cell.startswith("'") and cell[1:].lstrip(_BLANK).startswith(_FORMULA) else cell


def one_cell(text: str) -> str:
    """A value as a cell of a Markdown table: one line, its bars and angles harmless."""
    flat = " ".join(text.split())
    return flat.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def csv_safe(value: object) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe stands before one that begins like it.

    None is the empty cell. Numbers, also written ones, stay as they are (OWASP, "CSV Injection").
    """
    if value is None:
        return ""
    text = _SURROGATES.sub("\ufffd", str(value).replace("\x00", ""))
    if text.lstrip(_BLANK).startswith(_FORMULA) and not _NUMBER.fullmatch(text):
        return "'" + text
    return text


def _write_parquet(
    out: Path, label_set: LabelSet, rows: Sequence[LabelRow], provenance: Mapping[str, Any]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([record_of(label_set, row) for row in rows])
    described = {**(table.schema.metadata or {}), b"embedstore": json.dumps(provenance).encode()}
    pq.write_table(table.replace_schema_metadata(described), out)
