"""DICOM PS3.15 Table E.1-1 as data: what the Basic Profile and its options do with each attribute.

`confidentiality.csv` is the table, a row per attribute. Rows of edition 2026c were added to the standard
after 2024e; of those only the Basic Profile's action is carried, so no option loosens them.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

OPTIONS = (
    "uids",
    "device",
    "institution",
    "patient",
    "full_dates",
    "modified_dates",
    "descriptors",
    "structured",
    "graphics",
    "safe_private",
)
PRIVATE = "private"
_REPEATING = {0x5000: "50xxxxxx", 0x6000: "60xx"}


@dataclass(frozen=True, slots=True)
class Row:
    """One attribute. tag: 8 hex digits, `50xxxxxx`, `60xx3000`, `60xx4000` or `private`.

    basic: X remove, Z empty, D dummy, U keyed UID, or a conditional such as X/Z/D (Table E.1-1a).
    options: column of the table to its action, K keep or C clean; absent where the table is silent.
    """

    tag: str
    name: str
    edition: str
    basic: str
    options: Mapping[str, str]


@cache
def rows() -> Mapping[str, Row]:
    """Every row of the table by its tag."""
    text = files("embedstore.privacy").joinpath("confidentiality.csv").read_text(encoding="utf-8")
    found = {}
    for line in csv.DictReader(text.splitlines()):
        options = {name: line[name] for name in OPTIONS if line[name]}
        found[line["tag"]] = Row(
            line["tag"], line["name"], line["edition"], line["basic"], MappingProxyType(options)
        )
    return MappingProxyType(found)


def row_of(group: int, element: int) -> Row | None:
    """The row that speaks about a tag, repeating groups and private ones included, or None."""
    table = rows()
    if group % 2:
        return table[PRIVATE]
    if group & 0xFF00 == 0x5000:
        return table[_REPEATING[0x5000]]
    if group & 0xFF00 == 0x6000:
        return table.get(f"{_REPEATING[0x6000]}{element:04x}")
    return table.get(f"{group:04x}{element:04x}")
