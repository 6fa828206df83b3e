"""Licences are agreed to once per store; weights are known by their sha256, and changed ones are noticed."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from embedstore import discovery
from embedstore.contracts.encoder import EncoderSpec, LoadRequest, Terms, WeightsReport, bind
from embedstore.encoders import reference
from embedstore.engine.requests import EncoderChoice, IngestRequest
from embedstore.engine.store import Store
from embedstore.errors import Refused
from embedstore.fingerprint import file_sha256
from tests.cli.conftest import embedstore as embedstore
from tests.engine.conftest import draw_image


@dataclass(frozen=True)
class GatedFactory:
    """The reference encoder with a file for weights, and terms."""

    def spec(self, name: str, profile: str = "default") -> EncoderSpec:
        terms = Terms(licence="CC BY-NC 4.0", where="example.org/terms", forbids="commercial use", gated=True)
        return replace(reference.factory.spec("reference", profile), name="gated", terms=terms)

    def doctor(self, name: str, request: LoadRequest) -> WeightsReport:
        folder = request.weights_folder
        assert folder is not None
        return WeightsReport(state="present", path=str(folder / "gated.bin"))

    def load(self, name: str, request: LoadRequest) -> reference.ReferenceEncoder:
        path = request.weights or Path(self.doctor(name, request).path or "")
        encoder = reference.ReferenceEncoder(self.spec(name, request.profile))
        encoder.spec = bind(self.spec(name), file_sha256(path), {"image": 64, "text": 64})
        return encoder


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """`gated` is installed, and this is the file it finds by itself."""
    find = discovery.find_plugin

    class Plugin:
        def load(self) -> GatedFactory:
            return GatedFactory()

    monkeypatch.setattr(
        discovery, "find_plugin", lambda group, name: Plugin() if name == "gated" else find(group, name)
    )
    monkeypatch.setenv("EMBEDSTORE_WEIGHTS", str(tmp_path))
    path = tmp_path / "gated.bin"
    path.write_bytes(b"first")
    return path


def _ingest(folder: Path, image: Path, given: Path | None = None):
    choice = EncoderChoice(name="gated", weights=given)
    with Store.open(folder) as store:
        return store.ingest(IngestRequest(paths=(image,), encoder=choice))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Store.create(tmp_path / "store").close()
    return tmp_path / "store"


def test_terms_are_agreed_to_once_before_the_first_ingest(weights, folder, tmp_path):
    image = draw_image(tmp_path / "a.png", 1)
    with pytest.raises(
        Refused, match=r"CC BY-NC 4.0, no commercial use \(example.org/terms\).*accept gated'"
    ):
        _ingest(folder, image)
    with Store.open(folder) as store:
        assert store.status().images == 0
        assert store.agreements.accepted("gated") is None
        agreed = store.agreements.accept("gated", "Ada")
    assert (agreed.by, agreed.licence, agreed.where) == ("Ada", "CC BY-NC 4.0", "example.org/terms")
    assert _ingest(folder, image).added == 1
    with Store.open(folder) as store:
        assert store.agreements.accepted("gated") == agreed
        (pin,) = store.agreements.pins("gated")
    assert (pin.place, pin.sha256) == (str(weights), file_sha256(weights))


def test_a_file_that_changed_in_its_place_is_refused_until_agreed_to(weights, folder, tmp_path):
    with Store.open(folder) as store:
        store.agreements.accept("gated", "Ada")
    assert _ingest(folder, draw_image(tmp_path / "a.png", 1)).notes == ()
    weights.write_bytes(b"second")
    with pytest.raises(
        Refused, match=r"gated.bin is not what this store first loaded.*accept gated'"
    ) as error:
        _ingest(folder, draw_image(tmp_path / "b.png", 2))
    assert "\n" not in str(error.value)
    with Store.open(folder) as store:
        assert store.status().images == 1
        store.agreements.accept("gated", "Ada")
    report = _ingest(folder, draw_image(tmp_path / "b.png", 2))
    assert report.added == 1
    assert "a space of their own" in report.notes[0]


def test_other_bytes_elsewhere_are_another_space_and_that_is_said(weights, folder, tmp_path):
    with Store.open(folder) as store:
        store.agreements.accept("gated", "Ada")
    _ingest(folder, draw_image(tmp_path / "a.png", 1))
    other, copy = tmp_path / "other.bin", tmp_path / "copy.bin"
    other.write_bytes(b"second")
    copy.write_bytes(b"first")
    assert _ingest(folder, draw_image(tmp_path / "b.png", 2), copy).notes == ()
    (note,) = _ingest(folder, draw_image(tmp_path / "c.png", 3), other).notes
    assert "other.bin holds other weights of 'gated'" in note
    with Store.open(folder) as store:
        held = [space["vectors"] for space in store.status().spaces if "image" in space["kinds"]]
        assert sorted(held) == [1, 2]


def test_encoders_without_terms_ask_for_nothing(folder, tmp_path):
    with Store.open(folder) as store:
        choice = EncoderChoice(name="reference")
        request = IngestRequest(
            paths=(draw_image(tmp_path / "a.png", 1),), encoder=choice, text_encoder=choice
        )
        assert store.ingest(request).added == 1
        assert store.agreements.pins("reference") == ()  # it is computed, there is no file


def test_the_command_line_agrees_and_doctor_tells(weights, folder, tmp_path, embedstore):
    ran = embedstore("encoders", "accept", "gated", "--by", "Ada", "--store", folder, "--json")
    assert set(ran.json) == {"encoder", "licence", "where", "by", "when"}
    _ingest(folder, draw_image(tmp_path / "a.png", 1))
    told = json.loads(embedstore("encoders", "doctor", "gated", "--store", folder, "--json").out)["encoders"][
        0
    ]
    assert told["accepted"]["by"] == "Ada"
    assert told["pins"][0]["sha256"] == file_sha256(weights)
    text = embedstore("encoders", "doctor", "gated", "--store", folder).out
    assert "Ada agreed to CC BY-NC 4.0" in text
    assert file_sha256(weights) in text
    before = embedstore("encoders", "doctor", "gated", "--store", tmp_path / "none").out
    assert "to agree for a store: embedstore encoders accept gated" in before
