"""No metric leaves command line or page without n images, n patients, n positives, interval and method."""

from __future__ import annotations

import copy
import json
import shutil

import pytest

from embedstore.cli.main import run
from tests.engine.test_learning import PROMPTS, VOTERS
from tests.metric_schema import unbacked, unbacked_in_page

HELD_OUT = ("--test-where", "site = 'B'")
#: Every command that prints a number of quality, in an order in which each has what it needs.
COMMANDS = (
    ("head", "fit", "--target", "bright", "--name", "one", *HELD_OUT),
    ("head", "fit", "--target", "bright", "--name", "two", "--seed", "1", *HELD_OUT),
    ("head", "evaluate", "one", "--prevalence", "0.1", "--html", "page.html"),
    ("head", "compare", "one", "two"),
    ("head", "list"),
    ("label", "run", "voters.yaml"),
    ("label", "report", "bright", "--truth", "attr.bright"),
    ("label", "model", "bright", "--truth", "attr.bright"),
    ("label", "audit", "bright"),
    ("zeroshot", "--classes", "prompts.yaml", "--where", "site = 'B'", "--calibrate-where", "site = 'A'",
     "--sensitivity"),
    ("drift", "--reference", "site = 'A'", "--new", "site = 'B'", "--label", "bright"),
)  # fmt: skip


@pytest.fixture(scope="module")
def printed(filled_path, tmp_path_factory):
    """What each command prints as JSON, and the page."""
    folder = tmp_path_factory.mktemp("printed")
    shutil.copytree(filled_path, folder / "store")
    (folder / "voters.yaml").write_text(VOTERS)
    (folder / "prompts.yaml").write_text(PROMPTS)
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    yield folder
    patch.undo()


def told(folder, capsys, *command):
    status = run([*command, "--store", str(folder / "store"), "--json"])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return json.loads(captured.out)


def test_every_metric_that_is_printed_is_backed(printed, capsys):
    found = {" ".join(command[:2]): told(printed, capsys, *command) for command in COMMANDS}
    lacking = {name: list(unbacked(document)) for name, document in found.items()}
    assert {name: places for name, places in lacking.items() if places} == {}
    assert list(unbacked_in_page((printed / "page.html").read_text())) == []


FAKE = {
    "metrics": {
        "auroc": {
            "metric": "auroc",
            "value": 0.9,
            "low": 0.8,
            "high": 0.95,
            "level": 0.95,
            "n_images": 40,
            "n_patients": 20,
            "n_positives": 11,
            "method": "some",
        }
    },
    "rows": [{"r_at_10": 0.3, "interval": [0.2, 0.4], "level": 0.95, "n_images": 9, "n_patients": 9,
              "n_positives": None, "method": "some"}],
}  # fmt: skip


KEYS = {*FAKE["metrics"]["auroc"], *FAKE["rows"][0]} - {"metric", "value", "r_at_10"}


@pytest.mark.parametrize("key", sorted(KEYS))
def test_a_fake_that_lacks_one_of_them_is_caught(key):
    assert list(unbacked(FAKE)) == []
    for part in ("metrics", "rows"):
        fake = copy.deepcopy(FAKE)
        place = fake["metrics"]["auroc"] if part == "metrics" else fake["rows"][0]
        if key in place:
            del place[key]
            (found,) = unbacked(fake)
            assert key in found


def test_a_table_with_a_bare_number_is_caught():
    backed = FAKE["metrics"]["auroc"]
    table = {"columns": ["finding", "AUROC", "n"], "rows": [["effusion", backed, 3]]}
    assert list(unbacked(table)) == []
    assert "column 'AUROC' has bare numbers" in next(unbacked({**table, "rows": [["effusion", 0.9, 3]]}))
    assert "n_patients" in next(
        unbacked({**table, "rows": [["effusion", {**backed, "n_patients": None}, 3]]})
    )
    bridge = {**FAKE["rows"][0], "shuffled_control": 0.1}
    assert "shuffled_control lacks interval" in next(unbacked(bridge))


def test_a_bare_number_is_caught_wherever_it_hides():
    assert list(unbacked({"a": [{"b": {"auroc": 0.9}}]}))
    assert list(unbacked({"risk": 0.1}))
    assert not list(unbacked({"auroc": None, "coverage": 0.5, "C": 0.1}))


COLUMNS = ("", "value", "images", "patients", "positives", "method")
CELLS = ("auroc", "0.900 [0.800, 0.950]", "40", "20", "11", "some")


def page(columns, cells, caption="40 images, 20 patients, 11 positives; band: 95%, some"):
    head, body = (
        "".join(f"<{tag}>{one}</{tag}>" for one in row) for tag, row in (("th", columns), ("td", cells))
    )
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody><tr>{body}</tr></tbody></table>"
        f"<figure><svg></svg><figcaption>{caption}</figcaption></figure>"
    )


def test_a_page_that_lacks_one_of_them_is_caught():
    assert list(unbacked_in_page(page(COLUMNS, CELLS))) == []
    for place in range(2, 6):
        without = [tuple(one for n, one in enumerate(row) if n != place) for row in (COLUMNS, CELLS)]
        (found,) = unbacked_in_page(page(*without))
        assert COLUMNS[place] in found
    assert list(unbacked_in_page(page(COLUMNS, CELLS, "the ROC curve")))
