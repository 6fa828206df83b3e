"""The label commands on a real small store: each step's output is the next one's input."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Ran

VOTERS = """
label_set: bright
voters:
  table: {kind: metadata, column: label, lookup: {bright: present, normal: absent}}
  copy: {kind: metadata, column: label, lookup: {bright: present, normal: absent}}
  mine: {kind: python, file: mine.py, needs: [metadata]}
"""
MINE = "def vote(batch):\n    return [1 if row['site'] == 'B' else -1 for row in batch.columns]\n"


@pytest.fixture
def store(embedstore: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    with (tmp_path / "table.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "patient_id", "site", "label"])
        for n in range(24):
            pixels = rng.integers(0, 90, (32, 32)) + 100 * (n % 3 == 0)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{n}.png")
            writer.writerow([f"{n}.png", f"P{n // 2}", "AB"[n % 2], "bright" if n % 3 == 0 else "normal"])
    (tmp_path / "voters.yaml").write_text(VOTERS)
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.setenv("EMBEDSTORE_STORE", str(tmp_path / "store"))
    assert embedstore("init").status == 0
    done = embedstore(
        "ingest", *sorted(tmp_path.glob("*.png")), "--metadata", tmp_path / "table.csv",
        "--encoder", "reference",
    )  # fmt: skip
    assert done.status == 0
    return tmp_path


def test_what_a_person_may_have_filled_in_is_not_written_over(
    store: Path, embedstore: Callable[..., Ran]
) -> None:
    mine, export = store / "mine.csv", store / "out.csv"
    for command in (
        ("label", "suggest", "bright", "--out", mine),
        ("label", "audit", "bright", "--out", mine),
        ("label", "export", "bright", mine),
    ):
        mine.write_text("filled in")
        refused = embedstore(*command)
        assert refused.status == 2
        assert f"{mine} is there already; name another file, or --force" in refused.err
        assert mine.read_text() == "filled in"
    sha256 = hashlib.sha256(MINE.encode()).hexdigest()
    embedstore("label", "run", store / "voters.yaml", "--trust-code", sha256)
    embedstore("label", "model", "bright")
    assert embedstore("label", "export", "bright", export).status == 0
    export.unlink()
    assert "out.provenance.jsonl is there already" in embedstore("label", "export", "bright", export).err
    assert embedstore("label", "export", "bright", export, "--force").status == 0
    assert export.read_text().startswith("id,path")


@pytest.mark.parametrize("way", [("utf-16", "\t"), ("utf-8-sig", ";"), ("utf-8", ",")])
def test_a_list_is_read_back_as_spreadsheets_save_it(
    way: tuple[str, str], store: Path, embedstore: Callable[..., Ran]
) -> None:
    sha256 = hashlib.sha256(MINE.encode()).hexdigest()
    embedstore("label", "run", store / "voters.yaml", "--trust-code", sha256)
    encoding, mark = way
    lines = ("id,path,label", f"1,{store}/0.png,present", f"2,{store}/1.png,absent", "3,,")
    (store / "filled.csv").write_text("\n".join(lines).replace(",", mark), encoding=encoding)
    read = embedstore("label", "import", "bright", store / "filled.csv", "--by", "ana", "--json")
    assert read.json == {"label_set": "bright", "votes": 2, "missing": 0}
    (store / "filled.csv").write_bytes(b"id,label\n1,pr\xe4sent\n")
    refused = embedstore("label", "import", "bright", store / "filled.csv", "--by", "ana")
    assert refused.status == 2
    assert "line 2 is not UTF-8 text; save the table as UTF-8" in refused.err


def test_from_votes_to_a_dataset(store: Path, embedstore: Callable[..., Ran]) -> None:
    refused = embedstore("label", "run", store / "voters.yaml")
    sha256 = hashlib.sha256(MINE.encode()).hexdigest()
    assert refused.status == 4
    assert f"--trust-code {sha256}" in refused.err
    ran = embedstore("label", "run", store / "voters.yaml", "--trust-code", sha256, "--json")
    assert [one["voter"] for one in ran.json["voters"]] == ["table", "copy", "mine"]

    asked = embedstore("label", "suggest", "bright", "-n", "4", "--out", store / "next.csv", "--json")
    assert [one["why"] for one in asked.json["suggestions"]] == ["random", "random", "doubt", "doubt"]
    with (store / "next.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert set(rows[0]) == {"id", "path", "why", "label"}
    with (store / "filled.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "label": "present"} for row in rows)
    read = embedstore("label", "import", "bright", store / "filled.csv", "--by", "ana", "--json")
    assert read.json == {"label_set": "bright", "votes": 4, "missing": 0}
    said = embedstore("label", "say", "bright", "1=present", "2=absent", "--by", "bea", "--json")
    assert said.json == {"label_set": "bright", "votes": 2}

    fused = embedstore("label", "model", "bright", "--prior", "present=0.4", "--prior", "absent=0.6")
    assert fused.status == 0
    told = embedstore("label", "report", "bright", "--json").json
    assert told["gold"] >= 4
    assert {"gold", "dependence", "warnings"} <= set(told)

    found = embedstore(
        "label", "audit", "bright", "--html", store / "a.html", "--out", store / "a.csv", "--json"
    )
    assert found.status == 0
    assert {"suspects", "twins", "source", "images", "patients"} <= set(found.json)
    assert "<html" in (store / "a.html").read_text()
    assert (store / "a.csv").read_text().startswith("id,path,given,suggested,by,label")

    out = embedstore("label", "export", "bright", store / "hf", "--format", "huggingface", "--json")
    assert out.json["rows"] == 24
    again = embedstore("label", "import", "bright", store / "hf" / "provenance.jsonl", "--json")
    assert again.json["votes"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("say", "bright", "one=present", "--by", "x"), "say ID=CLASS"),
        (("say", "bright", "1", "--by", "x"), "say ID=CLASS"),
        (("model", "bright", "--prior", "present"), "CLASS=SHARE"),
        (("export", "bright", "out.xls"), "--format"),
    ],
)
def test_what_is_said_wrongly_is_told(
    fake_store: object, embedstore: Callable[..., Ran], words: tuple[str, ...], message: str
) -> None:
    ran = embedstore("label", *words)
    assert ran.status == 2
    assert message in ran.err
