"""Tables of regions (CSV): each row names an image, and a box on it or a mask file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedstore.contracts.record import Asset, Scalar
from embedstore.contracts.region import Box, MaskFile, Region
from embedstore.errors import BadInputFile
from embedstore.readers.table_columns import PATH, assign, bare
from embedstore.readers.table_rows import TableRow, columns_of, read_rows
from embedstore.readers.tables import Table
from embedstore.settings import Limits

#: The ways in which published tables spell a box: two corners, or a corner and the sides.
_CORNERS = (
    ("x0", "y0", "x1", "y1"),
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("left", "top", "right", "bottom"),
)
_SIDES = (("x", "y", "width", "height"), ("x", "y", "w", "h"))
_BOX, _MASK, _SEGMENT = "box", "mask", "segment"
#: What columns mean in published tables of regions, and only there; those with a usual name come first.
_MEANINGS = {
    "imageid": PATH, "imagename": PATH, "imgname": PATH,
    "classname": "label", "category": "label", "categoryname": "label", "findinglabel": "label",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RegionRow:
    """One region. frame: of a multi-frame image, None for every one. label: what the table calls it.

    extra: its further columns.
    """

    line: int
    region: Region
    label: str | None
    frame: int | None
    extra: dict[str, Scalar]


class RegionTable:
    """The regions of a table by their images, which are found as in a table of metadata."""

    def __init__(self, path: Path, rows: tuple[TableRow, ...], spelling: Sequence[str]) -> None:
        """spelling: the columns of a box, () when the table has none."""
        self._regions: dict[tuple[str | None, str | None], list[RegionRow]] = {}
        firsts: dict[tuple[str | None, str | None], TableRow] = {}
        for row in rows:
            key, region = (row.path, row.sop_uid), _region(path, row, spelling)
            if region is None:  # such tables list images without findings as well
                continue
            if key == (None, None):  # nor may it go by its patient: he has other images
                raise BadInputFile(f"{path}: line {row.line}: nothing says which image the region is on")
            firsts.setdefault(key, row)
            header = row.header
            extra = {name: value for name, value in header.extra.items() if _is_further(name, spelling)}
            found = RegionRow(row.line, region, header.label, header.frame, extra)
            self._regions.setdefault(key, []).append(found)
        self._images = Table(path, tuple(firsts.values()))
        self._met: set[int] = set()
        self.renaming: set[int] = set()  # lines that call a region otherwise than one before

    def on(self, asset: Asset) -> Iterator[RegionRow]:
        """The regions of one image; the same region listed twice comes once."""
        row = self._images.match(asset.source.path, asset.header)
        if row is None:
            return
        seen: dict[Region, RegionRow] = {}
        for found in self._regions.get((row.path, row.sop_uid), ()):
            if found.frame in (None, asset.header.frame or 1):
                self._met.add(found.line)
                first = seen.setdefault(found.region, found)
                if first is found:
                    yield found
                elif first.label != found.label:
                    self.renaming.add(found.line)

    def unmet(self) -> int:
        """How many regions are on images that have not been met."""
        return sum(one.line not in self._met for each in self._regions.values() for one in each)


def read_region_table(path: Path, mapping: Mapping[str, str], limits: Limits) -> RegionTable:
    """Read a CSV file (see `table_rows.read_rows`). mapping: column to field, also of columns it lacks.

    Raises BadInputFile: no columns of boxes or masks, none that names images, a mask that is not there.
    """
    columns = columns_of(path, limits)
    mapping = {column: meaning for column, meaning in mapping.items() if column in columns}
    rows = read_rows(path, {**_guessed(path, columns, mapping), **mapping}, limits)
    names = {column.lower() for column in columns}
    spelling = next((each for each in (*_CORNERS, *_SIDES) if {*each} <= names), ())
    if not (spelling or names & {_BOX, _MASK}):
        raise BadInputFile(
            f"{path}: no column has a region; name boxes in columns x0, y0, x1, y1 (or x, y, width, height), "
            "or files in a column mask"
        )
    if not any(row.path or row.sop_uid for row in rows):
        raise BadInputFile(
            f"{path}: no column says which image; its columns: {', '.join(columns)}; "
            "name one with --map COLUMN=path (or sop_uid)"
        )
    return RegionTable(path, rows, spelling)


def _guessed(path: Path, columns: Iterable[str], mapping: Mapping[str, str]) -> dict[str, str]:
    taken = {*assign(path, columns, mapping).values()}
    found: dict[str, str] = {}
    for column in columns:
        meaning = _MEANINGS.get(bare(column))
        if meaning is not None and meaning not in taken and column not in mapping:
            found[column] = meaning
            taken.add(meaning)
    return found


def _is_further(column: str, spelling: Sequence[str]) -> bool:
    """Whether it says more than where the region is; region_x0 and the like are measured."""
    name = column.lower()
    return name not in (*spelling, _BOX, _MASK, _SEGMENT) and not name.startswith("region_")


def _region(table: Path, row: TableRow, spelling: Sequence[str]) -> Region | None:
    cells = {name.lower(): value for name, value in row.header.extra.items() if value != ""}
    if _MASK in cells:
        mask = (table.parent / str(cells[_MASK])).absolute()
        if not mask.is_file():
            raise BadInputFile(f"{table}: line {row.line}: its mask is no file: {mask}")
        return MaskFile(str(mask), _word(cells[_SEGMENT]) if _SEGMENT in cells else None)
    if _BOX in cells:
        corners = [_number(word) for word in str(cells[_BOX]).strip("[]()").replace(",", " ").split()]
        return _box(table, row, corners)
    # A width alone may be the image's; any other number of a box wants its fellows.
    if cells.keys().isdisjoint(spelling[:2] if spelling in _SIDES else spelling):
        return None
    numbers = [_number(cells.get(name, "")) for name in spelling]
    return _box(table, row, _from_sides(*numbers) if spelling in _SIDES else numbers)


def _from_sides(
    x: float | None, y: float | None, width: float | None, height: float | None
) -> list[float | None]:
    far = (None if a is None or b is None else a + b for a, b in ((x, width), (y, height)))
    return [x, y, *far]


def _word(cell: Scalar) -> str:
    """A segment as it is called: pandas writes the 2 of a column with gaps as 2.0."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _number(cell: Scalar) -> float | None:
    try:
        number = float(cell)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _box(table: Path, row: TableRow, corners: list[float | None]) -> Box:
    known = [one for one in corners if one is not None]
    if len(known) != 4 or len(corners) != 4:
        raise BadInputFile(f"{table}: line {row.line}: a box has four numbers, its left upper corner first")
    if min(known) >= 0 and max(known) <= 1 and any(one % 1 for one in known):
        raise BadInputFile(f"{table}: line {row.line}: boxes are in pixels, not in fractions of the image")
    left, top, right, bottom = map(round, known)
    if left >= right or top >= bottom:
        raise BadInputFile(f"{table}: line {row.line}: the box {left},{top},{right},{bottom} is empty")
    return Box(left, top, right, bottom)
