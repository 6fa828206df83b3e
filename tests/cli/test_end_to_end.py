"""The command line on a real store, with the tiny `reference` encoder: no torch, no download."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Ran

HOSTILE = "=cmd|'/c calc'!A1 <script>alert(1)</script> \x1b[31mred"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of six patients, a table, and things that are no pictures, in an oddly named folder."""
    folder = tmp_path_factory.mktemp("films") / "mit Leerzeichen, ü und 画像"
    folder.mkdir()
    rng = np.random.default_rng(0)
    with (folder.parent / "table.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "PatientID", "age", "site", "finding", "report"])
        for number in range(12):
            name = f"film {number}.png"
            Image.fromarray(rng.integers(0, 255, (24, 24), np.uint8)).save(folder / name)
            patient, site = f"P{number // 2}", "AB"[number // 2 % 2]
            table.writerow(
                [f"{folder.name}/{name}", patient, 50 + number, site, number % 2, f"{HOSTILE} {number}"]
            )
    (folder / "notes.txt").write_text("not an image")
    (folder / "text.dcm").write_text("not a DICOM file")
    (folder / "empty.png").touch()
    return folder


@pytest.fixture(scope="module")
def made(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the films, made by the program itself."""
    store = tmp_path_factory.mktemp("stores") / "store"
    _run("init", "--store", store)
    table = films.parent / "table.csv"
    ingested = _run("ingest", films, "--encoder", "reference", "--reports", table, "--store", store, "--json")
    found = json.loads(ingested)
    assert (found["added"], found["images"], found["reports"]) == (24, 12, 12)
    assert found["seen"] == found["added"] + found["skipped"] + found["failed"]
    assert {Path(one["path"]).name for one in found["failures"]} == {"text.dcm", "empty.png"}
    assert {Path(one["path"]).name for one in found["skips"]} == {"notes.txt"}
    return store


def _run(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "from embedstore.cli.main import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def store(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that store, by the environment variable."""
    copy = tmp_path / "store"
    shutil.copytree(made, copy)
    monkeypatch.setenv("EMBEDSTORE_STORE", str(copy))
    return copy


def test_a_second_ingest_adds_nothing(store: Path, films: Path, embedstore: Callable[..., Ran]) -> None:
    again = embedstore("ingest", films, "--reports", films.parent / "table.csv", "--json").json
    assert again["added"] == 0
    assert again["known"] == 24
    assert embedstore("status", "--json").json["images"] == 12


def test_every_picture_finds_itself(store: Path, films: Path, embedstore: Callable[..., Ran]) -> None:
    for path in sorted(films.glob("film*.png")):
        hit = embedstore("search", "--image", path, "-k", "1", "--json").json["hits"][0]
        assert hit["path"] == str(path)
        assert hit["score"] == pytest.approx(1, abs=1e-6)


def test_a_contact_sheet_shows_the_picture_that_was_asked_with(
    store: Path, films: Path, embedstore: Callable[..., Ran], tmp_path: Path
) -> None:
    sheet = tmp_path / "sheet.html"
    picture = re.compile(r'<img src="data:image/jpeg')
    assert embedstore("search", "--image", films / "film 3.png", "-k", "2", "--html", sheet).status == 0
    assert len(picture.findall(sheet.read_text(encoding="utf-8"))) == 3
    ran = embedstore("search", "--like", "3", "-k", "2", "--html", sheet)
    assert "Hit 1 is the query itself." in ran.out
    assert sheet.read_text(encoding="utf-8").count("the query itself") == 1
    own = embedstore("search", "--like", "3", "-k", "1", "--json").json["hits"][0]["patient"]
    other = embedstore("search", "--like", "3", "--exclude-patient", own, "-k", "2")
    assert "itself" not in other.out


def test_a_filter_leaves_k_when_k_match(store: Path, embedstore: Callable[..., Ran]) -> None:
    found = embedstore(
        "search", "--like", "1", "--where", "site = 'B' and age >= 55", "-k", "4", "--json"
    ).json
    assert len(found["hits"]) == 4
    assert {hit["site"] for hit in found["hits"]} == {"B"}
    assert found["filter"] == "site = 'B' and age >= 55"
    each = embedstore("search", "--like", "1", "--per", "patient", "-k", "10", "--json").json["hits"]
    patients = [hit["patient"] for hit in each]
    assert len(patients) == len(set(patients)) == 6
    without = embedstore("search", "--like", "1", "--exclude-patient", patients[0], "--json").json["hits"]
    assert patients[0] not in {hit["patient"] for hit in without}


def test_hostile_text_is_harmless_everywhere(
    store: Path, embedstore: Callable[..., Ran], tmp_path: Path
) -> None:
    sheet = tmp_path / "sheet.html"
    ran = embedstore("search", "--text", "red", "--in", "reports", "--html", sheet)
    assert ran.status == 0, ran.err
    assert "\x1b" not in ran.out
    page = sheet.read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_head_from_site_to_site(store: Path, embedstore: Callable[..., Ran]) -> None:
    refused = embedstore("head", "fit", "--target", "attr.finding", "--test-where", "site = 'B'")
    assert refused.status in (2, 4)
    assert refused.err.count("\n") == 1
    assert embedstore("head", "list", "--json").json == {"heads": []}


def test_index_is_a_cache(store: Path, embedstore: Callable[..., Ran]) -> None:
    before = embedstore("search", "--like", "3", "--json").json["hits"]
    shutil.rmtree(store / "indexes")
    assert embedstore("search", "--like", "3", "--json").json["hits"] == before
    assert embedstore("reindex").status == 0
    assert embedstore("search", "--like", "3", "--json").json["hits"] == before
    assert embedstore("search", "--like", "3", "--index", "exact", "--json").json["hits"] == before
    assert embedstore("verify").out == "The store is sound.\n"


def test_a_flipped_byte_is_named(store: Path, embedstore: Callable[..., Ran]) -> None:
    segment = max((store / "segments").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(segment.read_bytes())
    data[-5] ^= 1
    segment.write_bytes(data)
    ran = embedstore("verify")
    assert ran.status == 6
    assert segment.name in ran.out


def test_a_failure_is_named_with_its_reason(store: Path, embedstore: Callable[..., Ran]) -> None:
    listed = embedstore("status", "--failures", "--json").json["failures"]
    assert {Path(one["path"]).name: one["reason"] for one in listed}["empty.png"] == "empty file"


REFUSED = {
    "unknown encoder": (("ingest", "FILMS", "--encoder", "referense"), 2),
    "encoder without vectors": (("search", "--like", "1", "--encoder", "starter"), 2),
    "bad filter": (("search", "--like", "1", "--where", "age >>"), 2),
    "unknown column": (("search", "--like", "1", "--where", "agee > 3"), 2),
    "unknown item": (("search", "--like", "4711"), 3),
    "no such path": (("ingest", "nowhere"), 3),
    "no such query": (("search", "--image", "nowhere.png"), 3),
    "a query that is no image": (("search", "--image", "FILMS/text.dcm"), 9),
    "unknown head": (("head", "apply", "nobody"), 3),
    "unknown label set": (("label", "report", "nothing"), 3),
    "a store in the way": (("init",), 2),
    "unknown index": (("search", "--like", "1", "--index", "annoy"), 2),
    "a bridge where none is needed": (("bridge", "fit"), 2),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_refusal_is_one_line(
    what: str, store: Path, films: Path, embedstore: Callable[..., Ran], tmp_path: Path
) -> None:
    arguments, status = REFUSED[what]
    ran = embedstore(*(one.replace("FILMS", str(films)) for one in arguments))
    assert (ran.status, ran.out) == (status, ""), ran.err
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("embedstore: ")
    assert embedstore("verify").status == 0


def test_a_second_writer_is_told_who_writes(store: Path, films: Path, embedstore: Callable[..., Ran]) -> None:
    from embedstore.storage.store import open_store

    catalog = open_store(store)
    with catalog.writing():
        ran = embedstore("ingest", films)
        assert embedstore("search", "--like", "1").status == 0
    catalog.close()
    assert ran.status == 5
    assert str(os.getpid()) in ran.err


def test_a_store_of_a_newer_schema(store: Path, embedstore: Callable[..., Ran]) -> None:
    import sqlite3

    with sqlite3.connect(store / "catalog.db") as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    connection.close()
    for command in (("status",), ("migrate",)):
        ran = embedstore(*command)
        assert (ran.status, ran.out) == (7, "")
        assert ran.err.count("\n") == 1
