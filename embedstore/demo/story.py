"""`embedstore demo`: the whole story, told on a synthetic cohort and on real images of installed packages."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from embedstore import __version__
from embedstore.demo.classifying import PROMPTS, VOTERS, weak_labels, zero_shot
from embedstore.demo.cohort import Cohort, build_cohort, find_cohort
from embedstore.demo.gather import gather
from embedstore.demo.heads import linear_heads
from embedstore.demo.ingesting import ingest, what_went_in
from embedstore.demo.searching import learn_bridge, similar_cases, text_search
from embedstore.demo.stage import Films, Stage, load_films
from embedstore.engine.requests import IngestReport, Progress, Status
from embedstore.engine.store import Store
from embedstore.pages.records import Row, Section, StoryRecord, Table
from embedstore.pages.story import story_page

_PLACEHOLDER = "SYN-B-0060"
BANNER = (
    "The chest films on this page are SYNTHETIC phantoms drawn by a computer, with invented names, dates "
    "and reports. No number here says anything about performance on patients. Not for diagnosis."
)
_GLOSSARY = (
    (
        "AUROC",
        "How often a film with the finding is scored above one without it: 0.5 is chance, 1 is perfect "
        "order.",
    ),
    (
        "95 % interval",
        "In brackets: the middle 95 % of the number when whole patients are drawn again and again with "
        "replacement, so that two films of one patient do not count as two independent ones.",
    ),
    (
        "Pixel baseline",
        "A logistic regression on the mean, the spread and the histogram of a film's grey values, fitted "
        "to the true labels of site A. What it reaches needs no encoder.",
    ),
    (
        "Shuffled labels",
        "The same fit after the labels were dealt out among patients at random, 20 times: the mean, and in "
        "brackets where 95 % of the shuffles lie. So far luck alone carries on these very films.",
    ),
    (
        "P@10",
        "Share of the first ten answers that have the finding. Chance is the share among all that could "
        "answer.",
    ),
    ("R@10", "How often a report of a held-out patient finds its own film among the first ten."),
    (
        "Balanced accuracy",
        "Mean of the shares of positives and of negatives that are called right; chance is 0.5.",
    ),
    ("Brier", "Mean squared difference between probability and outcome: smaller is better."),
    (
        "Calibration",
        "Of the films given a probability of 0.7, about 70 % should have the finding: dots on the "
        "diagonal. Dots below it: the head promises too much.",
    ),
    (
        "Bridge",
        "A map learned from pairs of films and reports that lets text find images although neither "
        "encoder knows the other. Its pairs are recorded; patients who taught it are not scored with it.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """A table of the story for a terminal."""

    title: str
    text: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What the demo did. page: the HTML page; store: a store to go on with."""

    page: str
    store: str
    cohort: str
    seconds: float
    chapters: tuple[Chapter, ...]


def tell(folder: Path, progress: Progress, patients: int = 400) -> Story:
    """Draw, gather, ingest, search, label, classify; write `story.html` into `folder`.

    An interrupted or repeated run in the same folder goes on where it stopped.
    """
    started = time.monotonic()
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    cohort = _cohort(folder / "cohort", patients, progress)
    with _open(folder / "store") as store:
        stage = Stage(folder, store, cohort, gather(), progress)
        _lay_out(stage)
        came = ingest(stage)
        films = load_films(store, progress)
        sections = _sections(stage, films, came)
        status = store.status()
    seconds = time.monotonic() - started
    page = folder / "story.html"
    page.write_text(story_page(_record(sections, status, cohort, seconds)), encoding="utf-8")
    return Story(
        page=str(page),
        store=str(folder / "store"),
        cohort=str(cohort.folder),
        seconds=round(seconds, 1),
        chapters=(
            Chapter(title="Read this first", text=BANNER, columns=(), rows=()),
            *(chapter for section in sections for chapter in _chapters(section)),
        ),
    )


def _cohort(folder: Path, patients: int, progress: Progress) -> Cohort:
    return find_cohort(folder, patients=patients) or build_cohort(
        folder,
        patients=patients,
        progress=lambda done, all_: progress("drawing the synthetic cohort", done, all_),
    )


def _lay_out(stage: Stage) -> None:
    """Put the prompts and the voters beside the store, for the reader to use and change."""
    for name in (PROMPTS, VOTERS):
        text = (files("embedstore.demo") / name).read_text("utf-8")
        (stage.folder / name).write_text(text.replace(_PLACEHOLDER, stage.last_labelled), "utf-8")


def _open(path: Path) -> Store:
    return Store.open(path) if (path / "store.json").is_file() else Store.create(path)


def _sections(stage: Stage, films: Films, came: Mapping[str, IngestReport]) -> tuple[Section, ...]:
    first = what_went_in(stage, films, came)
    similar = similar_cases(stage, films)
    bridge = learn_bridge(stage)
    texts = text_search(stage, films, bridge)
    labels = zero_shot(stage, films, bridge)
    heads = linear_heads(stage, films)
    weak = weak_labels(stage, films)
    return first, similar, texts, labels, heads, weak, _kept(stage)


def _kept(stage: Stage) -> Section:
    stage.progress("verifying the store", 0, None)
    found = stage.store.verify()
    rows = tuple((finding.what, finding.file, finding.detail) for finding in found)
    clean = "Every block, index and array matches its checksum." if not rows else "Something does not match."
    return Section(
        title="What is kept",
        lead=f"{clean} Vectors and SQL rows are the truth; the index can be deleted and comes back.",
        command="embedstore verify",
        tables=(Table(columns=("found", "file", "detail"), rows=rows),) if rows else (),
    )


def _record(sections: tuple[Section, ...], status: Status, cohort: Cohort, seconds: float) -> StoryRecord:
    return StoryRecord(
        title="embedstore: the whole story",
        subtitle=(
            "Images and reports in; similar cases, text search, labels and a classifier out. "
            f"{cohort.n_images} synthetic chest films of {cohort.n_patients} invented patients at two "
            "sites, and real images that installed packages carry."
        ),
        banner=BANNER,
        facts=(
            (f"{status.images:,}", "images in the store"),
            (f"{status.reports:,}", "reports in the store"),
            (f"{status.patients:,}", "patients known by identifier"),
            (f"{status.failures:,}", "files recorded as failures"),
            (f"{status.bytes_on_disk / 1e6:.1f} MB", "size of the store"),
            (f"{seconds:.0f} s", "for all of it"),
        ),
        sections=sections,
        glossary=_GLOSSARY,
        made=f"Made by embedstore {__version__} with seed {cohort.seed}. Not for diagnosis.",
    )


def _chapters(section: Section) -> list[Chapter]:
    """A chapter per table; the lead stands before the first."""
    if not section.tables:
        return [Chapter(title=section.title, text=section.lead, columns=(), rows=())]
    return [
        Chapter(
            title=section.title if number == 0 else table.caption,
            text="\n".join(filter(None, (section.lead, table.caption))) if number == 0 else "",
            columns=table.columns,
            rows=table.rows,
        )
        for number, table in enumerate(section.tables)
    ]
