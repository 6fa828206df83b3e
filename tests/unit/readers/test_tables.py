"""Tables: which column means what, how rows join images, and who wins."""

from __future__ import annotations

from unicodedata import normalize

import pytest

from embedstore.contracts.record import READER_ATTRIBUTES, Header
from embedstore.errors import BadInputFile, UsageError
from embedstore.readers.tables import Conflict, merge, read_table
from embedstore.settings import Limits

IMAGE = Header(rows=4, columns=4)


@pytest.fixture
def table(tmp_path):
    """Write lines and read them as a table in a folder."""

    def read(*lines: str, mapping=None, limits=None, name="table.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding=encoding)
        return read_table(path, mapping or {}, limits or Limits())

    return read


def test_the_shared_manifest_unchanged(shared_data):
    table = read_table(shared_data / "MANIFEST.csv", {})
    assert len(table.rows) == 1214
    by_path = {row.path: row for row in table.rows}
    film = by_path["cxr/en/103__X-ray_of_cyst_in_pneumocystis_pneumonia_1.jpg"]
    assert film.line == 37
    assert (film.header.patient_id, film.header.patient_group) == ("covid-103", "covid-103")
    assert (film.header.label, film.header.view, film.header.site) == ("Pneumocystis", "PA", "en")
    assert film.report.startswith("If left untreated")
    assert film.header.extra["orig_size"] == "943; 751"
    assert "sha256" not in film.header.extra
    fundus = by_path["fundus/fullres/dev_IDRiD_001.jpg"]
    assert fundus.header.extra["dr_grade"] == 3
    assert fundus.patient_id is None
    assert fundus.patient_group.startswith("idridv-")
    ages = [row.header.age for row in table.rows if row.header.age is not None]
    assert len(ages) > 100
    assert all(0 < age < 110 for age in ages)
    assert table.match(str(shared_data / film.path), IMAGE) is film
    assert table.match(str(shared_data / "README.md"), IMAGE) is None


def test_columns_by_their_usual_names(table):
    (row,) = table(
        "Image Index,PatientID,StudyInstanceUID,SOP Instance UID,"
        "Patient Age,Patient Gender,Finding Labels,remark",
        "a.png,P1,1.2,1.2.3,058Y,female,Effusion,7",
    ).rows
    assert (row.path, row.patient_id, row.study_uid, row.sop_uid) == ("a.png", "P1", "1.2", "1.2.3")
    assert (row.header.age, row.header.sex, row.header.label) == (58, "F", "Effusion")
    assert row.header.extra == {"remark": 7}


def test_mapped_columns_beat_known_names(table):
    found = table("file,label,grade", "a,x,2", mapping={"grade": "label", "label": "ignore"})
    assert found.rows[0].header.label == "2"
    assert found.rows[0].header.extra == {}
    assert table("file,label,grade", "a,x,2", mapping={"grade": "label"}).rows[0].header.extra == {
        "label": "x"
    }


def test_sections_make_one_report(table):
    (row,) = table("study_uid,findings,impression", "1.2,Clear lungs.,Normal.").rows
    assert row.report == "FINDINGS: Clear lungs. IMPRESSION: Normal."
    (row,) = table("study_uid,report,impression", "1.2,All of it.,Normal.").rows
    assert row.report == "All of it."
    assert row.header.extra == {"impression": "Normal."}


def test_values(table):
    (row,) = table("path,age,sex,side,date,a,b,c,d", "x,NA,?,left,20240531,007,-1.5,1e3,nan").rows
    assert (row.header.age, row.header.sex, row.header.laterality) == (None, None, "L")
    assert row.header.study_date == "2024-05-31"
    assert row.header.extra == {"sex": "?", "a": "007", "b": -1.5, "c": 1000.0}


def test_json_in_extra(table):
    cell = '"{""age"": 61.0, ""x"": [1, 2], ""y"": null, ""z"": true, ""deep"": {""k"": 1}}"'
    (row,) = table("path,extra", f"a,{cell}").rows
    assert row.header.age == 61
    assert row.header.extra == {"age": 61.0, "x": "1; 2", "z": 1, "deep": '{"k": 1}'}
    assert table("path,extra", "a,free text").rows[0].header.extra == {"extra": "free text"}


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_and_a_byte_order_mark(table, delimiter):
    (row,) = table(f"path{delimiter}label", f"a{delimiter}b,c", encoding="utf-8-sig").rows
    assert (row.path, row.header.label) == ("a", "b,c")


def test_quoted_cells_of_several_lines_keep_the_line_numbers(table):
    rows = table("path,report", 'a,"first\nsecond"', "", "b,x").rows
    assert [(row.line, row.path) for row in rows] == [(2, "a"), (5, "b")]
    assert rows[0].report == "first\nsecond"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("",), "the table is empty"),
        (("a,a", "1,2"), "two columns are called 'a'"),
        (("path,label", "a,b,c"), "line 2 has 3 cells but there are 2 columns"),
        (("path,report", 'a,"no end'), "line 2"),
        (("path,report", f"a,{'x' * 200}"), "line 2: field larger than field limit"),
        (("path,report", "a,\x00"), "line 2 has binary content"),
    ],
)
def test_bad_tables_are_refused_by_line(table, lines, message):
    with pytest.raises(BadInputFile) as caught:
        table(*lines, limits=Limits(max_text_chars=100))
    assert message in str(caught.value)
    assert "table.csv" in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_what_spreadsheets_call_unicode_is_read(table, encoding):
    mark = "\ufeff" if encoding[-3] == "-" else ""
    (row,) = table(
        f"{mark}path\tBefund", "ü.png\tErguß", encoding=encoding, mapping={"Befund": "report"}
    ).rows
    assert (row.line, row.path, row.report) == (2, "ü.png", "Erguß")


