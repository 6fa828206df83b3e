"""`embedstore embed`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedstore.cli.cuts import cut_of, cut_options
from embedstore.cli.loading import choice_of, load_options
from embedstore.cli.regions import check_region, region_of, region_options
from embedstore.cli.shell import Shell, encoder_option, shared_options

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable
    from embedstore.engine.embed import Embedding, EmbedRequest, Row

_SHOWN = 10


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@encoder_option("Encoder for images; 'starter' by default.")
@load_options
@cut_options
@region_options("Vectors of this box")
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
    check_region(options)
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
        region=region_of(options),
        pool=Pooling.of(options["pool"]) if options["pool"] else None,
    )


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
