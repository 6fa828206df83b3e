"""`embedstore demo`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedstore.cli.shell import Shell, shared_options
from embedstore.errors import UsageError

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable
    from embedstore.demo.story import Chapter, Story
    from embedstore.pages.records import Row

_MARKER = ".embedstore-demo"
_METHOD = "method"


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-store"),
    show_default=True,
    help="Where the demo keeps its images, its store and its page.",
)
@click.option("--keep", is_flag=True, help="Go on with what an earlier demo left there.")
@shared_options
@click.pass_obj
def demo(shell: Shell, folder: Path, keep: bool) -> None:
    """The whole story on images that need no download: ingest, search, labels, a head, one page.

    Real images come from installed packages; the cohort of chest-film-like phantoms is synthetic.
    """
    _prepare(folder, keep)
    from embedstore.demo.story import tell

    with shell.progress() as bar:
        story = tell(folder, bar)
    shell.answer(asdict(story), lambda: _text(story))


def _prepare(folder: Path, keep: bool) -> None:
    """An empty folder, or one that an earlier demo made; anything else is left alone."""
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / _MARKER).is_file():
            raise UsageError(f"'{folder}' holds files that no demo made; choose another with --folder")
        if keep:
            return
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARKER).write_text("made by 'embedstore demo', which replaces it when run again\n")


def _text(story: Story) -> Iterator[Renderable]:
    from embedstore.cli.output import tables

    for number, chapter in enumerate(story.chapters):
        if number:
            yield ""
        if chapter.title:
            yield chapter.title.upper() if chapter.text else chapter.title
        yield from chapter.text.splitlines()
        if chapter.rows:
            columns, kept, methods = _without_method(chapter)
            yield from tables(columns, [tuple(_shown(value) for value in row) for row in kept])
            yield from (f"Intervals: {method}." for method in methods)
    yield ""
    yield f"Told in {story.seconds:.0f} s. The page with pictures of all of it: {story.page}"
    yield f"The store to go on with: embedstore --store {story.store} status"


def _without_method(chapter: Chapter) -> tuple[Sequence[str], Sequence[Row], Sequence[str]]:
    """A table whose numbers were all made alike says so once, below it."""
    at = chapter.columns.index(_METHOD) if _METHOD in chapter.columns else None
    methods = [] if at is None else list(dict.fromkeys(str(row[at]) for row in chapter.rows))
    if at is None or len(methods) > 1:
        return chapter.columns, chapter.rows, ()
    rows = [(*row[:at], *row[at + 1 :]) for row in chapter.rows]
    return (*chapter.columns[:at], *chapter.columns[at + 1 :]), rows, methods


def _shown(value: Any) -> Any:
    """Numbers with an interval as text, like everywhere else."""
    from embedstore.cli.output import estimate

    return estimate(asdict(value)) if is_dataclass(value) and not isinstance(value, type) else value
