"""The items and sources of a batch: inserted, or joined to what the store knows already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, tuple_, update

from embedstore.errors import UsageError
from embedstore.storage.batches import IngestBatch, ItemKey, NewItem, NewSource
from embedstore.storage.chunks import chunked, unique
from embedstore.storage.followers import image_of, inherited, with_stored_regions
from embedstore.storage.merge import Disagreement, Merged, Word, merge, plain_header, reasserted
from embedstore.storage.tables import Conflict, Item, ItemSource, ProblemRecord, Source
from embedstore.storage.types import clean_text, now

#: Conflicts that no merge of headers brings about, and that it must not clear away.
BYTES, SOP_BYTES = "bytes", "sop_uid_bytes"
_KEYS_TOGETHER = 2_000


@dataclass(slots=True)
class CommittedItems:
    """ids: of every item of the batch. new: keys that were inserted. conflicts: rows that were not there.

    moved: known items that are another patient's now.
    """

    ids: dict[ItemKey, int] = field(default_factory=dict)
    new: set[ItemKey] = field(default_factory=set)
    conflicts: int = 0
    moved: int = 0


def find_ids(connection: Connection, keys: Iterable[ItemKey]) -> dict[ItemKey, int]:
    """Ids of the items among these keys."""
    found: dict[ItemKey, int] = {}
    for some in chunked(unique(keys), _KEYS_TOGETHER):
        hashes = unique(sha256 for sha256, _ in some)
        # One long file has many parts: ask for the pairs, not for every part of those bytes.
        wanted = (
            Item.sha256.in_(hashes) if len(hashes) == len(some) else tuple_(Item.sha256, Item.part).in_(some)
        )
        for item_id, sha256, part in connection.execute(
            select(Item.id, Item.sha256, Item.part).where(wanted)
        ):
            found[(sha256, part)] = item_id
    return {key: found[key] for key in keys if key in found}


def commit_sources(connection: Connection, batch: IngestBatch) -> dict[str, int]:
    """Insert or update the batch's sources; ids of these and of every other source its items name."""
    paths = unique([s.path for s in batch.sources] + [i.source for i in batch.items])
    known: dict[str, tuple[int, str | None]] = {}
    for some in chunked(paths):
        rows = connection.execute(select(Source.path, Source.id, Source.sha256).where(Source.path.in_(some)))
        known.update({path: (source_id, sha256) for path, source_id, sha256 in rows})
    latest = {source.path: source for source in batch.sources}
    fresh = [_source_row(s) for s in latest.values() if s.path not in known]
    ids = {path: source_id for path, (source_id, _) in known.items()}
    if fresh:
        inserted = connection.execute(insert(Source).returning(Source.path, Source.id), fresh)
        ids.update(inserted.all())
    again = [{**_source_row(s), "known_id": ids[s.path]} for s in latest.values() if s.path in known]
    if again:
        connection.execute(update(Source).where(Source.id == bindparam("known_id")), again)
        changed = [(latest[p], *known[p]) for p in known if p in latest]
        _note_changed_bytes(connection, changed, batch.run_id)
    for item in batch.items:
        if item.source not in ids:
            raise UsageError(f"an item names the source {item.source}, which is not in the batch or store")
    return ids


def _source_row(source: NewSource) -> dict[str, Any]:
    return {
        "path": source.path,
        "size": source.size,
        "mtime_ns": source.mtime_ns,
        "sha256": source.sha256,
        "outcome": source.outcome,
        "reason": clean_text(source.reason),
        "reader": source.reader,
        "complete": source.complete,
        "recorded": now(),
    }


def _note_changed_bytes(
    connection: Connection, met_again: Sequence[tuple[NewSource, int, str | None]], run_id: int | None
) -> None:
    """A file that holds other bytes than before: its old items stay, with a note of that.

    What earlier runs could not read in it no longer counts.
    """
    for source, source_id, old in met_again:
        if old is None or source.sha256 is None or old == source.sha256:
            continue
        earlier = ProblemRecord.run_id.is_distinct_from(run_id)
        connection.execute(delete(ProblemRecord).where(ProblemRecord.path == source.path, earlier))
        stale = select(Item.id).join(ItemSource, ItemSource.item_id == Item.id)
        stale = stale.where(ItemSource.source_id == source_id, Item.sha256 == old)
        noted = select(Conflict.item_id).where(Conflict.field == BYTES, Conflict.source_id == source_id)
        rows = [
            {"item_id": i, "field": BYTES, "kept": old, "other": source.sha256, "source_id": source_id}
            for i in connection.execute(stale.where(Item.id.not_in(noted))).scalars()
        ]
        if rows:
            connection.execute(insert(Conflict), rows)


