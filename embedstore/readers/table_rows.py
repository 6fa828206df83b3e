"""Reading CSV tables: lines to rows, with errors that name the file and the line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from embedstore.contracts.record import HEADER_COLUMNS, READER_ATTRIBUTES, Header
from embedstore.errors import BadInputFile
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
    refuse_useless,
)
from embedstore.readers.table_text import table_text
from embedstore.settings import Limits

if TYPE_CHECKING:
    import _csv


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One row. line: where it begins in the file, from 1. header: the columns it fills, the others None.

    unread: column and field of cells that make no sense there; their text is an attribute.
    """

    line: int
    header: Header
    path: str | None = None
    report: str | None = None
    unread: tuple[tuple[str, str], ...] = ()

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


def read_rows(
    path: Path, mapping: Mapping[str, str], limits: Limits, brings: Literal["", "metadata", "reports"] = ""
) -> tuple[TableRow, ...]:
    """Rows of a CSV file (see `table_text`; its first line names the columns).

    mapping: column name to field (`table_columns.FIELDS`), for columns that are not recognised or mean
    something else. Columns that are no field become attributes; a JSON object in `extra` likewise. brings:
    what the rows are for, "" for anything. Raises BadInputFile naming file and line, also when there is no
    column for what the table should bring.
    """
    with _reading(path, limits) as (reader, names, above):
        fields = assign(path, names, mapping)
        if brings:
            refuse_useless(path, fields, reports=brings == "reports")
        return tuple(_rows(path, reader, above, names, fields))


def columns_of(path: Path, limits: Limits) -> tuple[str, ...]:
    """Names of a table's columns. Raises BadInputFile."""
    with _reading(path, limits) as (_, names, _):
        return tuple(names)


@contextmanager
def _reading(path: Path, limits: Limits) -> Iterator[tuple[_csv.Reader, list[str], int]]:
    """A reader of the rows, the names of the columns, and how many lines stand above those."""
    before = csv.field_size_limit(limits.max_text_chars)
    try:
        with table_text(path) as text:
            above = text.line - 1
            reader = csv.reader(chain([text.first], text.rest), delimiter=text.delimiter, strict=True)
            try:
                names = [name.strip() for name in next(reader)]
                _check_names(path, names)
                yield reader, names, above
            except csv.Error as error:
                raise BadInputFile(f"{path}: line {above + reader.line_num}: {error}") from None
    finally:
        csv.field_size_limit(before)


def _rows(
    path: Path, reader: _csv.Reader, above: int, names: list[str], fields: Mapping[str, str | None]
) -> Iterator[TableRow]:
    line = above + reader.line_num + 1
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield _row(path, line, names, fields, cells)
        line = above + reader.line_num + 1


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
    unread: list[tuple[str, str]] = field(default_factory=list)

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
            if not self._understood(name, meaning, cell):
                self.extra[name] = cell  # not lost: what the column cannot hold stays an attribute

    def _understood(self, name: str, meaning: str, cell: str) -> bool:
        value = self.columns[meaning] = field_value(meaning, cell)
        if value is None:
            self.unread.append((name, meaning))
        return value is not None

    def row(self, line: int) -> TableRow:
        for found in self.objects:
            for name, value in found.items():
                self.extra.setdefault(name, value)
                cell = str(value)
                if name in HEADER_COLUMNS and self.columns.get(name) is None and not is_missing(cell):
                    self._understood(name, name, cell)
        if len(self.sections) == 1:
            report: str | None = self.sections[0][1]
        else:
            report = " ".join(f"{name.upper()}: {text}" for name, text in self.sections) or None
        header = Header(**self.columns, extra={_in_a_table(name): v for name, v in self.extra.items()})
        return TableRow(line=line, header=header, path=self.path, report=report, unread=tuple(self.unread))


def _in_a_table(name: str) -> str:
    """A column must not pass for a word of the readers, which a de-identified store trusts."""
    return f"table_{name}" if name in READER_ATTRIBUTES else name
