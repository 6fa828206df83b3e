"""What each command asks of the store, the keys of its JSON, and the text a person reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from embedstore.contracts.query import Query
from embedstore.engine.drift_records import DriftRequest
from embedstore.engine.head_requests import Conformal, HeadRequest
from embedstore.engine.requests import BridgeRequest, EncoderChoice, Finding, ZeroShotRequest
from tests.cli.conftest import Ran
from tests.cli.fake_store import BRIDGE, QUALITY, FakeStore

SEARCH = {"space", "k", "filter", "exact", "hits", "encoder", "in", "per", "matched", "bridge"}
HIT = {"rank", "score", "id", "path", "paths", "frame", "patient", "study", "modality", "label", "report"}
INGEST = {"seen", "added", "skipped", "failed", "skips", "failures", "images_per_s"}
ZEROSHOT = {"classes", "calibrated", "rows"}
ROW = {"id", "path", "scores", "probabilities", "label", "reason"}


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    path = tmp_path / "classes.yaml"
    path.write_text("classes: []\n")
    return path


def test_ingest(fake_store: type[FakeStore], embedstore: Callable[..., Ran], tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("path\n")
    ran = embedstore(
        "ingest", "a", "b", "--reports", table, "--map", "Befund=report", "--encoder", "reference",
        "--json",
    )  # fmt: skip
    assert ran.status == 0
    assert set(ran.json) >= INGEST
    assert set(ran.json["failures"][0]) >= {"path", "reason"}
    request = fake_store.asked[-1]
    assert request.paths == (Path("a"), Path("b"))
    assert request.encoder == EncoderChoice(name="reference")
    assert request.mapping == {"Befund": "report"}
    assert request.reports == (table,)


def test_ingest_leaves_the_encoder_to_the_store(
    fake_store: type[FakeStore], embedstore: Callable[..., Ran]
) -> None:
    embedstore("ingest", "a")
    assert fake_store.asked[-1].encoder is None


def test_a_file_without_its_option_is_understood(
    fake_store: type[FakeStore], embedstore: Callable[..., Ran], tmp_path: Path
) -> None:
    (tmp_path / "film.png").touch()
    ran = embedstore("search", tmp_path / "film.png")
    assert ran.status == 2
    assert f"--image '{tmp_path}/film.png'" in ran.err


def test_what_had_no_effect_is_a_line_on_stderr(
    fake_store: type[FakeStore], embedstore: Callable[..., Ran]
) -> None:
    fake_store.warnings = ("nobody was left out",)
    for form in ((), ("--json",)):
        ran = embedstore("search", "--like", "7", "--exclude-patient", "typo", *form)
        assert (ran.status, ran.err) == (0, "embedstore: warning: nobody was left out\n")
    assert ran.json["warnings"] == ["nobody was left out"]


@pytest.mark.parametrize("how", ["variable", "before", "after"])
def test_the_home_is_found_where_no_shell_has_put_it(
    how: str, fake_store: type[FakeStore], embedstore: Callable[..., Ran], tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    if how == "variable":
        monkeypatch.setenv("EMBEDSTORE_STORE", "~/films")
    embedstore(*("--store=~/films",) * (how == "before"), "status", *("--store=~/films",) * (how == "after"))
    assert fake_store.asked == [tmp_path / "films"]


def test_search(fake_store: type[FakeStore], embedstore: Callable[..., Ran]) -> None:
    ran = embedstore("search", "--like", "7", "--where", "age > 60", "--per", "patient", "-k", "3", "--json")
    assert ran.status == 0
    assert set(ran.json) >= SEARCH
    assert set(ran.json["hits"][0]) >= HIT
    assert ran.json["filter"] == "age > 60"
    assert ran.json["hits"][0]["frame"] == 3
    assert fake_store.asked[-1] == Query(like=7, where="age > 60", per="patient", k=3)


def test_search_names_the_bridge_that_answered(
    fake_store: type[FakeStore], embedstore: Callable[..., Ran]
) -> None:
    fake_store.bridge = {"name": "films", "kind": "ridge", "quality": QUALITY}
    text = embedstore("search", "--text", "effusion").out
    assert "'films' (ridge)" in text
    assert "0.310 [0.250, 0.370]" in text
    assert "chance 0.020" in text


def test_search_says_which_bridge_it_did_not_use(
    fake_store: type[FakeStore], embedstore: Callable[..., Ran]
) -> None:
    fake_store.note = "bridge 'films' was not used"
    document = embedstore("search", "--like", "7", "--bridge", "films", "--json").json
    assert document["bridge"] is None
    assert document["note"] == "bridge 'films' was not used"
    assert "Note: bridge 'films' was not used." in embedstore("search", "--like", "7").out


def test_zeroshot_says_ranking_only(
    fake_store: type[FakeStore], embedstore: Callable[..., Ran], classes: Path
) -> None:
    ran = embedstore("zeroshot", "--classes", classes, "--json", "--exclude-anchors")
    assert set(ran.json) >= ZEROSHOT
    assert set(ran.json["rows"][0]) >= ROW
    assert ran.json["rows"][0]["probabilities"] is None
    assert fake_store.asked[-1] == ZeroShotRequest(classes=classes, exclude_anchors=True)
    assert "ranking only" in embedstore("zeroshot", "--classes", classes).out


def test_zeroshot_says_that_a_threshold_takes_a_calibration(
    fake_store: type[FakeStore], embedstore: Callable[..., Ran], classes: Path
) -> None:
    assert "There is no label" in embedstore("zeroshot", "--classes", classes, "--threshold", "0.1").out
    assert "There is no label" not in embedstore("zeroshot", "--classes", classes).out


def test_zeroshot_leaves_the_name_of_a_shipped_set_to_the_store(
    fake_store: type[FakeStore], embedstore: Callable[..., Ran]
) -> None:
    embedstore("zeroshot", "--classes", "chest")
    assert fake_store.asked[-1].classes == Path("chest")


def test_requests_reach_the_store_as_given(
    fake_store: type[FakeStore], embedstore: Callable[..., Ran]
) -> None:
    embedstore("bridge", "fit", "--kind", "asif", "--text-encoder", "reference")
    assert fake_store.asked[-1] == BridgeRequest(kind="asif", text_encoder="reference")
    embedstore("head", "fit", "--target", "label", "--test-where", "site = 'B'", "--seed", "4")
    assert fake_store.asked[-1] == HeadRequest(target="label", test_where="site = 'B'", seed=4)
    embedstore(
        "head", "fit", "--target", "a", "--target", "b", "--kind", "logistic", "--conformal", "aps",
        "--alpha", "0.2", "--conformal-by", "site", "--uncertainty", "laplace", "--long-tail", "adjusted",
    )  # fmt: skip
    assert fake_store.asked[-1] == HeadRequest(
        target="a",
        also=("b",),
        conformal=Conformal(method="aps", alpha=0.2, by="site"),
        uncertainty="laplace",
        long_tail="adjusted",
    )
    written = embedstore("head", "export", "effusion", "--onnx", "out.onnx", "--json").json
    assert written == {"head": "effusion", "written": ["out.onnx"]}
    assert fake_store.asked[-1] == ("effusion", {"folder": None, "onnx": Path("out.onnx"), "sklearn": None})
    embedstore("head", "apply", "effusion", "--where", "site = 'A'")
    assert fake_store.asked[-1] == ("effusion", "site = 'A'", None)
    embedstore("drift", "--reference", "a", "--new", "b", "--by", "site", "--label", "x", "--audit", "4")
    assert fake_store.asked[-1] == DriftRequest(reference="a", new="b", by=("site",), label="x", audit=4)
    embedstore("init", "--db", "postgresql://db/x", "--store", "s")
    assert fake_store.asked[-1] == (Path("s"), "postgresql://db/x")


def test_not_a_number_is_null(fake_store: type[FakeStore], embedstore: Callable[..., Ran]) -> None:
    assert embedstore("head", "evaluate", "effusion", "--json").json["metrics"]["brier"]["value"] is None
    embedstore("head", "evaluate", "effusion", "--prevalence", "0.05", "--by", "ward", "--assume-independent")
    _, _, options = fake_store.asked[-1]
    assert (options["prevalence"], options["by"], options["assume_independent"]) == (0.05, ("ward",), True)
    embedstore("compare", "--encoder", "a", "--encoder", "b", "--target", "label", "-k", "3")
    asked = fake_store.asked[-1]
    assert (asked.encoders, asked.target, asked.k, asked.test_fraction) == (("a", "b"), "label", 3, 0.2)


def test_the_store_is_named_before_after_or_by_the_environment(
    fake_store: type[FakeStore], embedstore: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    embedstore("--store", "before", "status")
    embedstore("status", "--store", "after")
    embedstore("--store", "before", "status", "--store", "after")
    monkeypatch.setenv("EMBEDSTORE_STORE", "environment")
    embedstore("status")
    assert fake_store.asked == [Path("before"), Path("after"), Path("after"), Path("environment")]


def test_status_lists(fake_store: type[FakeStore], embedstore: Callable[..., Ran]) -> None:
    assert embedstore("status", "--json").json["failures"] == 1
    listed = embedstore("status", "--failures", "--conflicts", "--json").json
    assert listed["failures"][0]["path"] == "b.dcm"
    assert listed["conflicts"][0]["field"] == "label"
    assert "b.dcm: truncated" in embedstore("status", "--failures").out


def test_verify_fails_when_something_is_damaged(
    fake_store: type[FakeStore], embedstore: Callable[..., Ran]
) -> None:
    assert embedstore("verify", "--json").json == {"sound": True, "findings": []}
    fake_store.findings = (
        Finding(what="segment", file="segments/1.seg", detail="checksum", remedy="restore it"),
    )
    ran = embedstore("verify")
    assert ran.status == 6
    assert "segments/1.seg: restore it" in ran.out


def test_bridge_list_is_json_too(fake_store: type[FakeStore], embedstore: Callable[..., Ran]) -> None:
    assert embedstore("bridge", "list", "--json").json["bridges"][0]["anchors"] == BRIDGE.anchors


SHOWN = {
    "search": ("search", "--like", "7"),
    "ingest": ("ingest", "x"),
    "bridge-fit": ("bridge", "fit"),
    "bridge-list": ("bridge", "list"),
    "label-report": ("label", "report", "effusion"),
    "label-export": ("label", "export", "effusion", "out.csv"),
    "head-fit": ("head", "fit", "--target", "label"),
    "head-evaluate": ("head", "evaluate", "effusion"),
    "head-apply": ("head", "apply", "effusion"),
    "head-list": ("head", "list"),
    "head-compare": ("head", "compare", "effusion", "other"),
    "compare": ("compare", "--target", "label"),
    "drift": ("drift", "--reference", "site = 'A'", "--new", "site = 'B'"),
    "status": ("status",),
    "status-lists": ("status", "--failures", "--skips", "--conflicts"),
    "verify": ("verify",),
    "reindex": ("reindex",),
    "migrate": ("migrate",),
    "encoders-show": ("encoders", "show", "reference"),
}


@pytest.mark.parametrize("name", SHOWN)
def test_text_is_readable_and_safe(
    name: str, fake_store: type[FakeStore], embedstore: Callable[..., Ran], golden: Callable[..., None]
) -> None:
    ran = embedstore("--store", "store", *SHOWN[name])
    assert ran.status == 0, ran.err
    assert "\x1b" not in ran.out
    assert "\x07" not in ran.out
    tables = [line for line in ran.out.splitlines() if "  " in line]
    assert all(len(line) <= 100 for line in tables)
    golden(ran.out, file=f"{name}.txt")


@pytest.mark.parametrize("name", SHOWN)
def test_json_is_one_document_that_no_terminal_obeys(
    name: str, fake_store: type[FakeStore], embedstore: Callable[..., Ran]
) -> None:
    ran = embedstore(*SHOWN[name], "--json")
    assert isinstance(ran.json, dict)
    assert ran.out.isascii()
    assert all(sign.isprintable() or sign == "\n" for sign in ran.out)
