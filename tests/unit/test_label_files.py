"""Exported labels: whole or not at all, harmless in a spreadsheet, unchanged for a program."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstore.contracts.labels import LabelSet
from embedstore.contracts.query import Item
from embedstore.engine.label_files import LabelRow, csv_safe, write_labels

EFFUSION = LabelSet(name="effusion", classes=("absent", "present"))
PATH, SITE = "=HYPERLINK(1).png", "\uff1d1+1"


def row() -> LabelRow:
    item = Item(
        id=1,
        kind="image",
        path=PATH,
        paths=(PATH,),
        part="image",
        sha256="ab",
        reader="raster",
        patient="-P1",
        patient_known=True,
        columns={"site": SITE},
    )
    return LabelRow(
        item=item,
        label="present",
        probabilities={"absent": 0.25, "present": 0.75},
        majority=None,
        votes={"rules": "present"},
    )


def test_a_spreadsheet_runs_nothing_and_a_program_reads_what_was_written(tmp_path: Path) -> None:
    assert write_labels(tmp_path / "out.csv", EFFUSION, [row()], {}) == 1
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as stream:
        (found,) = csv.DictReader(stream)
    assert (found["path"], found["site"], found["patient"]) == ("'" + PATH, "'" + SITE, "'-P1")
    assert (found["p_present"], found["majority"], found["study"]) == ("0.75", "", "")
    write_labels(tmp_path / "out.parquet", EFFUSION, [row()], {"model": "x"})
    import pyarrow.parquet as pq

    (kept,) = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert (kept["path"], kept["site"], kept["p_present"]) == (PATH, SITE, 0.75)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "out.parquet"]


@pytest.mark.parametrize(
    "formula",
    ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "\uff1d1", "=HYPERLINK(1)", "|x", "%x"],
)
def test_formulas_are_defused(formula: str) -> None:
    assert csv_safe(formula) == "'" + formula


@pytest.mark.parametrize("harmless", ["-3.2", "+1", "1e-5", "-1E+5", ".5", "a=b", "", "effusion", "'quoted"])
def test_numbers_and_words_stay_as_they_are(harmless: str) -> None:
    assert csv_safe(harmless) == harmless


def test_other_values_become_cells() -> None:
    assert [csv_safe(value) for value in (None, 3, -2.5, True)] == ["", "3", "-2.5", "True"]


@given(st.text())
def test_no_cell_begins_like_a_formula(text: str) -> None:
    cell = csv_safe(text)
    try:
        float(cell)
    except ValueError:
        assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))