def test_the_delimiter_is_the_one_outside_quotes(table):
    (row,) = table('path;"age, years";report', 'a;61;"x; y"', mapping={"age, years": "age"}).rows
    assert (row.path, row.header.age, row.report) == ("a", 61, "x; y")


def test_excels_own_first_line_is_understood(table):
    (row,) = table("sep=|", "path|label", "a|b,c;d").rows
    assert (row.line, row.path, row.header.label) == (3, "a", "b,c;d")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"PK\x03\x04\x14\x00\x06\x00", "is a spreadsheet, not text; save the sheet as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is a spreadsheet, not text; save the sheet as CSV"),
        (b"PAR1\x15\x04", "is a Parquet file; write it as CSV"),
        (b"\x1f\x8b\x08\x00", "is packed with gzip; unpack it"),
        (b"\xff\xfeabc", "is not the UTF-16 text it begins as"),
    ],
)
def test_what_is_no_text_is_refused_with_a_remedy(tmp_path, data, says):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(BadInputFile, match=says) as caught:
        read_table(tmp_path / "t.csv", {})
    assert "t.csv: " in str(caught.value)


@pytest.mark.parametrize(
    ("header", "brings", "says"),
    [
        ("id,Befund", "reports", "no column says which image, study or patient a row is about"),
        ("path,Befund", "reports", "no column holds the text of a report"),
        ("id,grade", "metadata", "no column says which image, study or patient a row is about"),
        ("path,grade", "metadata", None),
        ("StudyInstanceUID,impression", "reports", None),
        ("extra,report", "reports", None),
    ],
)
def test_a_table_without_a_usable_column_is_refused(tmp_path, header, brings, says):
    (tmp_path / "t.csv").write_text(f"{header}\n1,2\n")
    if says is None:
        assert len(read_table(tmp_path / "t.csv", {}, brings=brings).rows) == 1
        return
    with pytest.raises(BadInputFile, match=says) as caught:
        read_table(tmp_path / "t.csv", {}, brings=brings)
    first, second = header.split(",")
    assert "t.csv: no column" in str(caught.value)
    assert f"its columns: {first}, {second}; name one with --map COLUMN=" in str(caught.value)


def test_cells_that_make_no_sense_are_told_by_column(table):
    found = table(
        "path,Alter,sex,date,slice,extra",
        "a,abc,?,31/12/20xx,1,",
        'b,61,M,20240531,x,"{""kvp"": ""high"", ""site"": ""A""}"',
        "c,200,NA,31.12.2023,1.5,",
        mapping={"Alter": "age", "slice": "instance_number"},
    )
    told = {one.column: (one.field, one.rows, one.line) for one in found.unread()}
    assert told == {
        "Alter": ("age", 2, 2),
        "sex": ("sex", 1, 2),
        "date": ("study_date", 2, 2),
        "slice": ("instance_number", 2, 3),
        "kvp": ("kvp", 1, 3),
    }
    assert all(one.accepted for one in found.unread())
    assert found.rows[0].header.extra["Alter"] == "abc"


def test_text_that_is_not_utf8_is_refused_by_line(tmp_path):
    path = tmp_path / "latin.csv"
    path.write_bytes(b"path,label\na,b\n" * 3000 + "ä,é\n".encode("latin-1"))
    with pytest.raises(BadInputFile, match="line 6001 is not UTF-8 text; save the table as UTF-8"):
        read_table(path, {})