def commit_items(connection: Connection, batch: IngestBatch, sources: dict[str, int]) -> CommittedItems:
    """Insert new items, join known ones to their further sources, and record who disagrees."""
    done = CommittedItems()
    if not batch.items:
        return done
    batch = with_stored_regions(connection, batch)
    first: dict[ItemKey, NewItem] = {}
    for item in batch.items:
        first.setdefault(item.key, item)
    done.ids = find_ids(connection, first)
    done.new = {key for key in first if key not in done.ids}
    before = _known_words(connection, list(done.ids.values()))
    told = {key: before.get(item_id, {}) for key, item_id in done.ids.items()}
    told |= _told_of_images(connection, [key for key in done.new if first[key].kind == "region"])
    words = _all_words(batch, sources, told)
    merged = {key: merge(key, list(words[key].values())) for key in first}
    done.moved = _moved(connection, {done.ids[key]: merged[key] for key in first if key not in done.new})
    _insert_items(connection, [first[key] for key in first if key in done.new], merged, done.ids)
    _update_items(connection, [first[key] for key in first if key not in done.new], merged, done.ids)
    _write_words(connection, words, before, done.ids)
    done.conflicts = _write_conflicts(connection, merged, done)
    new = [item for item in first.values() if item.key in done.new]
    done.conflicts += _note_shared_sop(connection, new, done.ids)
    return done


Words = dict[int, Word]


def _known_words(connection: Connection, item_ids: Sequence[int]) -> dict[int, Words]:
    """What earlier batches recorded, per item in the order the sources were met."""
    found: dict[int, Words] = {}
    for some in chunked(item_ids):
        query = select(ItemSource.item_id, ItemSource.source_id, ItemSource.header, ItemSource.overruled)
        rows = connection.execute(query.where(ItemSource.item_id.in_(some)).order_by(ItemSource.id))
        for item_id, source_id, header, overruled in rows:
            found.setdefault(item_id, {})[source_id] = Word(source_id, header, overruled or {})
    return found


def _told_of_images(connection: Connection, regions: Sequence[ItemKey]) -> dict[ItemKey, Words]:
    """What new regions are told of the images they lie on."""
    images = find_ids(connection, unique(map(image_of, regions)))
    words = _known_words(connection, list(images.values()))
    return {key: inherited(words.get(images.get(image_of(key), 0), {})) for key in regions}


def _all_words(
    batch: IngestBatch, sources: dict[str, int], told: dict[ItemKey, Words]
) -> dict[ItemKey, Words]:
    """told: what was said of them before."""
    overruled: dict[tuple[ItemKey, int], dict[str, str]] = {}
    for said in batch.assertions:
        key = (said.key, sources.get(said.source, 0))
        overruled.setdefault(key, {})[said.field] = clean_text(said.other)
    words: dict[ItemKey, Words] = {}
    for item in batch.items:
        per_source = words.setdefault(item.key, dict(told.get(item.key, {})))
        source_id = sources[item.source]
        word = Word(source_id, plain_header(item.header), overruled.get((item.key, source_id), {}))
        old = per_source.get(source_id)
        per_source[source_id] = word if old is None else reasserted(old, word)
    return words


def _moved(connection: Connection, merged: dict[int, Merged]) -> int:
    """How many known items this makes another patient's; a table may correct who they are of."""
    moved = 0
    for some in chunked(list(merged)):
        rows = connection.execute(select(Item.id, Item.patient).where(Item.id.in_(some)))
        moved += sum(merged[item_id].columns["patient"] != patient for item_id, patient in rows)
    return moved


def _insert_items(
    connection: Connection, items: Sequence[NewItem], merged: dict[ItemKey, Merged], ids: dict[ItemKey, int]
) -> None:
    rows = [
        {
            "sha256": item.sha256,
            "part": item.part,
            "kind": item.kind,
            "reader": item.reader,
            "text": None if item.text is None else clean_text(item.text),
            "about_path": item.about_path,
            **merged[item.key].columns,
        }
        for item in items
    ]
    if rows:
        inserted = connection.execute(insert(Item).returning(Item.id, Item.sha256, Item.part), rows)
        ids.update({(sha256, part): item_id for item_id, sha256, part in inserted})


