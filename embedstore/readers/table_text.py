"""The text of a table: in which encoding it is, what parts its cells, and what is no text at all."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from embedstore.errors import BadInputFile
from embedstore.readers.sources import reason_of

_DELIMITERS = (",", ";", "\t")  # the earlier counts when two are equally frequent
_QUOTED = re.compile(r'"[^"]*"?')
_SPOKEN = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # Excel's own first line
_WORKBOOK = "is a spreadsheet, not text; save the sheet as CSV ('CSV UTF-8' in Excel) and give that"
_NOT_TEXT = {
    b"PK\x03\x04": _WORKBOOK,
    b"\xd0\xcf\x11\xe0": _WORKBOOK,
    b"PAR1": "is a Parquet file; write it as CSV and give that",
    b"\x1f\x8b": "is packed with gzip; unpack it and give that",
}


@dataclass(frozen=True, slots=True)
class TableText:
    """first: the line that names the columns. rest: those after it. line: number of `first`, from 1."""

    first: str
    rest: Iterator[str]
    delimiter: str
    line: int


@contextmanager
def table_text(path: Path) -> Iterator[TableText]:
    """The lines of a CSV file: UTF-8, or UTF-16 with a byte order mark; comma, semicolon or tab.

    Raises BadInputFile, also while `rest` is read, when it is not there, no such text, or has no first line.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
        for magic, says in _NOT_TEXT.items():
            if head.startswith(magic):
                raise BadInputFile(f"{path}: {says}")
        wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        with path.open(encoding="utf-16" if wide else "utf-8-sig", newline="") as stream:
            yield _begun(path, _checked(path, stream, wide))
    except OSError as error:
        raise BadInputFile(f"{path}: {reason_of(error)}") from None


def _begun(path: Path, lines: Iterator[str]) -> TableText:
    first, line = next(lines, ""), 1
    spoken = _SPOKEN.fullmatch(first.strip("\r\n"))
    if spoken is not None:
        first, line = next(lines, ""), 2
    if not first.strip():
        raise BadInputFile(f"{path}: the table is empty; its first line must name the columns")
    bare = _QUOTED.sub("", first)
    return TableText(first, lines, spoken[1] if spoken else max(_DELIMITERS, key=bare.count), line)


def _checked(path: Path, lines: Iterator[str], wide: bool) -> Iterator[str]:
    """The lines of the file, with a clear error at the first that is no text."""
    try:
        for number, line in enumerate(lines, start=1):
            if "\0" in line:
                raise BadInputFile(f"{path}: line {number} has binary content; this is no CSV table")
            yield line
    except UnicodeError:
        if wide:
            raise BadInputFile(f"{path}: is not the UTF-16 text it begins as; save it as UTF-8") from None
        raise BadInputFile(
            f"{path}: line {_bad_line(path)} is not UTF-8 text; save the table as UTF-8 "
            "('CSV UTF-8' in Excel) and try again"
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
