"""`embedstore inspect`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedstore.cli.cuts import cut_of, cut_options
from embedstore.cli.shell import Shell, encoder_option, shared_options

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable
    from embedstore.engine.inspect import Inspection, InspectRequest
    from embedstore.engine.inspect_many import FolderCard

_MOST = 20_000
_SHOWN = 10


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="FILE...")
@cut_options
@encoder_option("Whose preprocessing is shown; 'starter' when it is installed.")
@click.option(
    "--profile",
    metavar="NAME",
    default="default",
    show_default=True,
    help="Preprocessing profile of the encoder.",
)
@click.option("--part", metavar="PART", help="Which item of the file is shown; the middle one by default.")
@click.option(
    "--png", type=click.Path(path_type=Path), metavar="OUT", help="Write the picture to a PNG file."
)
@click.option("--ascii", "shades", is_flag=True, help="Show the picture as ASCII shades.")
@click.option("--all", "every_one", is_flag=True, help="List all further attributes.")
@click.option(
    "--no-identifiers", is_flag=True, help="Leave out what may tell who it is: for a bug report, say."
)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1),
    default=_MOST,
    show_default=True,
    help="Files that are looked at in a folder or archive.",
)
@shared_options
@click.pass_obj
def inspect(shell: Shell, /, paths: tuple[str, ...], **options: Any) -> None:
    """Show what a file is, what would be embedded, how it looks.

    No store is needed and nothing is kept. A folder, zip archive or DICOMDIR is summed up by kind. The
    picture is what the reader hands over; beside it stands what the encoder gets after its preprocessing.
    """
    _check(paths, options)
    from embedstore.engine.inspect import InspectRequest

    request = InspectRequest(
        cut=cut_of(options),
        encoder=options["encoder"],
        profile=options["profile"],
        part=options["part"],
    )
    found: list[Inspection | FolderCard] = []
    failures: list[str] = []
    for path in paths:
        _look(shell, path, request, options["limit"], found, failures)
    if options["png"] is not None:
        _write_png(options["png"], found)
    if found:
        _answer(shell, found, failures, options)
    _end(found, failures, len(paths))


def _check(paths: tuple[str, ...], options: dict[str, Any]) -> None:
    png = options["png"]
    if png is not None and not png.absolute().parent.is_dir():
        raise click.UsageError(f"the folder of --png '{png}' does not exist")
    for name in ("png", "part"):
        if options[name] is not None and len(paths) > 1:
            raise click.UsageError(f"--{name} is about one file; name one")


def _look(
    shell: Shell,
    path: str,
    request: InspectRequest,
    most: int,
    found: list[Inspection | FolderCard],
    failures: list[str],
) -> None:
    from embedstore.engine.inspect import inspect_path
    from embedstore.errors import ReadFailure

    try:
        with shell.progress() as bar:
            found.append(inspect_path(path, request, most, bar))
    except ReadFailure as failure:
        failures.append(f"{path}: {failure.reason}")


def _answer(
    shell: Shell, found: list[Inspection | FolderCard], failures: list[str], options: dict[str, Any]
) -> None:
    from embedstore.cli.inspect_text import card_json, card_text, folder_json, folder_text
    from embedstore.engine.inspect import Inspection

    private = options["no_identifiers"]
    document = {
        "files": [card_json(one.card, private) for one in found if isinstance(one, Inspection)],
        "folders": [folder_json(one, private) for one in found if not isinstance(one, Inspection)],
        "failures": failures,
    }

    def text() -> Iterator[Renderable]:
        for number, one in enumerate(found):
            if number:
                yield ""
            if isinstance(one, Inspection):
                yield from card_text(one.card, every_one=options["every_one"], private=private)
                yield from _picture(one, shades=options["shades"])
            else:
                yield from folder_text(one, private)
        if options["png"] is not None:
            yield f"Picture: {options['png']}"

    shell.answer(document, text)


def _picture(inspection: Inspection, *, shades: bool) -> Iterator[Renderable]:
    from embedstore.cli.preview import ascii_shades, can_show, half_blocks, width_for

    if inspection.shown is None:
        return
    if shades:
        yield ""
        yield from ascii_shades(inspection.shown, width_for(1))
    elif can_show():
        pictures = [one for one in (inspection.shown, inspection.encoded) if one is not None]
        yield half_blocks(pictures, width_for(len(pictures)))


def _write_png(path: Path, found: list[Inspection | FolderCard]) -> None:
    from embedstore.engine.inspect import Inspection
    from embedstore.pages.picture import side_by_side

    if not found:
        return
    one = found[0]
    if not isinstance(one, Inspection) or one.shown is None:
        raise click.UsageError("there is no picture to write with --png; name one image file")
    pictures = [("as the reader shows it", one.shown)]
    if one.encoded is not None and one.card.recipe is not None:
        pictures.append((f"as {one.card.recipe.encoder} gets it", one.encoded))
    path.write_bytes(side_by_side(pictures))


def _end(found: list[Inspection | FolderCard], failures: list[str], asked: int) -> None:
    """One line and the exit status of a read failure when anything asked for could not be read."""
    from embedstore.engine.inspect import Inspection
    from embedstore.errors import ReadFailure

    failed = failures + [
        f"{one.card.path}: {one.card.failure}"
        for one in found
        if isinstance(one, Inspection) and one.card.failure
    ]
    if len(failed) == 1:
        raise ReadFailure(failed[0])
    if failed:
        raise ReadFailure(f"{len(failed)} of {asked} files cannot be read; the first: {failed[0]}")
