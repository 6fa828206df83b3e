"""The story's chapters on search: similar cases, and films and reports by text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.query import Item, Query
from embedstore.demo.anatomy import FINDINGS
from embedstore.demo.stage import SITE_A, SITE_B, Films, Stage, film_tile
from embedstore.engine.requests import BridgeCard, BridgeRequest
from embedstore.evaluation.intervals import Estimate, bootstrap, bootstrap_mean
from embedstore.evaluation.metrics import auroc
from embedstore.learning.bridge_quality import BridgeQuality
from embedstore.pages.measured import MEASURED, measured
from embedstore.pages.records import Gallery, Row, Section, Table, Tile

_K, _SHOWN, _SHOWN_REAL = 10, 6, 5
_REAL_QUERY = "examples_rgb_color.dcm"
TEXTS = {
    "right pleural effusion": ("effusion", "right"),
    "left pneumothorax": ("pneumothorax", "left"),
    "solitary pulmonary nodule": ("nodule", None),
    "cardiomegaly, enlarged heart": ("cardiomegaly", None),
}


def similar_cases(stage: Stage, films: Films) -> Section:
    """Films of site B ask for their like at site A; real images ask the whole store."""
    seen_at_b = [name for name in FINDINGS if films.truth[name][films.rows("B")].any()]
    galleries = [_similar_films(stage, films, finding) for finding in seen_at_b]
    for image in stage.gathered.images:
        if image.path.name == _REAL_QUERY:
            galleries += _similar_real(stage, str(image.path), image.what)
    return Section(
        title="Similar cases",
        lead=(
            "Films of site B ask; films of site A, another scanner, answer by the encoder's vectors alone: "
            "one per patient, in the order of their score. What is written under a film is the truth, which "
            "the search has not seen."
        ),
        command="embedstore search --like ID --where \"site = 'A'\" --per patient --html similar.html",
        galleries=tuple(galleries),
        tables=(_similar_table(stage, films),),
        notes=(
            "The encoder was trained on photographs. It was told nothing of chests, and nothing of these "
            "findings.",
        ),
    )


def _similar_films(stage: Stage, films: Films, finding: str) -> Gallery:
    others = sum(films.truth[name] for name in FINDINGS if name != finding)
    at_b = (films.truth[finding] == 1) & (films.sites == "B")
    alone = np.flatnonzero(at_b & (others == 0) if (at_b & (others == 0)).any() else at_b)
    item = films.items[int(alone[len(alone) // 2])]
    answer = stage.store.search(
        Query(like=item.id, where=SITE_A, per="patient", exclude_patient=item.patient, k=_K)
    )
    tiles = [
        film_tile(hit.item, stage.picture(hit.item), wanted=finding, score=hit.score) for hit in answer.hits
    ]
    query = film_tile(item, stage.picture(item), wanted=finding)
    return Gallery(title=f"Like this film with {finding}", tiles=tuple(tiles), query=query)


def _similar_real(stage: Stage, path: str, what: str) -> list[Gallery]:
    own = next(
        (item for item in stage.store.items("kind = 'image' and site is null") if path in item.paths), None
    )
    if own is None:
        return []
    answer = stage.store.search(Query(like=own.id, per="patient", exclude_patient=own.patient, k=_SHOWN_REAL))
    query = _real_tile(own, stage.picture(own), None)
    tiles = tuple(_real_tile(hit.item, stage.picture(hit.item), hit.score) for hit in answer.hits)
    return [Gallery(title=f"Like this real image, in the whole store: {what}", tiles=tiles, query=query)]


def _real_tile(item: Item, picture: bytes | None, score: float | None) -> Tile:
    if item.columns.get("site") is not None:
        return film_tile(item, picture, score=score)
    part = "" if item.part == "image" else f" {item.part}"
    kind = (
        item.columns.get("modality"),
        item.columns.get("body_part"),
        item.columns.get("series_description"),
    )
    words = " · ".join(str(value) for value in kind if value)
    return Tile(
        image=picture, title=item.path.rpartition("/")[2] + part, lines=(words,) if words else (), score=score
    )


def _similar_table(stage: Stage, films: Films) -> Table:
    """Share of the ten nearest of site A with the query's finding, over all films of site B that have it."""
    rows_a, rows_b = films.rows("A"), films.rows("B")
    position = films.position()
    near = np.full((len(films.items), _K), -1)
    for done, row in enumerate(rows_b):
        answer = stage.store.search(Query(like=films.items[row].id, where=SITE_A, per="patient", k=_K))
        near[row, : len(answer.hits)] = [position[hit.item.id] for hit in answer.hits]
        stage.progress("similar cases of every film of site B", done + 1, len(rows_b))
    grey = _nearest_by_pixels(films, rows_a)
    table: list[Row] = []
    for finding in FINDINGS:
        truth = films.truth[finding]
        asking = rows_b[truth[rows_b] == 1]
        for name, found in (("encoder", near), ("pixel baseline", grey)):
            row = measured(f"{finding}: {name}", _precision(films, truth, asking, found))
            table.append((*row, float(truth[rows_a].mean())))
    return Table(
        columns=("query with", *MEASURED, "chance"),
        rows=tuple(table),
        caption=(
            "P@10: share of the 10 nearest patients of site A that have the query's finding; chance is the "
            "share of all films of site A"
        ),
    )


