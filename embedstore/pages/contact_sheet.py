"""The contact sheet of a search: each hit with its picture, score, report and what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from embedstore.contracts.query import Answer, Hit, Item, Query
from embedstore.contracts.record import HEADER_COLUMNS
from embedstore.contracts.region import Box, Region
from embedstore.pages.records import Tile
from embedstore.pages.render import render
from embedstore.pages.words import bridge_words, place_words

Thumbnails = Callable[[int], bytes | None]
"""Item id to PNG or JPEG bytes, or None; `store.thumbnail`, or the `get` of a mapping."""

_SYNTHETIC = "Some of these hits are SYNTHETIC phantoms, as their headers say: no patient is behind them."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Card:
    rank: int
    score: float
    is_image: bool
    image: bytes | None
    title: str
    lines: tuple[str, ...]
    report: str
    columns: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    title: str
    summary: str
    synthetic: str
    query: Tile | None
    facts: tuple[tuple[str, str], ...]
    cards: tuple[_Card, ...]
    made: str


def contact_sheet(answer: Answer, thumbnails: Thumbnails, asked: bytes | None = None) -> str:
    """One self-contained HTML page: no script, nothing fetched, every text escaped.

    thumbnails: pictures at any size; at least 320 pixels are shown. asked: the picture of a query by file.
    """
    marked = any("SYNTHETIC" in str(v) for hit in answer.hits for v in hit.item.columns.values())
    sheet = _Sheet(
        title=_title(answer.query),
        summary=_summary(answer),
        synthetic=_SYNTHETIC if marked else "",
        query=_query(answer.query, thumbnails, asked),
        facts=tuple(_facts(answer)),
        cards=tuple(_card(hit, thumbnails, answer.query.like) for hit in answer.hits),
        made=_made(),
    )
    return render("contact_sheet.html", sheet=sheet)


def _query(query: Query, thumbnails: Thumbnails, asked: bytes | None) -> Tile | None:
    picture = asked if query.like is None else thumbnails(query.like)
    title = PurePath(query.image).name if query.image is not None else f"Item {query.like}"
    return Tile(image=picture, title=title, lines=("the query",)) if picture else None


def _title(query: Query) -> str:
    if query.text is not None:
        return f"{_within(query).capitalize()} for “{query.text}”"
    asked = f"item {query.like}" if query.like is not None else str(query.image)
    if query.region is not None:
        asked = f"{_region(query.region)} on {asked}"
    return f"{_within(query).capitalize()} like {asked}"


def _region(region: Region) -> str:
    if isinstance(region, Box):
        return f"the box {region}"
    mask = PurePath(region.path).name
    return f"{mask}, segment {region.segment}," if region.segment is not None else mask


def _within(query: Query) -> str:
    return query.within or "images"


def _summary(answer: Answer) -> str:
    noun = "hit" if len(answer.hits) == 1 else "hits"
    how = "every score compared, order exact" if answer.exact else "approximate index, scores exact"
    return f"{len(answer.hits)} {noun} among {answer.matched} {_within(answer.query)} to choose from; {how}."


def _facts(answer: Answer) -> list[tuple[str, str]]:
    query = answer.query
    facts = [("Encoder", answer.encoder), ("Space", answer.space[:16]), ("Filter", query.where or "none")]
    facts.append(("One hit per", _within(query).removesuffix("s") if query.per == "image" else query.per))
    if query.exclude_patient:
        facts.append(("Without patient", query.exclude_patient))
    if answer.note:
        facts.append(("Note", answer.note))
    if answer.bridge:
        facts.append(("Text joined by", bridge_words(answer.bridge)))
    return facts


def _card(hit: Hit, thumbnails: Thumbnails, like: int | None) -> _Card:
    item = hit.item
    own = ("the query itself",) if item.id == like else ()
    is_image = item.kind != "report"
    return _Card(
        rank=hit.rank,
        score=hit.score,
        is_image=is_image,
        image=thumbnails(item.id) if is_image else None,
        title=item.patient if item.patient_known else "patient unknown",
        lines=(*own, *_lines(item), *(f"report: {name} {said}" for name, said in hit.says.items())),
        report=item.report or "",
        columns=tuple(_columns(item)),
    )


def _lines(item: Item) -> list[str]:
    columns = item.columns
    body = (columns.get("modality"), columns.get("body_part"), columns.get("view"), columns.get("laterality"))
    age = columns.get("age")
    person = (f"{age:g} years" if isinstance(age, int | float) else None, columns.get("sex"))
    site = f"site {columns['site']}" if columns.get("site") else columns.get("institution")
    place = (site, columns.get("study_date"))
    device = (columns.get("manufacturer"), columns.get("model"))
    label = f"label {columns['label']}" if columns.get("label") else None
    part = (place_words(item),)
    joined = (_join(group) for group in (part, body, person, place, device, (label,)))
    return [line for line in joined if line]


def _join(values: tuple[Any, ...]) -> str:
    return " · ".join(str(value) for value in values if value not in (None, ""))


def _columns(item: Item) -> list[tuple[str, str]]:
    rows = [("id", str(item.id)), *(("path", path) for path in item.paths)]
    if item.part not in ("", "image"):
        rows.append(("part", item.part))
    known = [name for name in HEADER_COLUMNS if item.columns.get(name) not in (None, "")]
    rows += [(name, str(item.columns[name])) for name in known]
    rows += [(f"attr.{name}", str(value)) for name, value in sorted(item.extra.items())]
    rows += [("sha256", item.sha256), ("reader", item.reader)]
    return rows


def _made() -> str:
    from embedstore import __version__

    return f"Made by embedstore {__version__}. Scores are cosines: larger is more alike. Not for diagnosis."
