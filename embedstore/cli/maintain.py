"""`embedstore verify | reindex | migrate`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from embedstore.cli.shell import Shell, store_options

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable


@click.command()
@store_options
@click.pass_obj
def verify(shell: Shell) -> None:
    """Check every checksum of the store, and its log against its indexes.

    Exit status 6 when something is damaged.
    """
    from embedstore.cli.output import table
    from embedstore.errors import StoreDamaged

    with shell.opened() as store:
        findings = store.verify()

    def text() -> Iterator[Renderable]:
        if not findings:
            yield "The store is sound."
            return
        yield table(("what", "detail"), [(one.what, one.detail) for one in findings], widest="detail")
        for one in findings:
            yield f"{one.file}: {one.remedy or 'restore this file from a backup'}"

    shell.answer({"sound": not findings, "findings": [asdict(one) for one in findings]}, text)
    if findings:
        raise click.exceptions.Exit(StoreDamaged.exit_status)


@click.command()
@store_options
@click.pass_obj
def reindex(shell: Shell) -> None:
    """Rebuild the indexes from the stored vectors; answers stay the same."""
    from embedstore.cli.output import short_cell, table

    with shell.opened() as store, shell.progress() as bar:
        rebuilt = [dict(one) for one in store.reindex(bar)]

    def text() -> Iterator[Renderable]:
        if not rebuilt:
            yield "Nothing to index yet."
            return
        columns = tuple(rebuilt[0])
        yield table(columns, [tuple(short_cell(one.get(name)) for name in columns) for one in rebuilt])

    shell.answer({"indexes": rebuilt}, text)


@click.command()
@store_options
@click.pass_obj
def migrate(shell: Shell) -> None:
    """Bring an older store to this version's schema. Make a copy of the folder first."""
    from embedstore.engine.store import migrate as upgrade

    old, new = upgrade(shell.store)

    def text() -> Iterator[Renderable]:
        yield (
            f"The schema is {new}; nothing to do." if old == new else f"Schema {old or 'none'} became {new}."
        )

    shell.answer({"store": shell.store, "from": old, "to": new}, text)