def test_the_shared_bad_table(shared_data):
    with pytest.raises(BadInputFile, match="line 2 is not UTF-8"):
        read_table(shared_data / "broken" / "made" / "csv_bad_utf8.csv", {})


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(BadInputFile, match="does not exist"):
        read_table(tmp_path / "gone.csv", {})


def test_mapping_errors(table):
    with pytest.raises(UsageError, match="did you mean 'label'"):
        table("a,b", "1,2", mapping={"a": "labell"})
    with pytest.raises(BadInputFile, match="has no column 'z' to map; its columns: a, b"):
        table("a,b", "1,2", mapping={"z": "label"})


class TestJoining:
    def test_by_path_from_the_folder_or_absolute(self, table, tmp_path):
        found = table("path,label", "img/a.png,1", f"{tmp_path}/b.png,2", "./img/../c.png,3", "img\\d.png,4")
        for name, label in (("img/a.png", "1"), ("b.png", "2"), ("c.png", "3"), ("img/d.png", "4")):
            assert found.match(f"{tmp_path}/{name}", IMAGE).header.label == label

    def test_by_the_end_of_the_path(self, table, tmp_path):
        found = table("path,label", "train/a.png,1", "b.png,2")
        assert found.match("/data/set/train/a.png", IMAGE).header.label == "1"
        assert found.match("/data/set.zip!/b.png", IMAGE).header.label == "2"
        assert found.match("/data/test/a.png", IMAGE) is None
        assert found.match("/data/xtrain/a.png", IMAGE) is None

    def test_the_longest_end_counts(self, table):
        found = table("path,label", "a.png,1", "x/a.png,2")
        assert found.match("/data/x/a.png", IMAGE).header.label == "2"
        assert found.match("/data/y/a.png", IMAGE).header.label == "1"

    def test_an_end_without_its_suffix_joins_when_none_has_it(self, table):
        read = table("path,label", "b,stem", "c.png,whole", "c,stem")
        assert read.match("/data/b.png", IMAGE).header.label == "stem"
        assert read.match("/data/b.dcm", IMAGE) is None  # a second file of that stem
        assert read.match("/data/c.png", IMAGE).header.label == "whole"

    def test_an_end_that_two_files_share_joins_one(self, table):
        """A wrong label is worse than none."""
        found = table("path,label", "a.png,1")
        assert found.match("/data/x/a.png", IMAGE).header.label == "1"
        assert found.match("/data/y/a.png", IMAGE) is None
        assert found.match("/data/x/a.png", IMAGE).header.label == "1"

    def test_a_row_whose_file_is_there_is_of_no_other(self, table, tmp_path):
        (tmp_path / "a.png").write_bytes(b"x")
        found = table("path,label", "a.png,1")
        assert found.match("/elsewhere/a.png", IMAGE) is None

    def test_an_accent_joins_however_it_is_written(self, table, tmp_path):
        apart, together = (normalize(form, "Müller.png") for form in ("NFD", "NFC"))
        found = table("path,label", f"img/{together},1", f"é/{together},2")
        assert found.match(f"{tmp_path}/img/{apart}", IMAGE).header.label == "1"
        assert found.match(f"/data.zip!/{normalize('NFD', 'é')}/{apart}", IMAGE).header.label == "2"
        assert found.unmatched() == ()

    def test_two_files_that_differ_in_how_an_accent_is_written_stay_two(self, table, tmp_path):
        apart, together = (tmp_path / normalize(form, "ü.png") for form in ("NFD", "NFC"))
        apart.write_bytes(b"1")
        if together.exists():
            pytest.skip("this file system holds the two for one")
        together.write_bytes(b"2")
        found = table("path,label", "ü.png,1")
        assert found.match(str(apart), IMAGE) is None
        assert found.match(str(together), IMAGE).header.label == "1"
        both = table("path,label", f"{together.name},1", f"{apart.name},2")
        assert both.match(str(apart), IMAGE).header.label == "2"

    def test_by_identifiers_the_finest_first(self, table):
        found = table(
            "sop_uid,study_uid,patient_id,label", "1.1,1,P,sop", ",1,P,study", ",,P,patient", ",2,P,other"
        )

        def label(**ids):
            row = found.match("/x", Header(rows=1, columns=1, **ids))
            return row and row.header.label

        assert label(sop_uid="1.1", study_uid="1", patient_id="P") == "sop"
        assert label(sop_uid="1.9", study_uid="1", patient_id="P") == "study"
        assert label(sop_uid="1.9", study_uid="3", patient_id="P") == "patient"
        assert label(study_uid="2") == "other"
        assert label(patient_id="Q") is None

    def test_a_row_of_one_image_is_not_of_the_patient(self, table):
        found = table("path,patient_id,label", "a.png,P,1")
        assert found.match("/b.png", Header(rows=1, columns=1, patient_id="P")) is None

    def test_what_joined_nothing(self, table):
        found = table("path,label", "a.png,1", "b.png,2")
        found.match("/x/b.png", IMAGE)
        assert [row.path for row in found.unmatched()] == ["a.png"]

    def test_rows_with_the_key_of_an_earlier_row(self, table):
        found = table("path,label", "a.png,1", "a.png,2", "b.png,3")
        assert found.duplicates == (3,)
        assert found.match("/x/a.png", IMAGE).header.label == "1"


