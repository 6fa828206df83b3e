"""What every command is given: which store, whether JSON is wanted; and the options all commands share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from embedstore.settings import DEFAULT_STORE, at_home

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable
    from embedstore.engine.requests import Progress
    from embedstore.engine.store import Store

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Shell:
    """One command's surroundings."""

    store: Path = DEFAULT_STORE
    json: bool = False
    debug: bool = False

    @contextmanager
    def opened(self) -> Iterator[Store]:
        """The store, opened for the duration of the command."""
        from embedstore.engine.store import Store

        with Store.open(self.store) as store:
            yield store

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A progress bar on stderr: only on a terminal, only after two seconds."""
        from embedstore.cli.progress import Bar
        from embedstore.engine.requests import silent

        with Bar() as bar:
            yield bar if bar.visible else silent

    def warn(self, text: str) -> None:
        """One line on stderr, whatever goes to stdout."""
        from embedstore.pages.text import terminal_safe

        click.echo(f"embedstore: warning: {terminal_safe(' '.join(text.split()))}", err=True)

    def answer(self, document: Mapping[str, Any], text: Callable[[], Iterator[Renderable]]) -> None:
        """Print the one JSON document, or the text a person reads."""
        from embedstore.cli import output

        if self.json:
            output.print_json(document)
        else:
            output.print_text(text())


def _set(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value:
            value = at_home(value) if isinstance(value, Path) else value
            ctx.obj = replace(ctx.obj or Shell(), **{name: value})

    return callback


def shared_options(function: Function) -> Function:
    """--json and --debug, for commands that need no store."""
    for option in (
        click.option("--debug", is_flag=True, expose_value=False, callback=_set("debug"), hidden=True),
        click.option(
            "--json",
            is_flag=True,
            expose_value=False,
            callback=_set("json"),
            help="Print one JSON document.",
        ),
    ):
        function = option(function)
    return function


def store_options(function: Function) -> Function:
    """--store as well: it may stand before or after the command's name."""
    option = click.option(
        "--store",
        type=click.Path(path_type=Path),
        expose_value=False,
        callback=_set("store"),
        help="Store folder (EMBEDSTORE_STORE, ./embedstore-data).",
    )
    return shared_options(option(function))


def where_option(text: str) -> Callable[[Function], Function]:
    """--where with what it selects."""
    return click.option("--where", metavar="EXPR", help=text)


def force_option(function: Function) -> Function:
    """--force, for a command that hands its OUT to `new_file`."""
    return click.option("--force", is_flag=True, help="Write over a file that is there.")(function)


def new_file(*files: Path, force: bool) -> None:
    """Refuse to write over what a person may have worked on since. Raises click.UsageError."""
    there = next((file for file in files if os.path.lexists(file)), None)
    if there is not None and not force:
        raise click.UsageError(f"{there} is there already; name another file, or --force to write over it")


def encoder_option(text: str) -> Callable[[Function], Function]:
    """--encoder with what it is for."""
    return click.option("--encoder", metavar="NAME", help=text)


def input_file() -> click.Path:
    """The type of an option that names a file the user hands over."""
    return click.Path(path_type=Path, exists=True, dir_okay=False, readable=True)
