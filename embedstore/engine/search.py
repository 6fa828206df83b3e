"""Search: a query becomes a vector, a filter an allow-set, the answer a list of hits with their metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from embedstore.contracts.encoder import TowerKind
from embedstore.contracts.image import F32, I64
from embedstore.contracts.index import VectorIndex
from embedstore.contracts.query import Answer, Hit, Item, Kind, Query
from embedstore.engine.bridges import OpenBridge, bridge_between
from embedstore.engine.indexing import gatherer
from embedstore.engine.query_image import embed_file
from embedstore.engine.said import asked_in, saying
from embedstore.engine.workspace import Workspace
from embedstore.errors import BridgeMissing, NotFound, UsageError
from embedstore.indexes.search import search_groups, search_vectors
from embedstore.learning.polarity import Polarity, read_polarity
from embedstore.storage.batches import ItemKind
from embedstore.storage.filters import Where, parse_where
from embedstore.storage.records import SpaceRow

_NO_REGIONS = "the store holds no regions by this encoder; 'embedstore ingest --mask' brings some"
_KINDS: Mapping[Kind, ItemKind] = {"images": "image", "reports": "report", "regions": "region"}


@dataclass(frozen=True, slots=True, eq=False)
class Aim:
    """A query vector, the space whose vectors it is compared with, and the bridge they meet over, if any.

    joint: the vector has crossed the bridge already. polarity: how a text was read.
    """

    vector: F32
    space: SpaceRow
    bridge: OpenBridge | None = None
    joint: bool = False
    polarity: Polarity | None = None


def search(workspace: Workspace, query: Query) -> Answer:
    """Answer one query.

    Raises UsageError, FilterError, NotFound (an id, a file), BridgeMissing, ReadFailure (the query's file).
    """
    check(query)
    query = understood(workspace, query)
    where = parse_where(query.where) if query.where is not None else None
    asked = asked_in(query)
    aim = aim_of(workspace, query)
    allow = _allowed(workspace, query, where, aim.space)
    if query.says:
        allow = saying(workspace.catalog, aim.space.id, allow, asked, query.says)
    ids, scores, exact = nearest(workspace, query, aim, allow)
    catalog = workspace.catalog
    items = catalog.items(catalog.vector_items(aim.space.id, ids).items.tolist())
    hits = tuple(
        Hit(rank=rank, score=float(score), item=item, says=asked.said(item.report))
        for rank, (score, item) in enumerate(zip(scores, items, strict=True), 1)
    )
    spoken = asked.note([hit.says for hit in hits], query.says)
    unmarked = _NO_REGIONS if query.within == "regions" and where is None and not len(allow) else ""
    notes = (_read_as(aim), spoken, _unused_bridge(workspace, query, aim), unmarked)
    return Answer(
        query=query,
        space=aim.space.fingerprint,
        encoder=aim.space.encoder,
        exact=exact,
        matched=len(allow),
        hits=hits,
        bridge=aim.bridge.summary if aim.bridge else None,
        note="; ".join(filter(None, notes)),
        read_as=_parts(aim.polarity),
        warnings=warnings_of(workspace, query),
    )


def understood(workspace: Workspace, query: Query) -> Query:
    """The query with what it leaves open: regions are looked for by regions. Raises NotFound."""
    if query.within is not None:
        return query
    by_region = query.region is not None or (
        query.like is not None and workspace.catalog.item(query.like).kind == "region"
    )
    return replace(query, within="regions" if by_region else "images")


def warnings_of(workspace: Workspace, query: Query) -> tuple[str, ...]:
    """What of a query had no effect. It does not quote: a patient who is typed wrong is a patient."""
    named = query.exclude_patient
    if named is None or workspace.catalog.has_patient(named):
        return ()
    return ("--exclude-patient names nobody in this store: nobody was left out; hits say who is who",)


def _read_as(aim: Aim) -> str:
    return aim.polarity.sentence if aim.polarity else ""


def _parts(polarity: Polarity | None) -> Mapping[str, str] | None:
    if polarity is None or not polarity.denied:
        return None
    return {"affirmed": polarity.affirmed, "denied": polarity.denied, "cue": polarity.cue}


def check(query: Query) -> None:
    """Raises UsageError for a query that makes no sense."""
    if sum(given is not None for given in (query.image, query.text, query.like)) != 1:
        raise UsageError("give exactly one of --image, --text and --like")
    if query.region is not None and (query.image is None or query.within == "wholes"):
        raise UsageError("a region is a part of --image, and finds images, regions or reports")
    if query.k < 1:
        raise UsageError(f"-k must be at least 1, not {query.k}")
    if query.says is not None and (query.text is None or query.within in ("wholes", "regions")):
        raise UsageError("--says goes by a finding named in --text, among images or reports")
    if query.pool is not None and query.within != "wholes":
        raise UsageError("--pool is about wholes; look for them with --in wholes")


def _unused_bridge(workspace: Workspace, query: Query, aim: Aim) -> str:
    """What to say of a bridge that was named and not needed. Raises NotFound for an unknown name."""
    if query.bridge is None or aim.bridge is not None:
        return ""
    name = workspace.catalog.models.bridge(query.bridge).name
    return (
        f"bridge '{name}' was not used: query and {query.within} meet in the space of '{aim.space.encoder}'"
    )


def aim_of(workspace: Workspace, query: Query) -> Aim:
    """What a query for images or reports is compared with. Raises as `search` does."""
    wanted: TowerKind = "text" if query.within == "reports" else "image"
    if query.like is not None:
        return _aim_from_item(workspace, query, query.like)
    if query.image is not None:
        space = _image_space(workspace, query)
        vector = embed_file(workspace, space, Path(query.image), query.region)
        return _meet(workspace, query, vector, space, "image", wanted)
    text = query.text or ""
    if not text.strip():
        raise UsageError("--text is empty; say what to look for")
    return _aim_from_text(workspace, query, text, wanted)


def _aim_from_item(workspace: Workspace, query: Query, item_id: int) -> Aim:
    item = workspace.catalog.item(item_id)
    kind: TowerKind = "text" if item.kind == "report" else "image"
    wanted: TowerKind = "text" if query.within == "reports" else "image"
    space = _image_space(workspace, query) if kind == "image" else workspace.space(kind, query.encoder)
    found, vectors = workspace.catalog.item_vectors(space.id, np.array([item_id], np.int64))
    if not len(found):
        raise NotFound(f"item {item_id} has no vector of '{space.encoder}'; choose another with --encoder")
    return _meet(workspace, query, vectors[0], space, kind, wanted)


def _aim_from_text(workspace: Workspace, query: Query, text: str, wanted: str) -> Aim:
    told = read_polarity(text)
    space = _image_space(workspace, query) if wanted == "image" else workspace.space("text", query.encoder)
    if "text" in space.kinds or speaks(workspace, space):
        vectors = workspace.encoder_of(space, "text").encode_texts(told.texts)
        return Aim(told.direction(vectors), space, polarity=told)
    bridge = bridge_between(workspace, space, query.bridge)
    texts = workspace.catalog.space(bridge.text_space)
    vectors = workspace.encoder_of(texts, "text").encode_texts(told.texts)
    if not told.denied:
        return Aim(vectors[0], space, bridge, polarity=told)
    # Presence and absence are told apart where the images are, not before the bridge.
    across = bridge.other_side(space)(vectors)
    return Aim(told.direction(across), space, bridge, joint=True, polarity=told)


def _image_space(workspace: Workspace, query: Query) -> SpaceRow:
    """Where the query looks: for regions the first space that holds some, unless an encoder is named."""
    if query.within == "regions" and query.encoder is None:
        for row in reversed(workspace.spaces_of("image")):
            if len(workspace.catalog.vector_ids(row.id, None, "region")):
                return row
    return workspace.space("image", query.encoder)


def speaks(workspace: Workspace, space: SpaceRow) -> bool:
    """Whether texts are in the space of the images."""
    return bool(space.spec.get("shared_space"))


def _meet(workspace: Workspace, query: Query, vector: F32, space: SpaceRow, kind: str, wanted: str) -> Aim:
    """Bring a vector of one kind to the space that is searched, over a bridge when they differ."""
    if kind == wanted or speaks(workspace, space):
        return Aim(vector, space)
    images = space if kind == "image" else workspace.space("image", query.encoder)
    bridge = bridge_between(workspace, images, query.bridge)
    other = workspace.catalog.space(bridge.image_space if wanted == "image" else bridge.text_space)
    if space.fingerprint not in (bridge.image_space, bridge.text_space):
        raise BridgeMissing(
            f"bridge '{bridge.name}' does not start from the query's space; fit one that does"
        )
    return Aim(vector, other, bridge)


def _allowed(workspace: Workspace, query: Query, where: Where | None, space: SpaceRow) -> I64:
    kind = _KINDS[query.within or "images"]
    excluded = (query.exclude_patient,) if query.exclude_patient else ()
    return workspace.catalog.vector_ids(space.id, where, kind, excluded)


def nearest(workspace: Workspace, query: Query, aim: Aim, allow: I64) -> tuple[I64, F32, bool]:
    """Vector ids and scores of the best among the allowed, and whether they are exact."""
    catalog, space = workspace.catalog, aim.space
    k = min(query.k, max(1, len(allow)))  # room for more than there is would be taken for nothing
    gather: Callable[[I64], F32] = gatherer(catalog, space)
    vector = aim.vector
    index: VectorIndex
    if aim.bridge is None:
        index = workspace.indexes.get(space, query.index)
        restricted = None if len(allow) == len(index) else allow
    else:
        to_joint = aim.bridge.side_of(space)
        vector = vector if aim.joint else aim.bridge.other_side(space)(vector[None])[0]
        if not vector.any():
            raise UsageError(
                f"bridge '{aim.bridge.name}' has met nothing like this query in its pairs; say it in the "
                "words of a report, or fit a bridge of kind ridge"
            )
        joint = workspace.joints.get(aim.bridge.key, space.fingerprint, allow, gather, to_joint)
        index, gather = joint.index, joint.rows
        restricted = joint.index.ids()
    if query.per == "image":
        found = search_vectors(index, gather, vector, k, restricted)
    else:

        def groups(ids: I64) -> I64:
            codes = catalog.vector_items(space.id, ids)
            if query.per == "whole":
                return _whole_codes(catalog.column(codes.items, "whole"), codes.items)
            return codes.patients if query.per == "patient" else codes.studies

        found = search_groups(index, gather, vector, k, restricted, groups)
    ids, scores = found.neighbours.ids[0], found.neighbours.scores[0]
    return ids[ids >= 0], scores[ids >= 0], found.exact


def _whole_codes(wholes: list[str | None], items: I64) -> I64:
    """An integer for each volume, loop or slide; an item that is part of none stands for itself."""
    first: dict[str, int] = {}
    owners = [
        int(item) if whole is None else first.setdefault(whole, int(item))
        for whole, item in zip(wholes, items, strict=True)
    ]
    return np.array(owners, np.int64)


def items_where(workspace: Workspace, where: str | None) -> list[Item]:
    """Images, regions and reports that pass a filter."""
    found = workspace.catalog.select_items(parse_where(where) if where else None)
    return workspace.catalog.items(found.tolist())