def _precision(
    films: Films, truth: NDArray[np.int64], asking: NDArray[np.int64], near: NDArray[np.int64]
) -> Estimate:
    """Over the queries; a share of answers has no positives."""
    return bootstrap_mean("p_at_10", truth[near[asking]].mean(axis=1), films.patients[asking])


def _nearest_by_pixels(films: Films, among: NDArray[np.int64]) -> NDArray[np.int64]:
    """For every film the ten of `among`, one per patient, whose grey-value statistics are nearest."""
    scaled = (films.pixels - films.pixels[among].mean(axis=0)) / (films.pixels[among].std(axis=0) + 1e-6)
    _, first = np.unique(films.patients[among], return_index=True)
    pool = among[first]
    distance = ((scaled[:, None, :] - scaled[None, pool, :]) ** 2).sum(axis=2)
    return pool[np.argsort(distance, axis=1, kind="stable")[:, :_K]]


def learn_bridge(stage: Stage) -> BridgeCard:
    """The ridge bridge that text search and zero-shot labels go over; it is learned from site A alone."""
    stage.progress("learning the bridge from text to images", 0, None)
    return stage.store.fit_bridge(BridgeRequest(kind="ridge", where=SITE_A))


def text_search(stage: Stage, films: Films, card: BridgeCard) -> Section:
    """Films of site B by text, over a bridge that was learned at site A; reports by text, directly."""
    galleries: list[Gallery] = []
    first: list[Row] = []
    whole: list[Row] = []
    for text, (finding, side) in TEXTS.items():
        answer = stage.store.search(Query(text=text, where=SITE_B, k=len(films.items), bridge=card.name))
        position = films.position()
        order = np.array([position[hit.item.id] for hit in answer.hits])
        scores = np.array([hit.score for hit in answer.hits])
        tiles = [
            film_tile(hit.item, stage.picture(hit.item), wanted=finding, score=hit.score)
            for hit in answer.hits[:_SHOWN]
        ]
        galleries.append(Gallery(title=f"“{text}”", tiles=tuple(tiles)))
        first.append((f"“{text}”", *_first_ten(films, finding, side, order)))
        whole += _whole_ranking(films, text, finding, order, scores)
    return Section(
        title="Text search",
        lead=(
            "The image encoder cannot read and the text encoder cannot see. A bridge joins them: a "
            f"linear map learned from {card.anchors} films of site A and their reports (wrong statements, "
            "omissions and all), here used on site B."
        ),
        command=f'embedstore search --text "{next(iter(TEXTS))}" --where "site = \'B\'" --html films.html',
        galleries=(*galleries, _report_gallery(stage)),
        tables=(*_text_tables(first, whole), _bridge_table(stage)),
    )


def _first_ten(films: Films, finding: str, side: str | None, order: NDArray[np.int64]) -> Row:
    truth = films.truth[finding]
    sides = np.array([str(item.extra.get(f"{finding}_side", "")) for item in films.items])
    near, whole = sides[order[:_K]] == side, sides[order] == side
    sided = f"{int(near.sum())} of {_K} ({float(whole.mean()):.2f})" if side else "–"
    return (finding, f"{int(truth[order[:_K]].sum())} of {_K}", float(truth[order].mean()), sided)


def _whole_ranking(
    films: Films, text: str, finding: str, order: NDArray[np.int64], scores: NDArray[np.float64]
) -> list[Row]:
    truth, patients = films.truth[finding][order], films.patients[order]
    told = (("", scores), (", by pixels", films.grey[finding][order]))
    return [
        measured(f"“{text}”{name}", bootstrap("auroc", auroc, truth, score, patients)) for name, score in told
    ]


def _text_tables(first: list[Row], whole: list[Row]) -> tuple[Table, Table]:
    return (
        Table(
            columns=("text", *MEASURED),
            rows=tuple(whole),
            caption=(
                "AUROC of the whole ranking of site B. The pixel baseline was given the true labels of site "
                "A; the search was not."
            ),
        ),
        Table(
            columns=("text", "finding", "of the first ten", "chance", "with the side (chance)"),
            rows=tuple(first),
            caption="What the first ten answers show",
        ),
    )


def _bridge_table(stage: Stage) -> Table:
    rows: list[Row] = []
    for card in stage.store.bridges():
        quality = BridgeQuality.from_json(card.quality).to_json()
        name, chance = f"{card.name} ({card.kind})", float(quality["chance"])
        for words, key, spread in (
            (name, "r_at_10", "interval"),
            (f"{card.name}, shuffled pairs", "shuffled_control", "shuffled_interval"),
        ):
            low, high = quality[spread]
            estimate = {**quality, "value": quality[key], "low": low, "high": high}
            rows.append((*measured(words, estimate), card.anchors, chance))
    return Table(
        columns=("bridge", *MEASURED, "pairs", "chance"),
        rows=tuple(rows),
        caption=(
            "R@10: how often a report of a held-out patient finds its own film among the first ten; beside "
            "it, of a bridge learned from shuffled pairs"
        ),
    )


def _report_gallery(stage: Stage) -> Gallery:
    text = "fluid around the left lung"
    answer = stage.store.search(Query(text=text, within="reports", k=3))
    tiles = [
        Tile(
            image=None,
            title=str(hit.item.columns.get("patient_id") or hit.item.patient),
            text=hit.item.report or "",
            score=hit.score,
        )
        for hit in answer.hits
    ]
    return Gallery(
        title=f"Reports for “{text}”",
        text="Text against text needs no bridge.",
        command=f'embedstore search --text "{text}" --in reports',
        tiles=tuple(tiles),
    )
