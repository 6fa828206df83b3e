"""Tables that hold the terminal, JSON that stays JSON, bars that keep out of the way."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from embedstore.cli import output, progress

CELLS = st.one_of(st.none(), st.booleans(), st.integers(-(10**6), 10**6), st.floats(), st.text(max_size=60))


@st.composite
def grids(draw: st.DrawFn) -> tuple[list[str], list[tuple[object, ...]]]:
    n = draw(st.integers(1, 7))
    columns = draw(st.lists(st.text("abcdefgh ", min_size=1, max_size=14), min_size=n, max_size=n))
    return columns, draw(st.lists(st.tuples(*[CELLS] * n), max_size=5))


def _printed(block: object) -> str:
    kept, sys.stdout = sys.stdout, io.StringIO()
    try:
        output.print_text([block])  # type: ignore[list-item]
        return sys.stdout.getvalue()
    finally:
        sys.stdout = kept


@given(grids())
def test_no_table_is_wider_than_100_columns(grid: tuple[list[str], list[tuple[object, ...]]]) -> None:
    columns, rows = grid
    shown = _printed(output.table(columns, rows, widest=columns[0]))
    assert all(cell_len(line) <= 100 for line in shown.splitlines())
    for block in output.tables(columns, rows):
        assert all(cell_len(line) <= 100 for line in _printed(block).splitlines())


@given(st.text())
def test_no_text_steers_the_terminal(text: str) -> None:
    shown = _printed(text) + _printed(output.table(("a",), [(text,)]))
    assert all(sign == "\n" or sign == "\t" or sign >= " " for sign in shown)
    assert not any("\x7f" <= sign <= "\x9f" for sign in shown)


def test_a_path_is_cut_at_its_start_and_a_text_at_its_end() -> None:
    long = "/archive/" + "x" * 200 + "/film.dcm"
    shown = _printed(output.table(("path", "report"), [(long, "word " * 60)], widest="path"))
    row = shown.splitlines()[3]
    assert row.startswith("…")
    assert "/film.dcm" in row
    assert row.endswith("…")


def test_patients_are_cut_in_the_middle_and_stay_apart() -> None:
    patients = [f"HOSPITAL-OF-A-LONG-NAME/PID-{number:06d}-A" for number in (17, 18, 27)]
    rows = [(patient, "CR", "x" * 40, "y" * 40, f"/films/{patient}.dcm") for patient in patients]
    shown = _printed(output.table(("patient", "modality", "label", "says", "path"), rows, widest="path"))
    cells = [line.split()[0] for line in shown.splitlines() if line.startswith("HOSP")]
    assert len(set(cells)) == 3
    assert all("…" in cell and cell.endswith("-A") for cell in cells)
    assert all(cell_len(line) <= 100 for line in shown.splitlines())
    alike = [("P" * 60 + middle + "Q" * 60, "z" * 90) for middle in "ab"]
    shown = _printed(output.table(("patient", "path"), alike, widest="path"))
    assert all(cell_len(line) <= 100 for line in shown.splitlines())


def test_wide_signs_count_twice() -> None:
    shown = _printed(output.table(("path",), [("画像" * 80,)], widest="path"))
    assert max(cell_len(line) for line in shown.splitlines()) <= 100


def test_json_of_whatever_comes() -> None:
    found = output.plain(
        {
            "nan": float("nan"),
            "infinite": np.float32("inf"),
            "number": np.float32(0.5),
            "array": np.arange(2),
            "path": Path("/a"),
            1: (True, None),
        }
    )
    assert json.loads(json.dumps(found, allow_nan=False)) == {
        "nan": None,
        "infinite": None,
        "number": 0.5,
        "array": [0, 1],
        "path": "/a",
        "1": [True, None],
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"value": 0.9, "low": 0.8, "high": 0.95}, "0.900 [0.800, 0.950]"),
        ({"value": 0.9, "low": None, "high": None}, "0.900"),
        ({"value": None}, "not defined"),
        ({"value": float("nan")}, "not defined"),
        (0.25, "0.250"),
        (None, ""),
        (3, "3"),
    ],
)
def test_an_estimate_carries_its_interval(value: object, text: str) -> None:
    assert output.estimate(value) == text


@pytest.mark.parametrize(
    ("octets", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2 * 10**9, "2.0 GB")]
)
def test_sizes(octets: int, text: str) -> None:
    assert output.size(octets) == text


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("terminal", "after", "drawn"), [(True, 5.0, True), (True, 1.0, False), (False, 5.0, False)]
)
def test_a_bar_shows_on_a_terminal_after_two_seconds(
    terminal: bool, after: float, drawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = _Terminal() if terminal else io.StringIO()
    now = [100.0]
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.Bar() as bar:
        now[0] += after
        bar("reading [bold]x", 1, 3)
        bar("encoding", 2, None)
    assert ("encoding" in stream.getvalue()) is drawn


def test_a_remark_behind_the_stage_is_not_another_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := _Terminal())
    monkeypatch.setattr(progress, "PATIENCE_S", 0.0)
    with progress.Bar() as bar:
        bar("reading", 1, None)
        for done, remark in ((1, "bound by decoding"), (2, "bound by the forward pass")):
            bar(f"embedding: {remark}", done, 4)
        (task,) = bar._progress.tasks
        assert (task.description, task.completed) == ("embedding: bound by the forward pass", 2)
    assert "2/4" in stream.getvalue()