def _update_items(
    connection: Connection, items: Sequence[NewItem], merged: dict[ItemKey, Merged], ids: dict[ItemKey, int]
) -> None:
    rows = [
        {"known_id": ids[item.key], "late_about": item.about_path, **merged[item.key].columns}
        for item in items
    ]
    if rows:
        about = func.coalesce(Item.about_path, bindparam("late_about", type_=Item.about_path.type))
        values: dict[str, Any] = {
            name: bindparam(name) for name in rows[0] if name not in {"known_id", "late_about"}
        }
        statement = update(Item).where(Item.id == bindparam("known_id")).values(about_path=about, **values)
        connection.execute(statement, rows)


def _write_words(
    connection: Connection,
    words: dict[ItemKey, Words],
    before: dict[int, Words],
    ids: dict[ItemKey, int],
) -> None:
    new, again = [], []
    for key, per_source in words.items():
        item_id = ids[key]
        known = before.get(item_id, {})
        for source_id, word in per_source.items():
            row = {"header": dict(word.header), "overruled": dict(word.overruled) or None}
            if source_id not in known:
                new.append({"item_id": item_id, "source_id": source_id, **row})
            elif word != known[source_id]:
                again.append({"of_item": item_id, "of_source": source_id, **row})
    if new:
        connection.execute(insert(ItemSource), new)
    if again:
        of = (ItemSource.item_id == bindparam("of_item"), ItemSource.source_id == bindparam("of_source"))
        connection.execute(update(ItemSource).where(*of), again)


def _write_conflicts(connection: Connection, merged: dict[ItemKey, Merged], done: CommittedItems) -> int:
    """Replace the header conflicts of these items; how many were not known before."""
    known_ids = [item_id for key, item_id in done.ids.items() if key not in done.new]
    before: set[tuple[int, str, int]] = set()
    for some in chunked(known_ids):
        of_these = (Conflict.item_id.in_(some), Conflict.field.not_in((BYTES, SOP_BYTES)))
        query = select(Conflict.item_id, Conflict.field, Conflict.source_id).where(*of_these)
        before.update((i, name, source) for i, name, source in connection.execute(query))
        connection.execute(delete(Conflict).where(*of_these))
    rows = [_conflict(done.ids[key], said) for key, one in merged.items() for said in one.disagreements]
    if rows:
        connection.execute(insert(Conflict), rows)
    return sum((row["item_id"], row["field"], row["source_id"]) not in before for row in rows)


def _conflict(item_id: int, said: Disagreement) -> dict[str, Any]:
    return {
        "item_id": item_id,
        "field": said.field,
        "kept": said.kept,
        "other": said.other,
        "source_id": said.source_id,
    }


def _note_shared_sop(connection: Connection, new: Sequence[NewItem], ids: dict[ItemKey, int]) -> int:
    """A SOP Instance UID is one object (DICOM PS3.5 section 9): on other bytes it is told, once a file."""
    with_uid: dict[str, NewItem] = {}
    for item in new:
        if item.kind == "image" and item.header.sop_uid:
            with_uid.setdefault(item.sha256, item)
    uids = unique(clean_text(item.header.sop_uid or "") for item in with_uid.values())
    met: dict[str, list[tuple[int, str, int]]] = {}
    for some in chunked(uids):
        query = select(Item.sop_uid, Item.id, Item.sha256, ItemSource.source_id)
        query = query.join(ItemSource, ItemSource.item_id == Item.id)
        query = query.where(Item.sop_uid.in_(some), Item.kind == "image").order_by(Item.id, ItemSource.id)
        for uid, twin_id, sha256, source_id in connection.execute(query):
            met.setdefault(uid or "", []).append((twin_id, sha256, source_id))
    rows = []
    for item in with_uid.values():
        item_id = ids[item.key]
        for twin_id, sha256, source_id in met.get(clean_text(item.header.sop_uid or ""), []):
            if twin_id < item_id and sha256 != item.sha256:
                rows.append(_conflict(item_id, Disagreement(SOP_BYTES, item.sha256, sha256, source_id)))
                break
    if rows:
        connection.execute(insert(Conflict), rows)
    return len(rows)
