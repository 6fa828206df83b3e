"""Labels from a file of the user's, joined to stored images: a wrong label is worse than none."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from embedstore.contracts.query import Item
from embedstore.errors import BadInputFile


def labels_from_file(path: Path, items: Sequence[Item]) -> list[str | None]:
    """One label per item, None where the file says nothing.

    The file is a CSV with a column `label` and a column `id` or `path`; a path may be a bare file name where
    only one of the items bears it. Raises BadInputFile for an unreadable file, for two rows that contradict
    each other, and for a bare name that several items bear.
    """
    rows = _rows(path)
    names = set(rows[0]) if rows else set()
    key = "id" if "id" in names else "path" if "path" in names else None
    if key is None or "label" not in names:
        raise BadInputFile(f"{path}: needs a column 'label' and a column 'id' or 'path'")
    said = _said(path, rows, key)
    if key == "id":
        return [_label(said, str(item.id)) for item in items]
    shared = Counter(Path(item.path).name for item in items)
    return [_by_path(path, said, item, shared) for item in items]


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return list(csv.DictReader(stream))
    except OSError as error:
        raise BadInputFile(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInputFile(f"{path}: not a UTF-8 CSV ({type(error).__name__})") from None


def _said(path: Path, rows: Sequence[Mapping[str, str]], key: str) -> dict[str, tuple[int, str]]:
    """What is named, with its row (from 1, the header not counted) and label."""
    said: dict[str, tuple[int, str]] = {}
    for number, row in enumerate(rows, 1):
        before = said.setdefault(row[key], (number, row["label"]))
        if before[1] != row["label"]:
            raise BadInputFile(f"{path}: rows {before[0]} and {number} give one image two labels; keep one")
    return said


def _label(said: Mapping[str, tuple[int, str]], name: str) -> str | None:
    return said[name][1] if name in said else None


def _by_path(
    path: Path, said: Mapping[str, tuple[int, str]], item: Item, shared: Mapping[str, int]
) -> str | None:
    for own in (item.path, *item.paths):
        if own in said:
            return said[own][1]
    name = Path(item.path).name
    if name in said and shared[name] > 1:
        raise BadInputFile(
            f"{path}: row {said[name][0]} names {shared[name]} stored images; give their whole paths, or ids"
        )
    return _label(said, name)
