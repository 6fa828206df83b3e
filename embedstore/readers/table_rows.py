"""Reading CSV tables: lines to rows, with errors that name the file and the line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedstore.contracts.record import HEADER_COLUMNS, READER_ATTRIBUTES, Header
from embedstore.errors import BadInputFile
from embedstore.readers.sources import reason_of
from embedstore.readers.table_columns import (
    EXTRA,
    IGNORE,
    PATH,
    REPORT,
    assign,
    attribute,
    attributes,
    field_value,
    is_missing,
)
from embedstore.settings import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One row. line: where it begins in the file, from 1. header: the columns it fills, the others None."""

    line: int
    header: Header
    path: str | None = None
    report: str | None = None

    @property
    def sop_uid(self) -> str | None:
        """SOP Instance UID the row is about."""
        return self.header.sop_uid

    @property
    def study_uid(self) -> str | None:
        """Study the row is about, or belongs to."""
        return self.header.study_uid

    @property
    def patient_id(self) -> str | None:
        """Patient the row is about, or belongs to."""
        return self.header.patient_id

    @property
    def patient_group(self) -> str | None:
        """Group of patient identifiers that are one person."""
        return self.header.patient_group


def read_rows(path: Path, mapping: Mapping[str, str], limits: Limits) -> tuple[TableRow, ...]:
    """Rows of a CSV file (comma, semicolon or tab; UTF-8; first line names the columns).

    mapping: column name to field (`table_columns.FIELDS`), for columns that are not recognised or mean
    something else. Columns that are no field become attributes; a JSON object in `extra` likewise. Raises
    BadInputFile naming file and line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            return tuple(_rows(path, _checked(path, lines), mapping, limits))
    except OSError as error:
        raise BadInputFile(f"{path}: {reason_of(error)}") from None


def _checked(path: Path, lines: Iterator[str]) -> Iterator[str]:
    """The lines of the file, with a clear error at the first that is no UTF-8 text."""
    number = 0
    try:
        for number, line in enumerate(lines, start=1):
            if "\0" in line:
                raise BadInputFile(f"{path}: line {number} has binary content; this is no CSV table")
            yield line
    except UnicodeDecodeError:
        line_number = _bad_line(path)
        raise BadInputFile(
            f"{path}: line {line_number} is not UTF-8 text; save the table as UTF-8 and try again"
        ) from None


def _bad_line(path: Path) -> int:
    """Text is decoded in blocks, ahead of the lines: look for the line itself."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


def _rows(path: Path, lines: Iterator[str], mapping: Mapping[str, str], limits: Limits) -> Iterator[TableRow]:
    first = next(lines, None)
    if first is None or not first.strip():
        raise BadInputFile(f"{path}: the table is empty; its first line must name the columns")
    delimiter = next((mark for mark in ("\t", ";") if mark in first and "," not in first), ",")
    before = csv.field_size_limit(limits.max_text_chars)
    try:
        reader = csv.reader(_chain(first, lines), delimiter=delimiter, strict=True)
        names = [name.strip() for name in next(reader)]
        _check_names(path, names)
        fields = assign(path, names, mapping)
        line = reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield _row(path, line, names, fields, cells)
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadInputFile(f"{path}: line {reader.line_num}: {error}") from None
    finally:
        csv.field_size_limit(before)


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _check_names(path: Path, names: list[str]) -> None:
    twice = {name for name in names if name and names.count(name) > 1}
    if twice:
        raise BadInputFile(f"{path}: two columns are called '{min(twice)}'; rename one of them")


def _row(
    path: Path, line: int, names: list[str], fields: Mapping[str, str | None], cells: list[str]
) -> TableRow:
    if len(cells) > len(names) and any(cell.strip() for cell in cells[len(names) :]):
        raise BadInputFile(
            f"{path}: line {line} has {len(cells)} cells but there are {len(names)} columns; "
            "quote cells that contain the delimiter"
        )
    built = _Building()
    for name, cell in zip(names, cells, strict=False):
        cell = cell.strip()
        meaning = fields[name]
        if meaning != IGNORE and not is_missing(cell):
            built.take(name, meaning, cell)
    return built.row(line)


@dataclass(slots=True)
class _Building:
    """A row while its cells are read."""

    path: str | None = None
    sections: list[tuple[str, str]] = field(default_factory=list)
    columns: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    objects: list[dict[str, Any]] = field(default_factory=list)

    def take(self, name: str, meaning: str | None, cell: str) -> None:
        if meaning is None:
            self.extra[name] = attribute(cell)
        elif meaning == PATH:
            self.path = cell
        elif meaning == REPORT:
            self.sections.append((name, cell))
        elif meaning == EXTRA:
            self.objects.append(attributes(cell))
        else:
            self.columns[meaning] = field_value(meaning, cell)
            if self.columns[meaning] is None:
                self.extra[name] = cell  # not lost: what the column cannot hold stays an attribute

    def row(self, line: int) -> TableRow:
        for found in self.objects:
            for name, value in found.items():
                self.extra.setdefault(name, value)
                if name in HEADER_COLUMNS and self.columns.get(name) is None:
                    self.columns[name] = field_value(name, str(value))
        if len(self.sections) == 1:
            report: str | None = self.sections[0][1]
        else:
            report = " ".join(f"{name.upper()}: {text}" for name, text in self.sections) or None
        header = Header(**self.columns, extra={_in_a_table(name): v for name, v in self.extra.items()})
        return TableRow(line=line, header=header, path=self.path, report=report)


def _in_a_table(name: str) -> str:
    """A column must not pass for a word of the readers, which a de-identified store trusts."""
    return f"table_{name}" if name in READER_ATTRIBUTES else name
