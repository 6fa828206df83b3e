"""`embedstore embed`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedstore.cli.cuts import cut_of, cut_options
from embedstore.cli.loading import choice_of, load_options
from embedstore.cli.shell import Shell, encoder_option, shared_options

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable
    from embedstore.engine.embed import Embedding, EmbedRequest, Row
    from embedstore.readers.regions import Region

_SHOWN = 10


def _box(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    words = [word.strip() for word in value.split(",")]
    if len(words) != 4 or not all(word.isascii() and word.isdigit() for word in words):
        raise click.BadParameter(f"'{value}' is not x0,y0,x1,y1 in whole pixels, for example 40,60,180,200")
    x0, y0, x1, y1 = map(int, words)
    if x0 >= x1 or y0 >= y1:
        raise click.BadParameter(f"'{value}' is empty: x1 and y1 lie outside it, and above x0 and y0")
    return x0, y0, x1, y1


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@encoder_option("Encoder for images; 'starter' by default.")
@load_options
@cut_options
@click.option(
    "--box",
    metavar="X0,Y0,X1,Y1",
    callback=_box,
    help="Vectors of this box: pixels of the image as stored, X1 and Y1 excluded.",
)
@click.option(
    "--mask",
    metavar="FILE",
    help="Vectors of a region: DICOM SEG or RTSTRUCT, volume, or picture that is not zero there.",
)
@click.option(
    "--segment", metavar="NAME", help="Which segment of --mask: number, label, or value in a picture."
)
@click.option(
    "--pool",
    metavar="HOW",
    help="One vector for each volume, loop or slide: mean, max, mean:COLUMN, mean:region.",
)
@click.option(
    "--out", metavar="FILE.npz", type=click.Path(path_type=Path, dir_okay=False), help="Write them."
)
@shared_options
@click.pass_obj
def embed(shell: Shell, /, paths: tuple[Path, ...], out: Path | None, **options: Any) -> None:
    """Turn images into vectors, without a store.

    PATHs are what 'ingest' takes, and are read in the same way. What cannot be read is told with its reason
    and never stops the run. --out writes numpy arrays: vectors, paths, parts, space.
    """
    _check(out, options)
    from embedstore.engine.embed import embed as run
    from embedstore.settings import Settings

    request = _request(paths, options)
    with shell.progress() as bar:
        found = run(request, Settings.from_environment(), bar)
    if out is not None:
        found.write(out)
    shell.answer(_document(found, out, options), lambda: _text(found, out))


def _check(out: Path | None, options: dict[str, Any]) -> None:
    if out is not None and not out.absolute().parent.is_dir():
        raise click.UsageError(f"the folder of --out '{out}' does not exist")
    if options["box"] is not None and options["mask"] is not None:
        raise click.UsageError("give --box or --mask, not both")
    if options["segment"] is not None and options["mask"] is None:
        raise click.UsageError("--segment chooses from a mask; name it with --mask")
    if options["weights"] is not None and options["encoder"] is None:
        raise click.UsageError("--weights belong to an encoder; name it with --encoder")


def _request(paths: tuple[Path, ...], options: dict[str, Any]) -> EmbedRequest:
    from embedstore.engine.embed import EmbedRequest
    from embedstore.engine.pooling import Pooling
    from embedstore.settings import DEFAULT_ENCODER

    encoder = choice_of({**options, "encoder": options["encoder"] or DEFAULT_ENCODER})
    assert encoder is not None
    return EmbedRequest(
        paths=paths,
        encoder=encoder,
        cut=cut_of(options),
        region=_region(options),
        pool=Pooling.of(options["pool"]) if options["pool"] else None,
    )


def _region(options: dict[str, Any]) -> Region | None:
    from embedstore.readers.regions import Box, MaskFile

    if options["box"] is not None:
        return Box(*options["box"])
    if options["mask"] is not None:
        return MaskFile(str(Path(options["mask"]).absolute()), options["segment"])
    return None


def _document(found: Embedding, out: Path | None, options: dict[str, Any]) -> dict[str, Any]:
    return {
        "space": found.space,
        "encoder": found.encoder,
        "dim": found.vectors.shape[1],
        "box": options["box"],
        "mask": options["mask"],
        "segment": options["segment"],
        "pool": options["pool"],
        "rows": [
            {"path": row.path, "part": row.part, **_parts(row, options), "vector": vector}
            for row, vector in zip(found.rows, found.vectors, strict=True)
        ],
        "skips": [asdict(skip) for skip in found.skips],
        "failures": [asdict(failure) for failure in found.failures],
        "out": out,
    }


def _parts(row: Row, options: dict[str, Any]) -> dict[str, int]:
    return {"parts": row.parts} if options["pool"] else {}


def _text(found: Embedding, out: Path | None) -> Iterator[Renderable]:
    from embedstore.cli.output import count, table

    yield (
        f"{count(len(found.rows), 'vector')} of {found.vectors.shape[1]} dimensions by {found.encoder}, "
        f"space {found.space[:12]}; {len(found.skips)} skipped, {len(found.failures)} failed"
    )
    if found.rows:
        rows = zip(found.rows, found.vectors, strict=True)
        yield table(
            ("part", "length", "begins", "path"),
            [
                (
                    row.part,
                    float((vector**2).sum() ** 0.5),
                    " ".join(f"{x:.3f}" for x in vector[:3]),
                    row.path,
                )
                for row, vector in (one for one, _ in zip(rows, range(_SHOWN), strict=False))
            ],
            widest="path",
        )
    if len(found.rows) > _SHOWN:
        yield f"and {len(found.rows) - _SHOWN} more"
    for title, outcomes in (("skipped", found.skips), ("failed", found.failures)):
        if outcomes:
            listed = [(one.reason, one.part, one.path) for one in outcomes[:_SHOWN]]
            yield table((title, "part", "path"), listed, widest="path", longest=48)
        if len(outcomes) > _SHOWN:
            yield f"and {len(outcomes) - _SHOWN} more"
    if out is not None:
        yield f"Vectors: {out}"
    elif found.rows:
        yield "--json prints the vectors, --out FILE.npz writes them."
