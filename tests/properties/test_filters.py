"""A filter means the same in SQL and in Python, whatever it is and whatever the rows are."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from sqlalchemy import create_engine, insert, select
from sqlalchemy.orm import Session

from embedstore.contracts.record import HEADER_COLUMNS
from embedstore.errors import FilterError
from embedstore.storage.filter_columns import FILTER_COLUMNS
from embedstore.storage.filters import parse_where
from embedstore.storage.tables import Base, Item, ItemSource, Source

TEXTS = st.sampled_from(
    ["CR", "True", "cr", "CT", "", "O'Neill", "100%", "a_b", "Ö", "1", "60", "1.50", "\\"]
)
NUMBERS = st.sampled_from([0, 1, -3, 60, 60.5, 1e3])
LONG = st.sampled_from([2**53, 2**53 + 1])  # one number as floats, two record numbers
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["grade", "two words", "Größe"]), TEXTS | NUMBERS | LONG, max_size=2
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "modality": st.none() | TEXTS,
            "site": st.none() | TEXTS,
            "age": st.none() | NUMBERS.map(float),
            "rows": st.none() | st.integers(-2, 70),
            "patient_known": st.booleans(),
            "extra": ATTRIBUTES,
            "paths": st.lists(TEXTS.filter(bool), min_size=1, max_size=2, unique=True),
        }
    ),
    min_size=1,
    max_size=8,
)

WORDS = ["and", "or", "not", "(", ")", "age", "=", "'", "3", "in", ",", "site"]


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


STRINGS = TEXTS.map(quoted)
LITERALS = NUMBERS.map(str)
TEXT_COLUMNS = st.sampled_from(["modality", "site", "path"])
ATTRS = st.sampled_from(["attr.grade", 'attr."two words"', 'attr."Größe"'])
SIGNS = st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "==", "<>"])
PATTERNS = st.sampled_from(["%", "c_", "_R", "100\\%", "%o''n%", "ö", "", "\\\\"]).map(lambda p: f"'{p}'")
CONDITIONS = st.one_of(
    st.builds("{} {} {}".format, TEXT_COLUMNS | ATTRS, SIGNS, STRINGS),
    st.builds("{} {} {}".format, ATTRS | st.sampled_from(["age", "rows"]), SIGNS, LITERALS),
    st.builds("{} {} {}".format, ATTRS, SIGNS, LONG.map(str) | LONG.map(str).map(quoted)),
    st.builds("{} in ({}, {})".format, ATTRS, LONG, STRINGS),
    st.builds("{} {} {}".format, TEXT_COLUMNS, st.sampled_from(["=", "!="]), LITERALS),
    st.builds(
        "{} {} ({}, {})".format, TEXT_COLUMNS | ATTRS, st.sampled_from(["in", "not in"]), STRINGS, STRINGS
    ),
    st.builds("{} {} ({}, {})".format, ATTRS, st.sampled_from(["in", "NOT IN"]), LITERALS, STRINGS),
    st.builds("{} {} {}".format, TEXT_COLUMNS | ATTRS, st.sampled_from(["like", "not like"]), PATTERNS),
    st.builds("{} between {} and {}".format, st.sampled_from(["age", "rows"]) | ATTRS, LITERALS, LITERALS),
    st.builds(
        "{} is {}null".format, st.sampled_from(["age", "site", "attr.grade"]), st.sampled_from(["", "not "])
    ),
    st.sampled_from(
        ["patient_known = true", "patient_known != 1", "attr.grade = true", "attr.grade != false"]
    ),
)
FILTERS = st.recursive(
    CONDITIONS,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        inner.map("not ({})".format),
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def engine():
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


def stored(session: Session, rows: list[dict]) -> None:
    for number, row in enumerate(rows, 1):
        columns = {name: value for name, value in row.items() if name != "paths"}
        fixed = {"sha256": f"{number}", "part": "image", "kind": "image", "reader": "raster", "patient": "p"}
        session.execute(insert(Item).values(id=number, patient_code=1, study_code=1, **fixed, **columns))
        for path in row["paths"]:
            known = session.execute(select(Source.id).where(Source.path == path)).scalar()
            if known is None:
                told = {"size": 1, "mtime_ns": 1, "outcome": "items", "reason": "", "reader": "raster"}
                made = session.execute(insert(Source).values(path=path, complete=True, recorded="", **told))
                known = made.inserted_primary_key[0]
            session.execute(insert(ItemSource).values(item_id=number, source_id=known, header={}))


@settings(max_examples=250, deadline=None)
@given(rows=ROWS, text=FILTERS)
def test_sql_and_python_agree(engine, rows, text):
    where = parse_where(text)
    with Session(engine) as session:
        stored(session, rows)
        found = set(session.execute(select(Item.id).where(where.clause())).scalars())
        session.rollback()
    assert found == {number for number, row in enumerate(rows, 1) if where.matches(row)}


def test_a_list_may_have_thousands_of_values(engine):
    where = parse_where(f"attr.grade in ({', '.join(map(str, range(3000)))})")
    with Session(engine) as session:
        stored(
            session, [{"extra": {"grade": n}, "patient_known": True, "paths": ["a"]} for n in (2999, 3000)]
        )
        assert session.execute(select(Item.id).where(where.clause())).scalars().all() == [1]
        session.rollback()


@settings(max_examples=200, deadline=None)
@given(rows=ROWS, text=FILTERS)
def test_the_canonical_text_means_the_same(rows, text):
    where = parse_where(text)
    again = parse_where(where.text)
    assert again.text == parse_where(again.text).text
    assert [again.matches(row) for row in rows] == [where.matches(row) for row in rows]


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40) | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_anything_else_is_one_line_of_error(text):
    try:
        parse_where(text)
    except FilterError as error:
        message = str(error)
    else:
        return
    assert message
    assert "\n" not in message


def test_every_header_column_can_be_filtered_by():
    assert set(HEADER_COLUMNS) <= {column.name for column in FILTER_COLUMNS}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("modalty = 'CR'", "did you mean 'modality'?"),
        ("age = '60'", "without quotes"),
        ('site = "A"', "single quotes"),
        ("site = A", "not understood at position 8"),
        ("age >", "ends too early"),
        ("site = 'A", "unclosed quote"),
        ("", "empty"),
        ("not " * 500 + "age = 1", "too complicated"),
        ("(" * 100 + "age = 1" + ")" * 100, "too complicated"),
        ("study_date > '01.02.2020'", "write '2024-05-31' in place of '01.02.2020'"),
        ("study_date >= 2020", "write '2024-05-31' in place of '2020'"),
        ("acquisition_date in ('2020-02-30')", "in place of '2020-02-30'"),
    ],
)
def test_errors_say_what_to_do(text, says):
    with pytest.raises(FilterError, match=says.replace("?", r"\?")):
        parse_where(text)


def test_dates_compare_as_dates_and_true_as_tables_write_it():
    assert parse_where("study_date = 20240531").text == "study_date = '2024-05-31'"
    flagged = parse_where("attr.icu = true")
    rows = [{"extra": {"icu": said}} for said in ("True", "TRUE", "true", 1, "1", "False", 0, "yes")]
    assert [flagged.matches(row) for row in rows] == [True] * 5 + [False] * 3
    assert [parse_where("attr.icu != true").matches(row) for row in rows] == [*[False] * 5, True, True, False]
    assert not parse_where("attr.icu != true").matches({"extra": {}})


def test_injection_is_just_text(engine):
    where = parse_where("site = '''; drop table item; --' or attr.\"x') or 1=1 --\" = 'y'")
    with Session(engine) as session:
        assert session.execute(select(Item.id).where(where.clause())).all() == []
