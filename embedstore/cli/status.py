"""`embedstore status`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from embedstore.cli.shell import Shell, store_options

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable
    from embedstore.engine.requests import Outcome, Status


@click.command()
@click.option("--failures", is_flag=True, help="List what could not be read, with reasons.")
@click.option("--skips", is_flag=True, help="List what was rightly left out, with reasons.")
@click.option("--conflicts", is_flag=True, help="List where two sources disagree about one image.")
@store_options
@click.pass_obj
def status(shell: Shell, failures: bool, skips: bool, conflicts: bool) -> None:
    """What is in the store, and what could not be read.

    With --failures, --skips or --conflicts only those are listed, whole.
    """
    with shell.opened() as store:
        found = store.status()
        listed: dict[str, Any] = {}
        if failures:
            listed["failures"] = store.failures()
        if skips:
            listed["skips"] = store.skips()
        if conflicts:
            listed["conflicts"] = store.conflicts()
    if listed:
        document = {"path": found.path, **{n: [_plain(one) for one in each] for n, each in listed.items()}}
    else:
        document = asdict(found)
    shell.answer(document, lambda: _listing(listed) if listed else _summary(found))


def _plain(entry: Any) -> dict[str, Any]:
    return dict(entry) if isinstance(entry, Mapping) else asdict(entry)


def _summary(found: Status) -> Iterator[Renderable]:
    from embedstore.cli.output import count, facts, short_cell, size, table

    unknown = f", and {count(found.unknown_patients, 'item')} of unknown patients"
    yield from facts(
        [
            ("store", found.path),
            ("schema", found.schema),
            ("images", found.images),
            ("regions", found.regions or None),
            ("reports", found.reports),
            ("patients", f"{found.patients}{unknown if found.unknown_patients else ''}"),
            ("sources", found.sources),
            ("failures", _pointed(found.failures, "--failures")),
            ("skips", _pointed(found.skips, "--skips")),
            ("conflicts", _pointed(found.conflicts, "--conflicts")),
            ("votes", found.votes),
            ("bridges", ", ".join(found.bridges) or "none"),
            ("heads", ", ".join(found.heads) or "none"),
            ("on disk", size(found.bytes_on_disk)),
        ]
    )
    if found.spaces:
        columns = tuple(key for key in found.spaces[0] if key != "check")
        yield table(columns, [tuple(short_cell(one.get(name)) for name in columns) for one in found.spaces])
        for one in found.spaces:
            if one.get("check"):
                facts_of = ", ".join(f"{name} {value}" for name, value in one["check"].items())
                yield f"{short_cell(one['fingerprint'])}: {facts_of}"


def _pointed(count: int, option: str) -> str:
    return f"{count}  (embedstore status {option})" if count else "0"


def _listing(listed: Mapping[str, Sequence[Any]]) -> Iterator[Renderable]:
    from embedstore.cli.output import count

    for name, entries in listed.items():
        yield f"{count(len(entries), name[:-1])}{':' if entries else ''}"
        for entry in entries:
            yield _conflict(entry) if isinstance(entry, Mapping) else _outcome(entry)


def _outcome(entry: Outcome) -> str:
    part = f" [{entry.part}]" if entry.part else ""
    return f"{entry.path}{part}: {entry.reason}"


def _conflict(entry: Mapping[str, Any]) -> str:
    """Who said what; keys as `Store.conflicts` gives them."""
    # A table's word is recorded under the file it spoke of.
    where = "a table" if entry["other_path"] == entry["path"] else entry["other_path"]
    return f"{entry['path']}: {entry['field']} is '{entry['kept']}' (kept), but '{entry['other']}' in {where}"
