"""`embedstore plugin new`: a user's own model as an encoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from embedstore.cli.lazy import PlainGroup
from embedstore.cli.shell import Shell, shared_options

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable


@click.group(cls=PlainGroup)
def plugin() -> None:
    """Write a plugin around a model of your own."""


@plugin.command()
@click.argument("name")
@click.option(
    "--in",
    "parent",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=".",
    help="Folder to write it into; the current one by default.",
)
@shared_options
@click.pass_obj
def new(shell: Shell, name: str, parent: Path) -> None:
    """Write an installable encoder plugin called NAME, with its contract tests.

    It passes its tests as written; replace the network, the preprocessing and the licence with yours.
    """
    from embedstore import discovery
    from embedstore.errors import UsageError
    from embedstore.testing.scaffold import write_plugin

    if name in discovery.list_plugins(discovery.ENCODERS):
        raise UsageError(f"an encoder called '{name}' is installed already; choose another name")
    written = write_plugin(name, parent)
    folder = written[0].parent

    def text() -> Iterator[Renderable]:
        yield from (str(path) for path in written)
        yield f"next: cd {folder}, pip install -e ., pytest"

    shell.answer({"name": name, "folder": str(folder), "files": [str(path) for path in written]}, text)
