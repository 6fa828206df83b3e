"""`embedstore init`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from embedstore.cli.shell import Shell, store_options


@click.command()
@click.option(
    "--db", metavar="URL", help="Database; SQLite inside the folder unless a PostgreSQL URL is given."
)
@store_options
@click.pass_obj
def init(shell: Shell, db: str | None) -> None:
    """Create a store.

    The folder holds the vectors, the indexes and, unless --db names a PostgreSQL database, the catalog.
    """
    from embedstore.engine.store import Store

    with Store.create(shell.store, db) as store:
        path = store.path

    def text() -> Iterator[str]:
        yield f"Created a store in {path}."
        yield "Next: embedstore ingest PATH..."

    shell.answer({"store": path, "created": True}, text)
