"""Tables of reports, labels and metadata (CSV), joined to images by path, SOP, study or patient."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from embedstore.contracts.record import HEADER_COLUMNS, Header, Report
from embedstore.fingerprint import bytes_sha256
from embedstore.readers.normal import composed
from embedstore.readers.sources import DEFAULT_LIMITS, MEMBER_MARK, FileSource
from embedstore.readers.table_columns import accepted
from embedstore.readers.table_rows import TableRow, read_rows
from embedstore.settings import Limits

Via = Literal["path", "sop", "study", "patient"]

# What a report takes over from an image it was joined to, by how finely it was joined.
_OF_PATIENT = ("patient_id", "patient_issuer", "patient_group", "sex", "site", "institution")
_OF_STUDY = (*_OF_PATIENT, "study_uid", "study_date", "age", "split")
_OF_IMAGE = (*_OF_STUDY, "series_uid", "modality", "body_part")
_TAKEN: dict[Via, tuple[str, ...]] = {
    "path": _OF_IMAGE, "sop": _OF_IMAGE, "study": _OF_STUDY, "patient": _OF_PATIENT
}  # fmt: skip
# A row about a whole file says these of all its parts; what a part says of itself is finer, no conflict.
_OF_THE_FILE = frozenset({"label", "split"})


@dataclass(frozen=True, slots=True)
class Conflict:
    """The file and the table disagree on a column. kept: the file's value; other: the table's."""

    field: str
    kept: Any
    other: Any


@dataclass(frozen=True, slots=True)
class UnreadCells:
    """Cells of a column that made no sense there. line: of the first. accepted: what does, in words."""

    column: str
    field: str
    rows: int
    line: int
    accepted: str


@dataclass(slots=True)
class _Match:
    """Where a row was joined first.

    path: source joined by path or SOP UID. header: of what was joined. own: that source is the report itself.
    """

    via: Via
    header: Header
    path: str | None = None
    own: bool = False


class Table:
    """The rows of one file and what they were joined to so far."""

    def __init__(self, path: Path, rows: tuple[TableRow, ...]) -> None:
        self.path = path
        self.rows = rows
        self._matches: dict[int, _Match] = {}
        self._paths: dict[str, int] = {}
        self._composed: dict[str, int] = {}
        self._names: dict[str, list[int]] = {}
        self._uids: dict[tuple[Via, str], int] = {}
        self.duplicates: tuple[int, ...] = tuple(self._index())

    def match(self, source_path: str, header: Header) -> TableRow | None:
        """The row about a source or one of its parts, or None.

        By path (absolute, relative to the table's folder, or a unique end of the source's path with or
        without its suffix, in either way that Unicode has of writing an accent), else SOP UID, else study
        UID, else patient: a row joins by the finest key it has, so a row about one image never lends its
        label to another image of the patient. header: what the file itself says; without `rows` it is a
        report, whose text stands for the row's.
        """
        for index, via in self._candidates(source_path, header):
            seen = self._matches.setdefault(index, _Match(via, header))
            if via in ("path", "sop"):
                if seen.path not in (None, source_path) and via == "path" and not self._is_exact(source_path):
                    continue  # two files end alike: the second is not joined rather than joined wrongly
                seen.path = seen.path or source_path
                seen.own = seen.own or header.rows is None
            return self.rows[index]
        return None

    def unmatched(self) -> tuple[TableRow, ...]:
        """Rows that were joined to nothing so far."""
        return tuple(row for index, row in enumerate(self.rows) if index not in self._matches)

    def unread(self) -> Iterator[UnreadCells]:
        """Cells that made no sense in their columns, by column."""
        lines: dict[tuple[str, str], list[int]] = {}
        for row in self.rows:
            for column in row.unread:
                lines.setdefault(column, []).append(row.line)
        for (name, meaning), found in lines.items():
            yield UnreadCells(name, meaning, len(found), found[0], accepted(meaning))

    def reports(self) -> Iterator[Report]:
        """The report of every row that has one, as an item of its own; ask after all sources were matched.

        A row joined to one image gives a report about that image, with its patient and study. A row whose
        file is itself a report gives none. part is stable when rows are reordered or added. Raises
        ReadFailure when the table's file is gone.
        """
        source = FileSource.of(self.path)
        parts: set[str] = set()
        for index, row in enumerate(self.rows):
            match = self._matches.get(index)
            if row.report is None or (match is not None and match.own):
                continue
            part = f"report/{_key(row)}"
            if part in parts:
                part = f"{part}/{bytes_sha256(row.report.encode())[:16]}"
            if part in parts:
                continue  # the same text about the same thing twice
            parts.add(part)
            header = _completed(row.header, match) if match is not None else row.header
            about = match.path if match is not None else None
            yield Report(source=source, part=part, text=row.report, header=header, about_path=about)

    def _index(self) -> Iterator[int]:
        """Fill the lookup tables; yields the lines of rows whose key an earlier row has."""
        for index, row in enumerate(self.rows):
            keys = 0
            if row.path is not None:
                keys += _put(self._paths, self._absolute(row.path), index)
                _put(self._composed, composed(self._absolute(row.path)), index)
                if keys:
                    self._names.setdefault(PurePosixPath(_spelt(row.path)).name, []).append(index)
            if row.sop_uid is not None:
                keys += _put(self._uids, ("sop", row.sop_uid), index)
            elif row.path is None and row.study_uid is not None:
                keys += _put(self._uids, ("study", row.study_uid), index)
            elif row.path is None and row.patient_id is not None:
                keys += _put(self._uids, ("patient", row.patient_id), index)
            has_key = row.path is not None or any((row.sop_uid, row.study_uid, row.patient_id))
            if has_key and keys == 0:
                yield row.line

    def _absolute(self, path: str) -> str:
        base = os.path.abspath(self.path.parent)  # noqa: PTH100 - links keep their names, as in walk
        return os.path.normpath(os.path.join(base, _slashes(path)))  # noqa: PTH118 - text, not a place

    def _is_exact(self, source_path: str) -> bool:
        return self._exact(source_path) is not None

    def _exact(self, source_path: str) -> int | None:
        index = self._paths.get(source_path)
        if index is not None:
            return index
        index = self._composed.get(composed(source_path))
        return None if index is None or self._names_another(index, source_path) else index

    def _candidates(self, source_path: str, header: Header) -> Iterator[tuple[int, Via]]:
        exact = self._exact(source_path)
        if exact is not None:
            yield exact, "path"
        elif (by_end := self._by_end(source_path)) is not None:
            yield by_end, "path"
        keys: tuple[tuple[Via, str | None], ...] = (
            ("sop", header.sop_uid), ("study", header.study_uid), ("patient", header.patient_id),
        )  # fmt: skip
        for via, value in keys:
            index = self._uids.get((via, value)) if value is not None else None
            if index is not None:
                yield index, via

    def _by_end(self, source_path: str) -> int | None:
        """The row whose path is the longest end of the source's path, when no other row's is as long."""
        parts = PurePosixPath(composed(source_path).replace(MEMBER_MARK, "/")).parts
        found = self._ending(source_path, parts)
        if found is None and parts:  # published tables name images without their suffix
            found = self._ending(source_path, (*parts[:-1], PurePosixPath(parts[-1]).stem))
        return found

    def _ending(self, source_path: str, parts: tuple[str, ...]) -> int | None:
        best: list[int] = []
        longest = 0
        for index in self._names.get(parts[-1] if parts else "", []):
            wanted = PurePosixPath(_spelt(self.rows[index].path or "")).parts
            wanted = tuple(part for part in wanted if part != ".")
            if parts[-len(wanted) :] != wanted or self._names_another(index, source_path):
                continue
            if len(wanted) > longest:
                best, longest = [index], len(wanted)
            elif len(wanted) == longest:
                best.append(index)
        return best[0] if len(best) == 1 else None

    def _names_another(self, index: int, source_path: str) -> bool:
        """Whether the row's path, taken from the table's folder, is a file: then it is of no other one."""
        named, source = Path(self._absolute(self.rows[index].path or "")), Path(source_path)
        if str(named) == source_path or not named.exists():
            return False
        return not (source.exists() and named.samefile(source))  # one file may go by both spellings


def read_table(
    path: Path,
    mapping: Mapping[str, str],
    limits: Limits = DEFAULT_LIMITS,
    brings: Literal["", "metadata", "reports"] = "",
) -> Table:
    """Read a CSV file (see `table_rows.read_rows`). Raises BadInputFile or UsageError."""
    return Table(path, read_rows(path, mapping, limits, brings))


def merge(header: Header, row: TableRow) -> tuple[Header, tuple[Conflict, ...]]:
    """What the file says, completed by the row: the file wins, and where the two differ is told.

    A row about a file of several parts (`header.frame` is set) does not contradict the label or split
    that a part says of itself. Attributes are united without conflicts.
    """
    filled: dict[str, Any] = {}
    conflicts: list[Conflict] = []
    for name in HEADER_COLUMNS:
        kept, other = getattr(header, name), getattr(row.header, name)
        if other is None:
            continue
        if kept is None:
            filled[name] = other
        elif _differ(name, kept, other) and not (header.frame is not None and name in _OF_THE_FILE):
            conflicts.append(Conflict(name, kept, other))
    extra = {**row.header.extra, **header.extra}
    return replace(header, **filled, extra=extra), tuple(conflicts)


def _differ(name: str, kept: Any, other: Any) -> bool:
    if name == "age":
        return bool(abs(kept - other) >= 1)  # whole years against years and months
    if isinstance(kept, str) and isinstance(other, str):
        return kept.strip() != other.strip()
    different: bool = kept != other
    return different


def _completed(row: Header, match: _Match) -> Header:
    """The row's header with the identity of what it was joined to, which wins."""
    names = [name for name in _TAKEN[match.via] if getattr(match.header, name) is not None]
    return replace(row, **{name: getattr(match.header, name) for name in names})


def _key(row: TableRow) -> str:
    header = row.header
    keys = (row.path and _slashes(row.path), header.sop_uid, header.study_uid, header.patient_id)
    return next((key for key in keys if key), None) or bytes_sha256((row.report or "").encode())[:16]


def _put(where: dict[Any, int], key: Any, index: int) -> int:
    """1 when the key is new, 0 when an earlier row has it."""
    return int(where.setdefault(key, index) == index)


def _slashes(path: str) -> str:
    return path.replace("\\", "/")


def _spelt(path: str) -> str:
    return composed(_slashes(path))
