"""`embedstore encoders`: what is known of each without loading it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cli.conftest import Ran

LISTED = {
    "name",
    "version",
    "towers",
    "licence",
    "terms",
    "gated",
    "input_size",
    "weights",
    "modalities",
    "source",
}
EXAMINED = {"name", "state", "path", "remedy", "searched", "files", "licence", "terms", "accepted", "pins"}


@pytest.fixture(autouse=True)
def nothing_here(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("EMBEDSTORE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("EMBEDSTORE_STORE", str(tmp_path / "no store"))


def test_list_tells_dimension_size_licence_gate_and_weights(embedstore: Callable[..., Ran]) -> None:
    listed = {one["name"]: one for one in embedstore("encoders", "list", "--json").json["encoders"]}
    assert all(set(one) >= LISTED for one in listed.values())
    starter, retfound, medsam = listed["starter"], listed["retfound-mae"], listed["medsam"]
    assert (starter["input_size"], starter["gated"], starter["weights"]) == ([224, 224], False, "present")
    assert (retfound["gated"], retfound["weights"]) == (True, "missing")
    assert retfound["terms"]["forbids"] == "commercial use"
    assert (medsam["input_size"], medsam["towers"]["image"]["dim"]) == ([1024, 1024], 256)
    text = embedstore("encoders", "list").out
    assert all(name in text for name in listed)
    assert "CC-BY-NC-4.0, gated" in text


def test_show_goes_through_profiles_and_poolings(embedstore: Callable[..., Ran]) -> None:
    shown = embedstore("encoders", "show", "retfound-mae", "--json").json
    assert [one["name"] for one in shown["profiles"]][:2] == ["finetune224", "squash224"]
    assert list(shown["poolings"]) == ["mean_fcnorm", "cls"]
    text = embedstore("encoders", "show", "retfound-mae", "--profile", "zscore224+cls").out
    for words in (
        "doi:10.1038/s41586-023-06555-x",
        "no commercial use, gated",
        "finetune224 (default): the authors' evaluation transform",
        "zscore224: the authors' feature notebook",
        "mean_fcnorm (default): mean of the patch tokens",
    ):
        assert words in text


def test_every_encoder_can_be_shown(embedstore: Callable[..., Ran]) -> None:
    for one in embedstore("encoders", "list", "--json").json["encoders"]:
        ran = embedstore("encoders", "show", one["name"])
        assert ran.status == 0, ran.err


def test_doctor_names_the_file_and_every_place(embedstore: Callable[..., Ran], tmp_path) -> None:
    ran = embedstore("encoders", "doctor", "retfound-mae", "--json")
    assert ran.status == 3
    (found,) = ran.json["encoders"]
    assert set(found) == EXAMINED
    assert found["files"] == ["RETFound_mae_natureCFP.pth", "RETFound_cfp_weights.pth"]
    places = "\n".join(found["searched"])
    assert str(tmp_path / "weights" / "RETFound_mae_natureCFP.pth") in places
    assert str(tmp_path / "hub" / "models--YukunZhou--RETFound_mae_natureCFP" / "snapshots") in places
    for words in ("EMBEDSTORE_WEIGHTS", "--weights", "Hugging Face cache", "accept its terms"):
        assert words in found["remedy"]
    assert (found["accepted"], found["pins"]) == (None, [])
    text = embedstore("encoders", "doctor", "retfound-mae").out
    assert "to agree for a store: embedstore encoders accept retfound-mae" in text