class TestMerging:
    def row(self, table, names, cells):
        return table(f"path,{names}", f"a,{cells}").rows[0]

    def test_the_file_wins_and_differences_are_told(self, table):
        row = self.row(table, "patient_id,sex,age,label,kvp", "P2,M,61,x,80")
        file = Header(patient_id="P1", sex="M", age=61.4, rows=1, columns=1, extra={"kvp": 70, "own": 1})
        merged, conflicts = merge(file, row)
        assert (merged.patient_id, merged.label, merged.age) == ("P1", "x", 61.4)
        assert conflicts == (Conflict("patient_id", "P1", "P2"),)
        assert merged.extra == {"kvp": 70, "own": 1}

    def test_a_row_about_a_file_does_not_contradict_its_parts(self, table):
        row = self.row(table, "label,split,site", "0 or 1,train 7; val 8,Kiel")
        merged, conflicts = merge(Header(label="1", split="train", frame=3, rows=1, columns=1), row)
        assert (merged.label, merged.split, merged.site, conflicts) == ("1", "train", "Kiel", ())


class TestReports:
    def reports(self, found):
        return list(found.reports())

    def test_a_row_alone_is_a_report(self, table, tmp_path):
        (found,) = self.reports(table("patient_id,study_uid,report", "P,1.2,Clear."))
        assert (found.text, found.part, found.about_path) == ("Clear.", "report/1.2", None)
        assert (found.header.patient_id, found.header.study_uid) == ("P", "1.2")
        assert found.source.path == str(tmp_path / "table.csv")

    def test_a_row_about_an_image_names_it_and_takes_its_identity(self, table):
        rows = table("path,report,label", "a.png,Clear.,x")
        rows.match("/d/a.png", Header(patient_id="P", study_uid="1", modality="CR", rows=1, columns=1))
        (found,) = self.reports(rows)
        assert (found.about_path, found.part) == ("/d/a.png", "report/a.png")
        assert (found.header.patient_id, found.header.study_uid, found.header.label) == ("P", "1", "x")
        assert found.header.rows is None

    def test_a_row_about_a_study_takes_its_patient(self, table):
        rows = table("study_uid,report", "1,Clear.")
        rows.match("/d/a", Header(patient_id="P", study_uid="1", sop_uid="1.1", rows=1, columns=1))
        (found,) = self.reports(rows)
        assert (found.header.patient_id, found.header.series_uid, found.about_path) == ("P", None, None)

    def test_a_row_whose_file_is_the_report_gives_none(self, table):
        rows = table("path,report", "1027.xml,Clear.")
        rows.match("/d/1027.xml", Header())
        assert self.reports(rows) == []

    def test_parts_do_not_depend_on_the_order(self, table):
        lines = ["1,Clear.", "2,Effusion.", "1,Addendum.", ",No key.", ",Another."]
        first = {r.text: r.part for r in self.reports(table("study_uid,report", *lines))}
        assert len(set(first.values())) == 5
        again = {r.text: r.part for r in self.reports(table("study_uid,report", *lines[1:], lines[0]))}
        assert {text for text in first if first[text] != again[text]} <= {"Clear.", "Addendum."}
        twice = self.reports(table("study_uid,report", "1,Clear.", "1,Clear."))
        assert len(twice) == 1 or twice[0].part != twice[1].part


def test_a_column_does_not_pass_for_a_word_of_the_readers(table):
    (row,) = table("path,display,icc,extra", 'a,Jane Doe,Jane Doe,"{""suv"": ""Jane Doe""}"').rows
    assert READER_ATTRIBUTES.isdisjoint(row.header.extra)
    assert set(row.header.extra) == {"table_display", "table_icc", "table_suv"}
