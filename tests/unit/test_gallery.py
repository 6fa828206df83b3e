"""The gallery page: what may be shown, and that the page in the repository is self-contained."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import pytest

from tests.conftest import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGE = DOCS / "gallery.html"


@pytest.fixture(scope="module")
def gallery() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gallery", DOCS / "gallery.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        import sys

        patch.setitem(sys.modules, "gallery", module)
        spec.loader.exec_module(module)
        yield module


@pytest.mark.parametrize(
    ("licence", "noncommercial", "allowed"),
    [
        ("CC0 1.0 (OpenSlide test data)", "N", True),
        ("CC BY 4.0", "N", True),
        ("CC BY (version not stated)", "N", True),
        ("MIT", "N", True),
        ("MIT (nibabel COPYING)", "N", True),
        ("BSD-2-Clause", "N", True),
        ("CC BY-SA (version not stated)", "N", False),
        ("CC BY-NC-SA 4.0", "Y", False),
        ("CC BY-NC-ND 4.0 (verbatim only)", "Y", False),
        ("CC BY-NC 4.0", "N", False),
        ("CC BY 4.0", "Y", False),
        ("proprietary", "N", False),
        ("", "N", False),
    ],
)
def test_what_may_be_passed_on(gallery: ModuleType, licence: str, noncommercial: str, allowed: bool) -> None:
    assert gallery.permits(licence, noncommercial) is allowed


def test_the_page_is_small_self_contained_and_credits_each_picture() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(text) < 1_500_000
    assert "<script" not in text
    assert not re.search(r'(?:src|href)="(?!data:image/jpeg;base64,)', text)
    sections = text.split("<section>")[1:]
    assert len(sections) >= 20
    for section in sections:
        source = re.search(r"<dt>Source</dt><dd>([^<]+)</dd>", section)
        assert source is not None, section[:200]
        free = re.search(r"· (CC0|CC BY [\d(]|MIT|BSD|Apache)|drawn for this page", source[1])
        assert free or "<img" not in section
        assert "<img" in section or "No picture: its licence" in section


def test_phantoms_are_read_as_what_they_are_drawn_as(gallery: ModuleType, tmp_path) -> None:
    from embedstore.engine.inspect import InspectRequest, inspect_path

    units = {"mammogram": "image", "pet": "slice", "angiogram": "frame", "oct": None, "nifti-ct": "slice"}
    for name, (file, draw) in gallery.PHANTOMS.items():
        if name == "nifti-ct":
            pytest.importorskip("nibabel")
        draw(tmp_path / file)
        card = inspect_path(str(tmp_path / file), InspectRequest(encoder="reference"), 1).card
        assert not card.failure
        assert units[name] in (None, card.unit)
        assert card.recipe is not None
        assert not card.recipe.refusal
