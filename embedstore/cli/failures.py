"""Every way a command may end badly, as one line on stderr and an exit status.

Errors meant for a person carry their own status (see `embedstore.errors`). Besides those: 2 for a command
line that makes no sense, 130 for Ctrl-C, 143 for a polite kill, 141 when the reader of stdout went away,
1 for anything unexpected. Only the kind and place of an unexpected error are shown: its message could
quote a file.
"""

from __future__ import annotations

import errno
import os
import traceback
from dataclasses import dataclass

import click

from embedstore.errors import EmbedstoreError, StorageFull

INTERRUPTED = 130
OUTPUT_CLOSED = 141
TERMINATED = 143


class OutputClosed(Exception):
    """Whoever read our stdout went away (`embedstore ... | head`)."""


class Terminated(BaseException):
    """SIGTERM; not an Exception so that no worker's `except` swallows it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """line: what the person reads, "" for nothing. status: what the shell sees."""

    line: str
    status: int


def explain(error: BaseException) -> Failure:
    """The line and exit status of anything that was raised."""
    if isinstance(error, EmbedstoreError):
        return Failure(str(error), error.exit_status)
    if isinstance(error, click.ClickException):
        return _from_click(error)
    if isinstance(error, OutputClosed):
        return Failure("", OUTPUT_CLOSED)
    if isinstance(error, KeyboardInterrupt | EOFError | click.Abort):
        return Failure(
            "interrupted; the store is intact and keeps what was finished: run the same command to go on",
            INTERRUPTED,
        )
    if isinstance(error, Terminated):
        return Failure("stopped by a signal; the store is intact: run the same command to go on", TERMINATED)
    if isinstance(error, MemoryError):
        return Failure("not enough memory; fewer workers or a smaller selection need less", 1)
    if isinstance(error, OSError):
        return _from_system(error)
    return Failure(_unexpected(error), 1)


def _from_click(error: click.ClickException) -> Failure:
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "embedstore"
    if "--help" not in message:
        message = f"{message}; see '{path} --help'"
    return Failure(message[0].lower() + message[1:], error.exit_code)


def _from_system(error: OSError) -> Failure:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failure(
            "the disk is full; the store is intact: free some space and run the same command again",
            StorageFull.exit_status,
        )
    if error.filename is None:
        return Failure(_unexpected(error), 1)
    return Failure(f"{error.strerror or type(error).__name__}: {os.fsdecode(error.filename)}", 1)


def _unexpected(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "embedstore" in frame.filename] or list(frames)
    place = f" in {os.path.basename(own[-1].filename)}:{own[-1].lineno}" if own else ""  # noqa: PTH119
    return f"unexpected {type(error).__name__}{place}; run it again with --debug to see where it came from"
