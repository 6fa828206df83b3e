"""The story's first chapter: what went into the store, and what did not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from embedstore.contracts.query import Item
from embedstore.demo.anatomy import FINDINGS
from embedstore.demo.stage import Films, Stage, film_tile
from embedstore.engine.requests import IngestReport, IngestRequest, Outcome
from embedstore.pages.records import Gallery, Section, Table, Tile

_STRIP = 6


def ingest(stage: Stage) -> Mapping[str, IngestReport]:
    """Put the cohort (with truth and reports) and the real images into the store; nothing twice."""
    cohort = stage.cohort
    films = IngestRequest(
        paths=tuple(sorted(cohort.folder.glob("synthetic-site-*"))),
        metadata=(cohort.metadata_csv,),
        reports=(cohort.reports_csv,),
    )
    reports = {"synthetic cohort": stage.store.ingest(films, stage.progress)}
    if stage.gathered.images:
        real = IngestRequest(paths=stage.gathered.paths)
        reports["real images of installed packages"] = stage.store.ingest(real, stage.progress)
    return reports


def what_went_in(stage: Stage, films: Films, reports: Mapping[str, IngestReport]) -> Section:
    """Pictures of both kinds, counts, and every reason for which a file is not in the store."""
    galleries = [_real(stage)] if stage.gathered.images else []
    galleries += [_site(stage, films, site) for site in ("A", "B")]
    counts = [
        (what, r.seen, r.images, r.reports, r.skipped, r.failed, r.conflicts, round(r.images_per_s))
        for what, r in reports.items()
    ]
    columns = (
        "source",
        "seen",
        "images added",
        "reports added",
        "skipped",
        "failed",
        "conflicts",
        "images/s",
    )
    outside = _reasons(stage.store.failures(), "failure") + _reasons(stage.store.skips(), "skip")
    return Section(
        title="What went in",
        lead=(
            "DICOM, JPEG and PNG files, mixed and nested, each either in the store or listed with the "
            "reason why it is not. A broken file never stops the run. Where two files disagree about one "
            "image, both statements are kept and counted as a conflict."
        ),
        command="embedstore ingest cohort --metadata cohort/cohort.csv --reports cohort/reports.csv",
        galleries=tuple(galleries),
        tables=(
            Table(columns=columns, rows=tuple(counts)),
            Table(
                columns=("", "reason", "files"),
                rows=tuple(outside),
                caption="Not in the store, and why (embedstore status --failures names each file)",
            ),
        ),
        notes=stage.gathered.missing,
    )


def _reasons(outcomes: tuple[Outcome, ...], kind: str) -> list[tuple[str, str, int]]:
    counted = Counter(re.sub(r"\s+", " ", outcome.reason) for outcome in outcomes)
    return [(kind, reason, number) for reason, number in counted.most_common()]


def _real(stage: Stage) -> Gallery:
    by_path = {
        path: item for item in stage.store.items("kind = 'image' and site is null") for path in item.paths
    }
    tiles = []
    for image in stage.gathered.images:
        item = by_path.get(str(image.path))
        if image.shown and item is not None:
            tiles.append(
                Tile(
                    image=stage.picture(item),
                    title=image.what,
                    lines=(image.path.name, f"{image.origin} · {image.licence}"),
                )
            )
    return Gallery(
        title="Real images",
        text="Samples that pydicom, scikit-image and scikit-learn carry; nothing was downloaded.",
        tiles=tuple(tiles),
    )


def _site(stage: Stage, films: Films, site: str) -> Gallery:
    chosen: list[Item] = []
    mine = [films.items[row] for row in films.rows(site)]
    plain = [item for item in mine if not any(str(item.extra[name]) == "1" for name in FINDINGS)]
    chosen += plain[:2]
    for finding in FINDINGS:
        chosen += [item for item in mine if str(item.extra[finding]) == "1" and item not in chosen][:1]
    model = f"{mine[0].columns['manufacturer']} {mine[0].columns['model']}"
    stored = mine[0].extra.get("PhotometricInterpretation", "")
    return Gallery(
        title=f"Synthetic phantoms of site {site}",
        text=f"{len(mine)} films, {model}, stored as {stored}.",
        tiles=tuple(film_tile(item, stage.picture(item)) for item in chosen[:_STRIP]),
    )
