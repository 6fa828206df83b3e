"""`embedstore ingest`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedstore.cli.cuts import cut_of, cut_options
from embedstore.cli.loading import choice_of, load_options
from embedstore.cli.shell import Shell, encoder_option, input_file, store_options

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable
    from embedstore.engine.requests import IngestReport, IngestRequest

_SHOWN = 10
_KNOWN = "already in the store"  # counted above, and no news


def _mapping(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    mapping: dict[str, str] = {}
    for value in values:
        column, equals, field = value.rpartition("=")
        if not equals or not column or not field:
            raise click.BadParameter(f"'{value}' is not COLUMN=FIELD, for example --map Befund=report")
        mapping[column] = field
    return mapping


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@encoder_option("Encoder for images; the store's own by default, 'starter' in a new store.")
@click.option("--text-encoder", metavar="NAME", help="Encoder for reports, when --encoder reads images only.")
@load_options
@click.option("--reports", multiple=True, type=input_file(), help="CSV with reports; may be repeated.")
@click.option("--metadata", multiple=True, type=input_file(), help="CSV with metadata; may be repeated.")
@click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="COLUMN=FIELD",
    callback=_mapping,
    help="Read a CSV column as a field, e.g. Befund=report; may be repeated.",
)
@click.option("--site", metavar="NAME", help="Site of items whose file and CSV name none.")
@cut_options
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Processes that read and encode.",
)
@click.option(
    "--deidentify",
    metavar="PROFILE",
    help="De-identify on the way in: basic, research, or with options (basic+modified-dates).",
)
@click.option("--key", type=input_file(), help="Key of --deidentify; 'embedstore privacy key' makes one.")
@click.option(
    "--keep",
    multiple=True,
    metavar="ATTRIBUTE",
    help="Let a CSV column or DICOM attribute pass --deidentify; may be repeated.",
)
@click.option(
    "--pool",
    multiple=True,
    metavar="HOW",
    help="Pool parts into wholes: mean, max, or mean:COLUMN (weighted); may be repeated.",
)
@click.option(
    "--mask",
    "masks",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="DICOM SEG or RTSTRUCT, or a folder of them: each segment becomes an item beside its image.",
)
@click.option(
    "--regions",
    multiple=True,
    type=input_file(),
    help="CSV of regions: path, label, and x0, y0, x1, y1 (or x, y, width, height) or mask; may be repeated.",
)
@store_options
@click.pass_obj
def ingest(shell: Shell, /, paths: tuple[Path, ...], **options: Any) -> None:
    """Put images and reports into the store.

    PATHs are files, folders, zip archives or DICOMDIRs, mixed as you like. What cannot be read is recorded
    with its reason and never stops the run; running the same command again goes on where it stopped.
    """
    request = _request(paths, options)
    with shell.opened() as store, shell.progress() as bar:
        report = store.ingest(request, bar)
    shell.answer(asdict(report), lambda: _text(report))


def _request(paths: tuple[Path, ...], options: dict[str, Any]) -> IngestRequest:
    from embedstore.engine.requests import EncoderChoice, IngestRequest

    text = options["text_encoder"]
    return IngestRequest(
        paths=paths,
        encoder=choice_of(options),
        text_encoder=EncoderChoice(name=text, threads=options["threads"]) if text else None,
        reports=options["reports"],
        metadata=options["metadata"],
        mapping=options["mapping"],
        site=options["site"],
        cut=cut_of(options),
        workers=options["workers"],
        deidentify=options["deidentify"],
        key=options["key"],
        keep=options["keep"],
        pool=options["pool"],
        masks=options["masks"],
        regions=options["regions"],
    )


def _kinds(report: IngestReport) -> str:
    from embedstore.cli.output import count

    regions = (count(report.regions, "region"),) if report.regions else ()
    return ", ".join((count(report.images, "image"), *regions, count(report.reports, "report")))


def _text(report: IngestReport) -> Iterator[Renderable]:
    from embedstore.cli.output import count

    mostly = 2 * report.added >= report.seen  # else it went by in looking at other things
    rate = f", {report.images_per_s:.1f} images/s" if report.images and mostly else ""
    yield (
        f"{report.seen} seen: {report.added} added ({_kinds(report)}), {report.skipped} skipped, "
        f"{report.failed} failed{rate}"
    )
    if report.known:
        yield f"{report.known} of the skipped were in the store already"
    for one in report.wholes:
        empty = f", {one.empty} without a part that counts" if one.empty else ""
        yield f"{count(one.wholes, 'whole')} by {one.pooling}: {one.made} made or renewed{empty}"
    yield from (f"Note: {note}." for note in report.notes)
    yield from _tables(report)
    if report.moved:
        yield (
            f"The patient of {count(report.moved, 'known item')} is another now: "
            "heads and bridges fitted before went by the old one"
        )
    if report.conflicts:
        between = count(report.conflicts, "conflict")
        yield f"{between} between sources: 'embedstore status --conflicts' lists them"
    skips = (skip.reason for skip in report.skips if not skip.reason.startswith(_KNOWN))
    yield from _reasons("Skipped", skips)
    yield from _reasons("Failed", (failure.reason for failure in report.failures))
    if report.failures:
        yield "'embedstore status --failures' names each file."


def _tables(report: IngestReport) -> Iterator[Renderable]:
    from embedstore.cli.output import count

    for table in report.tables:
        of = f"of {Path(table.path).name or 'a CSV'}"
        if table.unmatched:
            more = ", ..." if table.unmatched > len(table.examples) else ""
            rows = count(table.unmatched, "CSV row")
            examples = (" ".join(example.split()) for example in table.examples)
            yield f"{rows} {of} joined no image: {', '.join(examples)}{more}"
        for cells in table.unread:
            yield (
                f"{count(cells.rows, 'cell')} of column '{cells.column}' {of} not read as {cells.field}: "
                f"first in line {cells.line}, accepted are {cells.accepted}"
            )


def _reasons(title: str, reasons: Iterable[str]) -> Iterator[Renderable]:
    from embedstore.cli.output import table

    counted = Counter(reasons).most_common()
    if not counted:
        return
    yield table((title.lower(), "reason"), [(n, reason) for reason, n in counted[:_SHOWN]], widest="reason")
    if len(counted) > _SHOWN:
        yield f"and {sum(n for _, n in counted[_SHOWN:])} more for {len(counted) - _SHOWN} other reasons"
