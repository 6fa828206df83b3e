"""Search among wholes: volumes, loops and slides by their pooled vectors, each hit with its best part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from embedstore.contracts.image import F32, I64, ImageInput
from embedstore.contracts.query import Answer, Hit, Query
from embedstore.contracts.record import Asset
from embedstore.engine.encoders import tower_of
from embedstore.engine.grouping import in_groups
from embedstore.engine.pooling import Pooling, weights_of
from embedstore.engine.ranges import range_in_file
from embedstore.engine.search import Aim, aim_of, check, nearest, nobody_excluded, speaks
from embedstore.engine.wholes import catch_up, derived_space, pooling_of
from embedstore.engine.workspace import Workspace
from embedstore.errors import BridgeMissing, NotFound, ReadFailure, UsageError
from embedstore.indexes.scoring import exact_scores, query_rows
from embedstore.learning.polarity import read_polarity
from embedstore.readers.choose import ReaderSet
from embedstore.readers.sources import FileSource
from embedstore.storage.filters import parse_where
from embedstore.storage.records import SpaceRow
from embedstore.storage.wholes import PooledRow

_ENCODED_TOGETHER = 32


@dataclass(frozen=True, slots=True, eq=False)
class _Field:
    """What is searched: derived rows by vector id, and the parts, by vector id, that pass the filter."""

    base: SpaceRow
    derived: SpaceRow
    rows: dict[int, PooledRow]
    parts: I64


def search_wholes(workspace: Workspace, query: Query) -> Answer:
    """Answer one query for wholes; a file or an item that is part of a whole asks with the whole of it.

    A whole passes a filter when one of its parts does. Raises what `search` raises, and UsageError when the
    parts were not pooled.
    """
    check(query)
    base = workspace.space("image", query.encoder)
    derived = derived_space(workspace, base, query.pool)
    note = catch_up(workspace, base, derived)
    field = _field(workspace, query, base, derived)
    vector = _vector(workspace, query, base, derived)
    per_whole = replace(query, per="image" if query.per == "whole" else query.per)
    allow = np.array(sorted(field.rows), np.int64)
    ids, scores, exact = nearest(workspace, per_whole, Aim(vector, derived), allow)
    return Answer(
        query=query,
        space=derived.fingerprint,
        encoder=derived.encoder,
        exact=exact,
        matched=len(field.rows),
        hits=_hits(workspace, field, vector, ids, scores),
        note="; ".join(
            filter(None, (read_polarity(query.text or "").sentence, note, nobody_excluded(workspace, query)))
        ),
    )


def _field(workspace: Workspace, query: Query, base: SpaceRow, derived: SpaceRow) -> _Field:
    catalog = workspace.catalog
    where = parse_where(query.where) if query.where is not None else None
    excluded = (query.exclude_patient,) if query.exclude_patient else ()
    rows = {row.vector_id: row for row in catalog.wholes.rows(derived.id)}
    parts = catalog.vector_ids(base.id, where, "image", excluded)
    if where is not None or excluded:
        passing = set(catalog.column(catalog.vector_items(base.id, parts).items, "whole"))
        allowed = set(catalog.vector_ids(derived.id, None, "image", excluded).tolist())
        rows = {one: row for one, row in rows.items() if row.whole in passing and one in allowed}
    return _Field(base, derived, rows, parts)


def _hits(workspace: Workspace, field: _Field, vector: F32, ids: I64, scores: F32) -> tuple[Hit, ...]:
    catalog, metric = workspace.catalog, "dot" if field.base.metric == "dot" else "cosine"
    wanted = query_rows(vector[None], metric)[0]  # type: ignore[arg-type]
    found = [field.rows[int(one)] for one in ids]
    parts = {one.whole: one for one in catalog.wholes.parts(field.base.id, only=[row.whole for row in found])}
    hits = []
    for rank, (row, score) in enumerate(zip(found, scores, strict=True), 1):
        mine = parts[row.whole]
        passing = np.isin(mine.vectors, field.parts)
        vectors, items = mine.vectors[passing], mine.items[passing]
        each = exact_scores(wanted, catalog.vectors(field.base.id, vectors), metric)  # type: ignore[arg-type]
        best = int(each.argmax())
        item = catalog.item(int(items[best]))
        hits.append(
            Hit(rank=rank, score=float(score), item=item, parts=row.n_parts, part_score=float(each[best]))
        )
    return tuple(hits)


def _vector(workspace: Workspace, query: Query, base: SpaceRow, derived: SpaceRow) -> F32:
    rule = pooling_of(derived)
    if query.image is not None:
        return embed_whole(workspace, base, rule, Path(query.image))
    if query.like is not None:
        return _stored_whole(workspace, query.like, base, derived)
    if not speaks(workspace, base):
        raise BridgeMissing(
            f"text finds wholes only where texts and images share a space, and '{base.encoder}' has two; ask "
            "with --image or --like, or look for parts with --in images --per whole"
        )
    return aim_of(workspace, replace(query, within="images", pool=None)).vector


def _stored_whole(workspace: Workspace, item_id: int, base: SpaceRow, derived: SpaceRow) -> F32:
    """The derived row of the whole that an item is part of; an item that is part of none is its own whole."""
    catalog = workspace.catalog
    whole = catalog.item(item_id).columns["whole"]
    mine = [row.vector_id for row in catalog.wholes.rows(derived.id) if row.whole == whole]
    if mine:
        stored: F32 = catalog.vectors(derived.id, np.array(mine, np.int64))[0]
        return stored
    found, vectors = catalog.item_vectors(base.id, np.array([item_id], np.int64))
    if not len(found):
        raise NotFound(f"item {item_id} has no vector of '{base.encoder}'; choose another with --encoder")
    own: F32 = vectors[0]
    return own


def embed_whole(workspace: Workspace, space: SpaceRow, rule: Pooling, path: Path) -> F32:
    """The pooled vector of a file that need not be in the store: of its first volume, loop or slide."""
    if not path.exists():
        raise NotFound(f"{path}: no such file")
    readers = ReaderSet.installed(workspace.settings.limits)
    encoder = workspace.encoder_of(space, "image")
    tower = tower_of(encoder, "image")
    try:
        found = [one for one in readers.describe(FileSource.of(path)) if isinstance(one, Asset)]
        if not found:
            raise UsageError(f"{path}: holds no image; use --text for words")
        whole = found[0].header.whole
        parts = [one for one in found if whole is not None and one.header.whole == whole] or found[:1]
        scale = range_in_file(readers, tower.preprocess, parts[0], parts)
        vectors = [
            encoder.encode_images(
                [ImageInput(readers.read(p, tower.wants), parent_range=scale) for p in some]
            )
            for some in in_groups(parts, _ENCODED_TOGETHER)
        ]
    except ReadFailure as failure:
        raise ReadFailure(f"{path}: {failure.reason}") from None
    weights = None if rule.weight is None or len(parts) == 1 else weights_of(parts, rule.weight)
    pooled = rule.pool(vectors, weights)
    if pooled is None:
        raise UsageError(f"{path}: no part of it has {rule.weight or 'a vector'} above 0")
    return pooled
