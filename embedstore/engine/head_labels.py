"""Labels from a file of the user's, joined to stored images: a wrong label is worse than none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from embedstore.contracts.query import Item
from embedstore.errors import BadInputFile
from embedstore.readers.normal import composed
from embedstore.readers.sources import DEFAULT_LIMITS
from embedstore.readers.table_rows import TableRow, read_rows

_ID = "id"


def labels_from_file(path: Path, items: Sequence[Item]) -> list[str | None]:
    """One label per item, None where the file says nothing or says NA.

    The file is a table as `ingest` reads them, with a column `label` and a column `id` or `path`. A path is
    whole, taken from the table's folder, or the end of the path of one item only. Raises BadInputFile for a
    file that cannot be read, for two rows that contradict each other, for a path that several items end in,
    and when no row names an item.
    """
    rows = read_rows(path, {}, DEFAULT_LIMITS)
    if not any(row.header.label is not None for row in rows):
        raise BadInputFile(f"{path}: no row has a label; needs a column 'label' and a column 'id' or 'path'")
    if any(_ID in row.header.extra for row in rows):
        places = {item.id: n for n, item in enumerate(items)}
        found = [_by_id(row, places) for row in rows]
    elif any(row.path is not None for row in rows):
        files = _Files(path, items)
        found = [files.of(row) for row in rows]
    else:
        raise BadInputFile(f"{path}: needs a column 'label' and a column 'id' or 'path'")
    if not any(found):
        example = f"; they are like {items[0].path}" if items else ""
        raise BadInputFile(f"{path}: no row names an image that is looked at{example}")
    return _joined(path, rows, found, len(items))


def _joined(
    path: Path, rows: Sequence[TableRow], found: Sequence[Sequence[int]], n_items: int
) -> list[str | None]:
    said: dict[int, TableRow] = {}
    for row, places in zip(rows, found, strict=True):
        for place in places:
            before = said.setdefault(place, row)
            if before.header.label != row.header.label:
                raise BadInputFile(
                    f"{path}: lines {before.line} and {row.line} give one image two labels; keep one"
                )
    return [said[n].header.label if n in said else None for n in range(n_items)]


def _by_id(row: TableRow, places: Mapping[int, int]) -> Sequence[int]:
    told = row.header.extra.get(_ID)
    return [places[told]] if isinstance(told, int) and told in places else []


class _Files:
    """Items by the files they were met in. A row about a file means all of its slices or frames."""

    def __init__(self, table: Path, items: Sequence[Item]) -> None:
        self._table = table.absolute()
        self._items: dict[str, list[int]] = {}
        self._named: dict[str, set[str]] = {}
        for place, item in enumerate(items):
            for own in dict.fromkeys((item.path, *item.paths)):
                self._items.setdefault(own, []).append(place)
                self._named.setdefault(PurePath(composed(own)).name, set()).add(own)

    def of(self, row: TableRow) -> Sequence[int]:
        """The items of a row: by whole path, else by the end of one, however its accents are written."""
        if row.path is None:
            return []
        told = row.path.replace("\\", "/").removeprefix("./")
        wholes = (row.path, told, str(self._table.parent / told))
        for whole in wholes:
            if whole in self._items:
                return self._items[whole]
        ends = tuple(map(composed, (*wholes, f"/{told}")))
        named = self._named.get(PurePath(composed(told)).name, set())
        alike = {tuple(self._items[own]) for own in named if _is_one(composed(own), ends)}
        if len(alike) > 1:
            raise BadInputFile(
                f"{self._table}: line {row.line} names {len(alike)} stored images; give whole paths, or ids"
            )
        return next(iter(alike), ())


def _is_one(path: str, ends: Sequence[str]) -> bool:
    *wholes, end = ends
    return path in wholes or path.endswith(end)
