"""`embedstore label run | report | model | suggest | export`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedstore.cli.label_text import audit_text, card_text, write_suspects, write_worklist
from embedstore.cli.lazy import PlainGroup
from embedstore.cli.shell import (
    Shell,
    encoder_option,
    force_option,
    input_file,
    new_file,
    store_options,
    where_option,
)

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable
    from embedstore.engine.label_requests import Suggestion


@click.group(cls=PlainGroup)
def label() -> None:
    """Weak labels: let voters vote, see where they agree, fuse them, export a dataset."""


@label.command()
@click.argument("voters", type=input_file(), metavar="VOTERS.yaml")
@click.option("--label-set", metavar="SET", help="In place of the one the file names.")
@where_option("Which items are voted on.")
@encoder_option("Whose vectors the voters see; the store's own by default.")
@click.option(
    "--trust-code",
    metavar="SHA256",
    multiple=True,
    help="Let the Python file of this hash run as a voter: it can do whatever you can.",
)
@store_options
@click.pass_obj
def run(shell: Shell, /, voters: Path, **options: Any) -> None:
    """Run the voters of a YAML file: report rules, zero-shot, neighbours, metadata, heads, functions.

    Votes are kept with voter, version and what they looked at; a voter that runs again replaces its votes.
    """
    from embedstore.engine.requests import VoteRequest

    with shell.opened() as store, shell.progress() as bar:
        card = store.run_votes(VoteRequest(voters=voters, **options), bar)
    shell.answer(asdict(card), lambda: card_text(card, f"Next: embedstore label model {card.label_set}"))


@label.command()
@click.argument("label_set", metavar="SET")
@click.option("--truth", metavar="COLUMN", help="Column with the true label, where it is known.")
@store_options
@click.pass_obj
def report(shell: Shell, label_set: str, truth: str | None) -> None:
    """Coverage, overlap and conflict of each voter; accuracy where a truth column is given."""
    with shell.opened() as store:
        card = store.label_report(label_set, truth)
    shell.answer(asdict(card), lambda: card_text(card))


@label.command()
@click.argument("label_set", metavar="SET")
@click.option("--truth", metavar="COLUMN", help="Column with the true label, where it is known.")
@click.option(
    "--prior", metavar="CLASS=SHARE", multiple=True, help="Known share of a class; give one for each."
)
@click.option("--ignore-silence", is_flag=True, help="Do not take an abstention for evidence.")
@click.option(
    "--soft", is_flag=True, help="A vote with a probability counts for what that lies above chance."
)
@store_options
@click.pass_obj
def model(
    shell: Shell, label_set: str, truth: str | None, prior: tuple[str, ...], ignore_silence: bool, soft: bool
) -> None:
    """Fuse the votes (Dawid and Skene 1979), with the majority vote beside it.

    What persons said (voters person:NAME) stands, and teaches how often the others are right.
    """
    shares = dict(map(_share, prior))
    with shell.opened() as store:
        card = store.fit_label_model(label_set, truth, prior=shares, silence=not ignore_silence, soft=soft)
    shell.answer(asdict(card), lambda: card_text(card, f"Next: embedstore label export {label_set} OUT.csv"))


def _share(told: str) -> tuple[str, float]:
    name, _, share = told.rpartition("=")
    try:
        return name, float(share)
    except ValueError:
        raise click.UsageError(f"--prior takes CLASS=SHARE, such as present=0.1, not '{told}'") from None


@label.command()
@click.argument("label_set", metavar="SET")
@click.option("-n", type=click.IntRange(2), default=20, show_default=True, metavar="N", help="How many.")
@where_option("Which items may be suggested.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of the random half.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="CSV", help="Write them as a list to fill in."
)
@force_option
@store_options
@click.pass_obj
def suggest(
    shell: Shell, label_set: str, n: int, where: str | None, seed: int, out: Path | None, force: bool
) -> None:
    """Items a person should label next: half at random, half where the label model is least sure.

    Only the random half may be used to judge labels. Fill in the column 'label' of --out and hand it
    back with embedstore label import.
    """
    if out is not None:
        new_file(out, force=force)
    with shell.opened() as store:
        found = store.suggest_labels(label_set, n, where, seed)
    if out is not None:
        write_worklist(out, found)
    document = {"label_set": label_set, "seed": seed, "suggestions": [asdict(one) for one in found]}
    shell.answer(document, lambda: _suggested(found, out))


def _suggested(found: tuple[Suggestion, ...], out: Path | None) -> Iterator[Renderable]:
    from embedstore.cli.output import table

    rows = [(one.id, one.why, one.entropy, max(one.probabilities.values()), one.path) for one in found]
    yield table(("id", "why", "entropy", "surest", "path"), rows, widest="path")
    if out is not None:
        yield f"Written to {out}; fill in its column 'label'."


@label.command()
@click.argument("label_set", metavar="SET")
@click.argument("out", type=click.Path(path_type=Path), metavar="OUT")
@click.option(
    "--format",
    "layout",
    type=click.Choice(["huggingface", "coco", "fiftyone", "dicom-sr"]),
    help="OUT is a new folder in this layout, in place of a .csv or .parquet file.",
)
@force_option
@store_options
@click.pass_obj
def export(shell: Shell, label_set: str, out: Path, layout: str | None, force: bool) -> None:
    """Write each item's fused label, its probability and the votes behind it.

    Beside them: every vote ever cast, with voter, version, code and input hash and time (.provenance.jsonl),
    and a datasheet. Structured reports (dicom-sr) need highdicom.
    """
    if layout is None and out.suffix.lower() not in (".csv", ".parquet"):
        raise click.UsageError(f"'{out.name}' should end in .csv or .parquet, or give --format")
    if layout is None:
        new_file(out, *(out.with_suffix(end) for end in (".provenance.jsonl", ".datasheet.md")), force=force)
    with shell.opened() as store:
        rows = store.export_labels(label_set, out, layout)

    def text() -> Iterator[Renderable]:
        yield f"{rows} labels written to {out}."

    shell.answer({"label_set": label_set, "path": out, "rows": rows}, text)


@label.command("import")
@click.argument("label_set", metavar="SET")
@click.argument("path", type=click.Path(path_type=Path, exists=True), metavar="FILE")
@click.option("--by", metavar="NAME", help="Whose labels these are; provenance names its own voters.")
@store_options
@click.pass_obj
def import_(shell: Shell, label_set: str, path: Path, by: str | None) -> None:
    """Read labels as votes: a list that was filled in, an exported dataset, another store's provenance.

    Images are found by their bytes, path or id. Nothing is overwritten: a newer vote supersedes.
    """
    with shell.opened() as store:
        card = store.import_labels(label_set, path, by)

    def text() -> Iterator[Renderable]:
        yield f"{card.votes} votes recorded on '{card.label_set}'."
        if card.missing:
            yield f"{card.missing} rows are about images that are not in this store."

    shell.answer(asdict(card), text)


@label.command()
@click.argument("label_set", metavar="SET")
@click.option("--column", metavar="COLUMN", help="Labels to audit; the set's own fused labels by default.")
@where_option("Which images are audited.")
@encoder_option("Whose vectors judge; the store's own by default.")
@click.option("--html", type=click.Path(path_type=Path), metavar="OUT", help="Write a gallery to decide by.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="CSV", help="Write them as a list to fill in."
)
@force_option
@store_options
@click.pass_obj
def audit(shell: Shell, /, html: Path | None, out: Path | None, force: bool, **options: Any) -> None:
    """Find labels that are probably wrong; nothing is changed.

    By a classifier that has not seen the patient, and by the nearest images of other patients. Decide with
    embedstore label say, or fill in --out and hand it back with embedstore label import.
    """
    from embedstore.engine.label_requests import AuditRequest

    if out is not None:
        new_file(out, force=force)
    with shell.opened() as store:
        card = store.audit_labels(AuditRequest(**options))
        if html is not None:
            from embedstore.pages.audit_page import audit_page

            page = audit_page(card, lambda item: store.thumbnail(item, 240, "jpeg"))
            html.write_text(page, encoding="utf-8")
    if out is not None:
        write_suspects(out, card)
    shell.answer(asdict(card), lambda: audit_text(card, [one for one in (html, out) if one is not None]))


@label.command()
@click.argument("label_set", metavar="SET")
@click.argument("told", metavar="ID=CLASS...", nargs=-1, required=True)
@click.option("--by", required=True, metavar="NAME", help="Who says so.")
@store_options
@click.pass_obj
def say(shell: Shell, label_set: str, told: tuple[str, ...], by: str) -> None:
    """Say what items are: votes of person:NAME, gold for judging the others; the latest word counts."""
    classes = dict(map(_said, told))
    with shell.opened() as store:
        saved = store.say_labels(label_set, classes, by)

    def text() -> Iterator[Renderable]:
        yield f"{saved} votes recorded. Next: embedstore label model {label_set}"

    shell.answer({"label_set": label_set, "votes": saved}, text)


def _said(told: str) -> tuple[int, str]:
    number, _, name = told.partition("=")
    if not number.isdigit() or not name:
        raise click.UsageError(f"say ID=CLASS, such as 12=present, not '{told}'")
    return int(number), name
