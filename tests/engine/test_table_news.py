"""What an ingest tells of its tables, and what a table that comes later changes."""

from __future__ import annotations

import pytest

from embedstore.engine.store import Store
from embedstore.errors import BadInputFile, UsageError
from embedstore.privacy.key import Key


@pytest.fixture
def films(tmp_path, draw):
    return [draw(tmp_path / f"f{n}.png", n) for n in range(3)]


@pytest.fixture
def table(tmp_path):
    def write(*lines: str, name: str = "table.csv"):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return tmp_path / name

    return write


def patients(store):
    return {item.path.rsplit("/", 1)[1]: item.patient for item in store.items("kind = 'image'")}


def test_a_cell_that_makes_no_sense_is_told_and_its_row_joins(store, films, table, ask):
    rows = table("path,patient_id,age,sex", "f0.png,P0,abc,M", "f1.png,P1,61,?", "f2.png,P2,-1,F")
    (news,) = store.ingest(ask(*films, metadata=(rows,))).tables
    assert (news.path, news.rows, news.unmatched) == (str(rows), 3, 0)
    assert {(one.column, one.rows, one.line) for one in news.unread} == {("age", 2, 2), ("sex", 1, 3)}
    assert patients(store) == {"f0.png": "P0", "f1.png": "P1", "f2.png": "P2"}
    assert len(store.items("attr.age = 'abc' and age is null and sex = 'M'")) == 1


def test_rows_that_joined_nothing_are_named(store, films, table, ask):
    rows = table("path,label", "f0.png,x", "gone.png,x", "f0.png,y", ",z")
    report = store.ingest(ask(*films, metadata=(rows,)))
    assert report.unmatched_rows == 3
    assert report.tables[0].examples == (
        "line 3: gone.png",
        "line 4: f0.png (as in an earlier line)",
        "line 5: names no path, study or patient",
    )


def test_a_deidentified_ingest_names_lines_alone(tmp_path, films, table, ask):
    Key.create(tmp_path / "secret.key")
    rows = table("path,patient_id,age", "gone.png,Doe,abc", "f0.png,P0,5", name="ward7b.csv")
    with Store.create(tmp_path / "private", deidentified=True) as store:
        asked = ask(*films, metadata=(rows,), deidentify="basic", key=tmp_path / "secret.key")
        report = store.ingest(asked)
    (news,) = report.tables
    assert (news.path, news.examples, news.unread[0].line) == ("", ("line 2",), 2)
    assert not any(word in repr(report) for word in ("Doe", "gone", "abc", "ward7b"))


def test_reports_without_a_usable_column_stop_before_anything(store, films, table, ask):
    with pytest.raises(BadInputFile, match=r"table.csv: .*: path, Befund; .*--map COLUMN=report"):
        store.ingest(ask(*films, reports=(table("path,Befund", "f0.png,x"),)))
    assert store.status().sources == 0


def test_a_mapped_column_may_be_in_one_of_several_tables(store, films, table, ask):
    tables = {
        "metadata": (table("path,Alter", "f0.png,61"),),
        "reports": (table("path,Befund", "f0.png,Clear.", name="reports.csv"),),
    }
    store.ingest(ask(*films, mapping={"Befund": "report", "Alter": "age"}, **tables))
    assert store.items("age = 61 and kind = 'image'")[0].report == "Clear."
    with pytest.raises(BadInputFile, match=r"no column .Text. to map: .*has: path, Alter; .*Befund"):
        store.ingest(ask(*films, mapping={"Text": "report"}, **tables))
    with pytest.raises(UsageError, match="--map reads columns of a table"):
        store.ingest(ask(*films, mapping={"Text": "report"}))


def test_a_later_table_says_whose_a_known_image_is(store, films, table, ask):
    first = store.ingest(ask(*films))
    said = store.ingest(ask(*films, metadata=(table("path,patient_id", "f0.png,P0", "f1.png,P1"),)))
    again = store.ingest(ask(*films, metadata=(table("path,patient_id", "f0.png,P0", "f1.png,Q1"),)))
    assert (first.moved, said.moved, again.moved) == (0, 2, 1)
    assert patients(store) | {"f2.png": ""} == {"f0.png": "P0", "f1.png": "Q1", "f2.png": ""}
    assert store.conflicts() == ()


def test_another_patient_is_not_hidden_by_the_group_of_the_old_one(store, films, table, ask):
    store.ingest(ask(*films, metadata=(table("path,patient_id,patient_group", "f0.png,P0,G"),)))
    store.ingest(ask(*films, metadata=(table("path,patient_id", "f0.png,P0"),)))
    assert patients(store)["f0.png"] == "G"
    report = store.ingest(ask(*films, metadata=(table("path,patient_id", "f0.png,Q0"),)))
    assert (patients(store)["f0.png"], report.moved) == ("Q0", 1)


def test_the_report_of_the_old_patient_leaves_the_image(store, films, table, ask):
    reports = table("patient_id,report", "P0,Old words.", "Q0,New words.", name="reports.csv")
    store.ingest(ask(films[0], reports=(reports,), metadata=(table("path,patient_id", "f0.png,P0"),)))
    assert store.items("kind = 'image'")[0].report == "Old words."
    store.ingest(ask(films[0], metadata=(table("path,patient_id", "f0.png,Q0"),)))
    assert store.items("kind = 'image'")[0].report == "New words."


def test_a_site_given_later_is_taken_by_items_of_none_and_told_of_others(store, films, table, ask):
    store.ingest(ask(films[0]))
    store.ingest(ask(films[1], metadata=(table("path,patient_id", "f1.png,P1"),)))
    said = store.ingest(ask(*films[:2], site="A"))
    assert (said.moved, said.notes) == (1, ()), "P1 is A/P1 now"
    assert {item.columns["site"] for item in store.items()} == {"A"}
    again = store.ingest(ask(*films, site="A"))
    assert (again.known, again.notes) == (2, ())
    other = store.ingest(ask(*films, site="B"))
    assert "known items that keep another site: 3 " in other.notes[0]
    assert patients(store)["f1.png"] == "A/P1"
    moved = store.ingest(ask(*films, metadata=(table("path,site", "f1.png,B"),)))
    assert (patients(store)["f1.png"], moved.moved) == ("B/P1", 1)


def test_a_site_that_a_table_gave_is_not_written_over_by_the_option(store, films, table, ask):
    store.ingest(ask(*films[:2], metadata=(table("path,patient_id,site", "f0.png,P0,A", "f1.png,P1,A"),)))
    ages = table("path,age", "f0.png,61", "f1.png,62", "f2.png,63", name="ages.csv")
    report = store.ingest(ask(*films, metadata=(ages,), site="B"))
    assert {item.columns["age"]: item.columns["site"] for item in store.items()} == {
        61: "A",
        62: "A",
        63: "B",
    }
    assert (report.moved, "keep another site: 2 " in report.notes[0]) == (0, True)
