"""`embedstore search`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedstore.cli.regions import region_options, taken_region
from embedstore.cli.shell import Shell, encoder_option, store_options, where_option

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable
    from embedstore.contracts.query import Answer, Hit, Item
    from embedstore.engine.store import Store

_THUMBNAIL = 320


@click.command(context_settings={"allow_extra_args": True})
@click.option("--image", metavar="FILE", help="An image file (it need not be in the store).")
@click.option("--text", metavar="TEXT", help="Words, such as 'right pleural effusion'.")
@click.option("--like", metavar="ID", type=int, help="An item of the store, by its id.")
@click.option(
    "--in",
    "within",
    type=click.Choice(["images", "reports", "regions", "wholes"]),
    help="What is looked for: images by default, by a region regions ('ingest --mask'). Wholes are volumes, "
    "loops and slides, see 'ingest --pool'.",
)
@region_options("Ask with a box on --image")
@encoder_option("Which of the store's encoders answers.")
@click.option(
    "-k", metavar="N", type=click.IntRange(1), default=10, show_default=True, help="Number of hits."
)
@where_option("Only items that match, such as \"modality = 'CR' and age >= 60\".")
@click.option(
    "--per",
    type=click.Choice(["image", "whole", "study", "patient"]),
    default="image",
    show_default=True,
    help="At most one hit for each of these; whole is a volume, loop or slide.",
)
@click.option("--pool", metavar="HOW", help="Which pooling of wholes; the store's first by default.")
@click.option(
    "--says",
    type=click.Choice(["present", "absent", "uncertain", "historical", "not mentioned"]),
    help="Only items whose report says this of the finding in --text, by the report rules.",
)
@click.option("--exclude-patient", metavar="ID", help="Leave this patient out.")
@click.option("--index", default="faiss", show_default=True, metavar="NAME", help="Index: exact or faiss.")
@click.option("--bridge", metavar="NAME", help="Bridge for text against images; the newest by default.")
@click.option("--html", type=click.Path(path_type=Path), metavar="OUT", help="Write a contact sheet as well.")
@store_options
@click.pass_context
def search(ctx: click.Context, /, html: Path | None, **options: Any) -> None:
    """Find similar cases by image, by text, or by an item already in the store.

    Scores are larger for better hits. With --where, k hits come back whenever k items match.
    """
    shell: Shell = ctx.obj
    if ctx.args:
        raise click.UsageError(_meant(ctx.args))
    asked = [name for name in ("image", "text", "like") if options[name] is not None]
    if len(asked) != 1:
        raise click.UsageError("give exactly one of --image FILE, --text TEXT and --like ID")
    if html is not None and not html.absolute().parent.is_dir():
        raise click.UsageError(f"the folder of --html '{html}' does not exist")
    from embedstore.contracts.query import Query

    query = Query(region=taken_region(options), **options)
    with shell.opened() as store:
        answer = store.search(query)
        if html is not None:
            _write_sheet(html, store, answer)
    document = answer_json(answer)
    if html is not None:
        document["html"] = str(html)
    for warning in answer.warnings:
        shell.warn(warning)
    shell.answer(document, lambda: _text(answer, html))


def _meant(words: list[str]) -> str:
    """What to say to a query without its option."""
    if Path(words[0]).is_file():
        return f"say what '{words[0]}' is: --image '{words[0]}'"
    if len(words) == 1 and words[0].isdigit():
        return f"say what '{words[0]}' is: --like {words[0]} for an item, --text '{words[0]}' for words"
    said = " ".join(words)
    return f"say what '{said}' is: --text '{said}' for words, --image FILE or --like ID for an image"


def answer_json(answer: Answer) -> dict[str, Any]:
    """The search document of the command line."""
    query = answer.query
    return {
        "space": answer.space,
        "encoder": answer.encoder,
        "k": query.k,
        "filter": query.where,
        "in": query.within,
        "per": query.per,
        "exact": answer.exact,
        "matched": answer.matched,
        "bridge": answer.bridge,
        "note": answer.note or None,
        "warnings": list(answer.warnings),
        "read_as": answer.read_as,
        "hits": [
            {
                "rank": hit.rank,
                "score": hit.score,
                **_whole_json(hit),
                **({"says": dict(hit.says)} if hit.says else {}),
                **item_json(hit.item),
            }
            for hit in answer.hits
        ],
    }


def _whole_json(hit: Hit) -> dict[str, Any]:
    """What is said of a whole besides its best part."""
    return {} if hit.parts is None else {"parts": hit.parts, "part_score": hit.part_score}


def item_json(item: Item) -> dict[str, Any]:
    """An item with its documented columns beside its identity; what is not known is null."""
    columns = dict(item.columns)
    return {
        "id": item.id,
        "kind": item.kind,
        "path": item.path,
        "paths": list(item.paths),
        "part": item.part,
        "sha256": item.sha256,
        "reader": item.reader,
        "frame": columns.pop("frame", None),
        "patient": item.patient,
        "patient_known": item.patient_known,
        "study": columns.get("study_uid"),
        "modality": columns.pop("modality", None),
        **columns,
        "report": item.report,
        "extra": dict(item.extra),
    }


def bridge_sentence(bridge: Mapping[str, Any]) -> str:
    """Which bridge answered and how good it is on patients it was not learned from."""
    from embedstore.cli.bridge import quality_words

    return (
        f"Text and images are joined by the learned bridge '{bridge['name']}' ({bridge['kind']}): "
        f"{quality_words(bridge.get('quality') or bridge)}"
    )


def _write_sheet(path: Path, store: Store, answer: Answer) -> None:
    from embedstore.pages.contact_sheet import contact_sheet

    asked, region = answer.query.image, answer.query.region
    picture = store.picture_of(Path(asked), _THUMBNAIL, "jpeg", region) if asked is not None else None
    page = contact_sheet(answer, lambda item_id: store.thumbnail(item_id, _THUMBNAIL, "jpeg"), picture)
    path.write_text(page, encoding="utf-8")


def _text(answer: Answer, html: Path | None) -> Iterator[Renderable]:
    from embedstore.cli.output import count

    kind = "exact" if answer.exact else "approximate, best candidates re-ranked exactly"
    matched = count(answer.matched, (answer.query.within or "images").removesuffix("s"))
    yield f"{count(len(answer.hits), 'hit')} among {matched} to choose from, by {answer.encoder} ({kind})"
    if answer.bridge is not None:
        yield bridge_sentence(answer.bridge)
    if answer.note:
        yield f"Note: {answer.note}."
    if own := [hit.rank for hit in answer.hits if hit.item.id == answer.query.like]:
        yield f"Hit {own[0]} is the query itself."
    yield _hits(answer, "report" if answer.query.within == "reports" else "path")
    if html is not None:
        yield f"Contact sheet: {html}"


def _hits(answer: Answer, last: str) -> Renderable:
    """One row per hit; the column `part` says which slice, frame or tile, when any hit is one."""
    from embedstore.cli.output import table
    from embedstore.pages.words import place_words

    images = last == "path"
    places = [place_words(hit.item) if images else "" for hit in answer.hits]
    wholes = answer.query.within == "wholes"
    part = ("best part",) if wholes else ("part",) if any(places) else ()
    parts = ("parts",) if wholes else ()
    says = ("says",) if any(hit.says for hit in answer.hits) else ()
    return table(
        ("rank", "score", "id", "patient", "modality", "label", *parts, *part, *says, last),
        [
            (
                *_row(hit),
                *((hit.parts,) if parts else ()),
                *((place,) if part else ()),
                *((", ".join(f"{name} {said}" for name, said in hit.says.items()),) if says else ()),
                hit.item.path if images else hit.item.report,
            )
            for hit, place in zip(answer.hits, places, strict=True)
        ],
        widest=last,
    )


def _row(hit: Hit) -> tuple[Any, ...]:
    item = hit.item
    return (
        hit.rank,
        hit.score,
        item.id,
        item.patient if item.patient_known else "unknown",
        item.columns.get("modality"),
        item.columns.get("label"),
    )
