"""`embedstore`: the entry point. It imports click and nothing heavier; commands are imported when run."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import click

from embedstore import __version__
from embedstore.cli.failures import OUTPUT_CLOSED, Failure, Terminated, explain
from embedstore.cli.lazy import LazyGroup
from embedstore.cli.shell import Shell
from embedstore.cli.table import COMMANDS
from embedstore.settings import Settings, at_home

_EPILOG = "For research; not a medical device. 'embedstore COMMAND --help' says what a command takes."


@click.group(
    cls=LazyGroup,
    entries=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
@click.option(
    "--store", type=click.Path(path_type=Path), help="Store folder (EMBEDSTORE_STORE, ./embedstore-data)."
)
@click.option("--debug", is_flag=True, help="Show tracebacks and the warnings of libraries.")
@click.version_option(__version__, prog_name="embedstore")
@click.pass_context
def cli(ctx: click.Context, store: Path | None, debug: bool) -> None:
    """Embed medical images, and ask: similar cases, text search, weak labels, heads."""
    ctx.obj = Shell(store=at_home(store) if store else Settings.from_environment().store, debug=debug)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status; errors become one line on stderr."""
    debug = "--debug" in arguments
    try:
        with cli.make_context("embedstore", list(arguments)) as context:
            cli.invoke(context)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except BaseException as error:
        if debug and not isinstance(error, click.ClickException):
            traceback.print_exc()
        return _report(explain(error))
    return 0


def _report(failure: Failure) -> int:
    if failure.line:
        from embedstore.pages.text import terminal_safe

        print(f"embedstore: {terminal_safe(' '.join(failure.line.split()))}", file=sys.stderr)  # noqa: T201
    return failure.status


def _quiet_libraries(debug: bool) -> None:
    """Warnings and log lines of libraries tell a user nothing they could act on; --debug shows them."""
    import logging
    import warnings

    if debug:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr)
        warnings.simplefilter("default")
    elif not sys.warnoptions:
        logging.getLogger().addHandler(logging.NullHandler())
        warnings.simplefilter("ignore")


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def main() -> None:
    """The console script."""
    if "_EMBEDSTORE_COMPLETE" in os.environ:
        cli.main(prog_name="embedstore")
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a path in another encoding must not stop the output
            stream.reconfigure(errors="backslashreplace")
    _quiet_libraries("--debug" in sys.argv)
    status = run(sys.argv[1:])
    if status == OUTPUT_CLOSED:  # or the interpreter complains of it once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)
