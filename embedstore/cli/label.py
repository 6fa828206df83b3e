"""`embedstore label run | report | model | export`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedstore.cli.lazy import PlainGroup
from embedstore.cli.shell import Shell, encoder_option, input_file, store_options, where_option

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable
    from embedstore.engine.requests import LabelSetCard


@click.group(cls=PlainGroup)
def label() -> None:
    """Weak labels: let voters vote, see where they agree, fuse them, export a dataset."""


@label.command()
@click.argument("voters", type=input_file(), metavar="VOTERS.yaml")
@click.option("--label-set", metavar="SET", help="In place of the one the file names.")
@where_option("Which items are voted on.")
@encoder_option("Whose vectors the voters see; the store's own by default.")
@store_options
@click.pass_obj
def run(shell: Shell, /, voters: Path, **options: Any) -> None:
    """Run the voters of a YAML file: report rules, zero-shot, neighbours, metadata.

    Votes are kept with voter, version and what they looked at; a voter that runs again replaces its votes.
    """
    from embedstore.engine.requests import VoteRequest

    with shell.opened() as store, shell.progress() as bar:
        card = store.run_votes(VoteRequest(voters=voters, **options), bar)
    shell.answer(asdict(card), lambda: _text(card, f"Next: embedstore label model {card.label_set}"))


@label.command()
@click.argument("label_set", metavar="SET")
@click.option("--truth", metavar="COLUMN", help="Column with the true label, where it is known.")
@store_options
@click.pass_obj
def report(shell: Shell, label_set: str, truth: str | None) -> None:
    """Coverage, overlap and conflict of each voter; accuracy where a truth column is given."""
    with shell.opened() as store:
        card = store.label_report(label_set, truth)
    shell.answer(asdict(card), lambda: _text(card))


@label.command()
@click.argument("label_set", metavar="SET")
@click.option("--truth", metavar="COLUMN", help="Column with the true label, where it is known.")
@store_options
@click.pass_obj
def model(shell: Shell, label_set: str, truth: str | None) -> None:
    """Fuse the votes (Dawid and Skene 1979), with the majority vote beside it."""
    with shell.opened() as store:
        card = store.fit_label_model(label_set, truth)
    shell.answer(asdict(card), lambda: _text(card, f"Next: embedstore label export {label_set} OUT.csv"))


@label.command()
@click.argument("label_set", metavar="SET")
@click.argument("out", type=click.Path(path_type=Path), metavar="OUT")
@store_options
@click.pass_obj
def export(shell: Shell, label_set: str, out: Path) -> None:
    """Write each item's fused label, its probability and the votes behind it (.csv or .parquet)."""
    if out.suffix.lower() not in (".csv", ".parquet"):
        raise click.UsageError(f"'{out.name}' should end in .csv or .parquet: the suffix chooses the format")
    with shell.opened() as store:
        rows = store.export_labels(label_set, out)

    def text() -> Iterator[Renderable]:
        yield f"{rows} labels written to {out}."

    shell.answer({"label_set": label_set, "path": out, "rows": rows}, text)


def _text(card: LabelSetCard, following: str = "") -> Iterator[Renderable]:
    from embedstore.cli.output import count, estimate, facts, table

    yield f"Label set '{card.label_set}' ({', '.join(card.classes)}): {count(card.items, 'item')}."
    measured = any(one.accuracy is not None for one in card.voters)
    yield table(
        (
            "voter",
            "version",
            "voted",
            "coverage",
            "overlap",
            "conflict",
            *(("accuracy",) if measured else ()),
        ),
        [
            (
                one.voter,
                one.version[:12],
                one.voted,
                one.coverage,
                one.overlap,
                one.conflict,
                *((estimate(one.accuracy),) if measured else ()),
            )
            for one in card.voters
        ],
        widest="voter",
    )
    if card.model is not None:
        yield "Fused:"
        yield from facts((f"  {name.replace('_', ' ')}", _short(value)) for name, value in card.model.items())
    if following:
        yield following


def _short(value: Any) -> Any:
    from embedstore.cli.output import estimate

    if isinstance(value, Mapping) and "value" not in value:
        return ", ".join(f"{name} {estimate(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(map(str, value)) or None
    return estimate(value)
