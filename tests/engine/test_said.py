"""What reports say of the finding that was asked for stands beside each hit, and can be asked for."""

from __future__ import annotations

import csv

import pytest

from embedstore.contracts.query import Query
from embedstore.errors import UsageError

REPORTS = {
    "A": "There is a large pneumothorax.",
    "B": "No pneumothorax is seen.",
    "C": "Possible small pneumothorax.",
    "D": "The heart is enlarged.",
}
SAID = {"A": "present", "B": "absent", "C": "uncertain", "D": "not mentioned"}


@pytest.fixture
def told(store, tmp_path, ask, draw):
    path = tmp_path / "reports.csv"
    with path.open("w", newline="") as stream:
        rows = [[f"{name}.png", text, name] for name, text in REPORTS.items()]
        csv.writer(stream).writerows([["path", "report_text", "patient_id"], *rows])
    films = [draw(tmp_path / f"{name}.png", n) for n, name in enumerate(REPORTS)]
    store.ingest(ask(*films, reports=(path,)))
    return store


@pytest.mark.parametrize("within", ["reports", "images"])
def test_each_hit_says_what_its_report_says(told, within):
    answer = told.search(Query(text="pneumothorax", within=within))
    said = {hit.item.patient: hit.says["pneumothorax"] for hit in answer.hits}
    assert said == SAID
    assert "of 4 reports, pneumothorax: " in answer.note
    assert "--says present" in answer.note


@pytest.mark.parametrize(("name", "says"), SAID.items())
def test_only_those_that_say_so(told, name, says):
    answer = told.search(Query(text="pneumothorax", within="reports", says=says))
    assert ([hit.item.patient for hit in answer.hits], answer.matched) == ([name], 1)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        (Query(text="a nice picture", within="reports", says="present"), "the rules know: .*pneumothorax"),
        (Query(like=1, says="present"), "named in --text"),
        (Query(text="pneumothorax", within="wholes", says="present"), "among images or reports"),
    ],
)
def test_a_word_nobody_can_go_by_is_refused(told, query, says):
    with pytest.raises(UsageError, match=says):
        told.search(query)


def test_a_text_without_a_finding_is_read_as_before(told):
    answer = told.search(Query(text="a nice picture", within="reports"))
    assert (answer.note, [hit.says for hit in answer.hits]) == ("", [{}] * 4)
