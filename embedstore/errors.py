"""Every error embedstore raises, in one tree.

    EmbedstoreError                   1
    ├── UsageError                    2   what was asked for makes no sense; the message says what would
    │   ├── FilterError                   a `--where` expression that does not parse or names no column
    │   ├── UnknownPlugin                 no reader, encoder, index, ... of that name
    │   └── BadInputFile                  a YAML, CSV or other file the user handed over
    ├── NotFound                      3   the store, an item, a bridge, a head is not there
    │   └── WeightsMissing                pretrained weights are not on this machine
    ├── Refused                       4   possible, but it would give a wrong or leaking answer
    │   ├── SpaceMismatch                 vectors of two spaces would have met
    │   ├── BridgeMissing                 text against images, and nothing joins the two spaces
    │   ├── LeakageRefused                a patient would stand on both sides of an evaluation
    │   └── DuplicatePlugin               two distributions claim one plugin name
    ├── StoreBusy                     5   another process is writing
    ├── StoreDamaged                  6   a checksum does not match
    ├── SchemaMismatch                7   the store's schema is newer or older than this program
    ├── StorageFull                   8   the disk (or quota) is full; the store is intact
    └── ReadFailure                   9   one file cannot be read; ingest records it and goes on

The number is the exit status of the command line. A message is one line: what, which file, what to do.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "BadInputFile",
    "BridgeMissing",
    "DuplicatePlugin",
    "EmbedstoreError",
    "FilterError",
    "LeakageRefused",
    "NotFound",
    "ReadFailure",
    "Refused",
    "SchemaMismatch",
    "SpaceMismatch",
    "StorageFull",
    "StoreBusy",
    "StoreDamaged",
    "UnknownPlugin",
    "UsageError",
    "WeightsMissing",
    "did_you_mean",
]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ "did you mean 'x'? " when one of the known names is like this one, else ""."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=1)
    return f"did you mean '{near[0]}'? " if near else ""


class EmbedstoreError(Exception):
    """Base of all errors that are meant for a person; `exit_status` is what the shell sees."""

    exit_status = 1


class UsageError(EmbedstoreError):
    """The request makes no sense as given; the message says what would."""

    exit_status = 2


class FilterError(UsageError):
    """A `--where` expression that does not parse, or names no known column."""


class UnknownPlugin(UsageError):
    """No plugin of that kind has this name; the message lists those that exist."""


class BadInputFile(UsageError):
    """A YAML, CSV or other file handed over by the user cannot be used; the message names file and line."""


class NotFound(EmbedstoreError):
    """A store, item, bridge or head that was named does not exist."""

    exit_status = 3


class WeightsMissing(NotFound):
    """Pretrained weights are not on this machine; the message says what to fetch and where to put it."""


class Refused(EmbedstoreError):
    """The request could be carried out, but its answer would be wrong or would leak."""

    exit_status = 4


class SpaceMismatch(Refused):
    """Vectors of two spaces would have been compared."""


class BridgeMissing(Refused):
    """Text was asked to find images, and no shared space or bridge joins the two."""


class LeakageRefused(Refused):
    """The same patient would stand on both sides of a fit and its evaluation."""


class DuplicatePlugin(Refused):
    """Two installed distributions claim one plugin name."""


class StoreBusy(EmbedstoreError):
    """Another process holds the writer lease."""

    exit_status = 5


class StoreDamaged(EmbedstoreError):
    """A checksum does not match; the message names the file."""

    exit_status = 6


class SchemaMismatch(EmbedstoreError):
    """The store's schema is newer or older than this program; the message says which command mends it."""

    exit_status = 7


class StorageFull(EmbedstoreError):
    """The disk or quota is full; what was acknowledged before is intact."""

    exit_status = 8


class ReadFailure(EmbedstoreError):
    """One file cannot be read. `reason` never carries patient data (no header values, no pixels)."""

    exit_status = 9

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
