"""`embedstore demo`: what it does to folders, and what it prints."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from embedstore.demo.story import Chapter, Story
from embedstore.pages.records import Interval
from tests.cli.conftest import Ran

BACKING = {"level": 0.95, "n_images": 148, "n_patients": 90, "n_positives": 30, "method": "drawn patients"}
NUMBER = Interval(value=0.854, low=0.79, high=0.91, **BACKING)
STORY = Story(
    page="story.html",
    store="store",
    cohort="cohort",
    seconds=3.0,
    chapters=(
        Chapter(
            title="Zero-shot",
            text="What it is.\nWhat the table shows.",
            columns=(
                "finding",
                "AUROC",
                "pixel baseline: AUROC",
                "balanced accuracy",
                "called present",
                "n",
                "method",
            ),
            rows=(("effusion", NUMBER, NUMBER, NUMBER, 20, 148, "drawn patients"),),
        ),
        Chapter(title="Caption of a second table", text="", columns=("a", "b"), rows=((1, "\x1b[2J"),)),
        Chapter(title="Kept", text="All of it.", columns=(), rows=()),
    ),
)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders in which the story was told; it leaves a file there."""
    folders: list[Path] = []

    def tell(folder: Path, progress: Callable[[str, int, int | None], None]) -> Story:
        progress("drawing", 1, 2)
        folders.append(folder)
        (folder / f"told-{len(folders)}").touch()
        return STORY

    module = ModuleType("embedstore.demo.story")
    module.tell = tell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "embedstore.demo.story", module)
    return folders


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_a_second_demo_starts_afresh_unless_told_to_keep(
    told: list[Path], embedstore: Callable[..., Ran], tmp_path: Path
) -> None:
    folder = tmp_path / "demo"
    assert embedstore("demo", "--folder", folder).status == 0
    assert _names(folder) == {"told-1"}
    assert embedstore("demo", "--folder", folder).status == 0
    assert _names(folder) == {"told-2"}
    assert embedstore("demo", "--folder", folder, "--keep").status == 0
    assert _names(folder) == {"told-2", "told-3"}


def test_files_that_no_demo_made_are_left_alone(
    told: list[Path], embedstore: Callable[..., Ran], tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    ran = embedstore("demo", "--folder", tmp_path)
    assert ran.status == 2
    assert "--folder" in ran.err
    assert _names(tmp_path) == {"thesis.tex"}
    assert told == []


def test_no_number_loses_its_interval(
    told: list[Path], embedstore: Callable[..., Ran], tmp_path: Path, golden: Callable[..., None]
) -> None:
    ran = embedstore("demo", "--folder", tmp_path / "demo")
    assert ran.out.count("0.854 [0.790, 0.910]") == 3
    assert ran.out.count("Intervals: drawn patients.") == 1
    assert "\x1b" not in ran.out
    assert all(len(line) <= 100 for line in ran.out.splitlines())
    golden(ran.out, file="demo.txt")


def test_demo_json(told: list[Path], embedstore: Callable[..., Ran], tmp_path: Path) -> None:
    document = embedstore("demo", "--folder", tmp_path / "demo", "--json").json
    assert document["page"] == "story.html"
    assert document["chapters"][0]["rows"][0][1] == {
        "value": 0.854, "low": 0.79, "high": 0.91, **BACKING,
    }  # fmt: skip
