"""`embedstore init`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from embedstore.cli.shell import Shell, store_options


@click.command()
@click.option(
    "--db", metavar="URL", help="Database; SQLite inside the folder unless a PostgreSQL URL is given."
)
@click.option("--deidentified", is_flag=True, help="Take only what passes a privacy profile under a key.")
@store_options
@click.pass_obj
def init(shell: Shell, db: str | None, deidentified: bool) -> None:
    """Create a store.

    The folder holds the vectors, the indexes and, unless --db names a PostgreSQL database, the catalog.
    """
    from embedstore.engine.store import Store

    with Store.create(shell.store, db, deidentified) as store:
        path = store.path

    def text() -> Iterator[str]:
        yield f"Created a store in {path}."
        if db:
            yield "The database's URL is kept without its password: set PGPASSWORD, or write ~/.pgpass."
        if deidentified:
            yield "It takes only de-identified items. Next: embedstore privacy key FILE, then"
            yield "      embedstore ingest PATH... --deidentify basic --key FILE"
        else:
            yield "Next: embedstore ingest PATH..."

    shell.answer({"store": path, "created": True, "deidentified": deidentified}, text)
