"""`embedstore privacy`: the key behind pseudonyms, and what only its holder can tell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from embedstore.cli.lazy import PlainGroup
from embedstore.cli.shell import Shell, input_file, shared_options, store_options

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable


@click.group(cls=PlainGroup)
def privacy() -> None:
    """Keys and pseudonyms of de-identified stores."""


@privacy.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@shared_options
@click.pass_obj
def key(shell: Shell, file: Path) -> None:
    """Make a new key file, readable by its owner only.

    Keep it apart from the store and back it up: without it nobody can tell which file an item came from, and
    with it anybody can.
    """
    from embedstore.privacy.key import Key

    made = Key.create(file)

    def text() -> Iterator[Renderable]:
        yield f"Made {file}. Keep it apart from the store, and back it up."
        yield f"Next: embedstore ingest PATH... --deidentify basic --key {file}"

    shell.answer({"key": file, "fingerprint": made.fingerprint}, text)


@privacy.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="PATH...")
@click.option(
    "--key", "key_file", required=True, type=input_file(), help="The key the store was filled with."
)
@click.option("--patient", multiple=True, metavar="ID", help="Show the pseudonym of a PatientID as well.")
@click.option(
    "--issuer", default="", metavar="NAME", help="Issuer of those PatientIDs, where headers name one."
)
@store_options
@click.pass_obj
def resolve(
    shell: Shell, paths: tuple[Path, ...], key_file: Path, patient: tuple[str, ...], issuer: str
) -> None:
    """Show the names under which a store knows your files and patients.

    Names are keyed hashes and cannot be reversed: they are computed again from the PATHs given, which must be
    where they were when they were ingested.
    """
    if not paths and not patient:
        raise click.UsageError("give the PATHs that were ingested, or --patient ID")
    with shell.opened() as store:
        found = store.resolve(paths, key_file)
        persons = {number: store.pseudonym(number, issuer, key_file) for number in patient}
    rows = [{"path": row.path, "name": row.name, "known": row.known} for row in found]

    def text() -> Iterator[Renderable]:
        from embedstore.cli.output import table

        if persons:
            yield table(("patient", "pseudonym"), list(persons.items()))
        if rows:
            shown = [(row.name, "yes" if row.known else "no", row.path) for row in found]
            yield table(("name", "in the store", "path"), shown, widest="path")
        elif paths:
            yield "no file is under these paths"

    shell.answer({"rows": rows, "patients": persons}, text)
