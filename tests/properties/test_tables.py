"""Any table that the csv module writes is read back cell by cell; any other bytes are read or refused."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from tempfile import NamedTemporaryFile

from hypothesis import given, settings
from hypothesis import strategies as st

from embedstore.contracts.record import Header
from embedstore.errors import BadInputFile
from embedstore.readers.table_columns import attribute, is_missing
from embedstore.readers.tables import merge, read_table
from embedstore.settings import Limits

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
cells = texts.map(str.strip)
names = st.lists(
    st.text("abcdefghij", min_size=1, max_size=6).map(lambda name: f"x{name}"),
    min_size=1, max_size=5, unique=True,
)  # fmt: skip


def read_bytes(data: bytes, limits=None):
    with NamedTemporaryFile(suffix=".csv") as file:
        file.write(data)
        file.flush()
        return read_table(Path(file.name), {}, limits or Limits())


@given(names=names, data=st.data())
def test_what_csv_writes_is_read_back(names, data):
    rows = data.draw(st.lists(st.lists(cells, min_size=len(names), max_size=len(names)), max_size=6))
    paths = [f"p{number}" for number in range(len(rows))]
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([*names, "path"])
    writer.writerows([*row, path] for row, path in zip(rows, paths, strict=True))
    found = read_bytes(out.getvalue().encode()).rows
    assert [row.path for row in found] == paths
    for row, read in zip(rows, found, strict=True):
        expected = {n: attribute(c) for n, c in zip(names, row, strict=True) if not is_missing(c)}
        assert dict(read.header.extra) == expected


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_refused(data):
    try:
        found = read_bytes(data)
    except BadInputFile:
        return
    for row in found.rows:
        merge(Header(rows=1, columns=1), row)


@settings(max_examples=60)
@given(st.text(max_size=30))
def test_attributes_keep_their_text(cell):
    value = attribute(cell)
    if isinstance(value, int):
        assert str(value) == cell or cell == "-0"
    elif isinstance(value, float):
        assert value == float(cell)
    else:
        assert value == cell
