"""What the store knows about itself: spaces, sources, counts, problems, conflicts, runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, and_, case, false, func, insert, or_, select, update

from embedstore.contracts.encoder import EncoderSpec, TowerKind
from embedstore.errors import NotFound, SpaceMismatch, UsageError
from embedstore.storage.batches import ItemKey
from embedstore.storage.chunks import chunked, unique
from embedstore.storage.commit_items import find_ids
from embedstore.storage.reading import count, paths_of
from embedstore.storage.records import ConflictRow, Counts, Missing, ProblemRow, RunRow, SourceRow, SpaceRow
from embedstore.storage.tables import (
    Conflict,
    Item,
    ItemSource,
    Link,
    ProblemRecord,
    Run,
    Source,
    Space,
    Vector,
)
from embedstore.storage.types import now


def ensure_space(connection: Connection, spec: EncoderSpec, kind: TowerKind) -> int:
    """Record the space of a bound encoder's tower; its id. Raises UsageError for a template."""
    tower = spec.tower(kind)
    if tower is None or tower.space is None or tower.dim is None:
        raise UsageError(f"encoder '{spec.name}' has no loaded {kind} tower")
    row = connection.execute(select(Space).where(Space.fingerprint == tower.space)).mappings().first()
    if row is None:
        new = {
            "fingerprint": tower.space,
            "encoder": spec.name,
            "kinds": [kind],
            "dim": tower.dim,
            "metric": tower.metric,
            "spec": asdict(spec),
            "created": now(),
        }
        return int(connection.execute(insert(Space).returning(Space.id), [new]).scalar_one())
    if (row["dim"], row["metric"]) != (tower.dim, tower.metric):
        raise SpaceMismatch(
            f"space {tower.space[:12]} is recorded with {row['dim']} dimensions, not {tower.dim}"
        )
    if kind not in row["kinds"]:
        kinds = sorted([*row["kinds"], kind])
        connection.execute(update(Space).where(Space.id == row["id"]).values(kinds=kinds))
    return int(row["id"])


def spaces(connection: Connection) -> list[SpaceRow]:
    """All spaces, oldest first."""
    held = dict(connection.execute(select(Vector.space_id, func.count()).group_by(Vector.space_id)).all())
    rows = connection.execute(select(Space.__table__).order_by(Space.id)).mappings()
    return [SpaceRow(**{**row, "kinds": tuple(row["kinds"])}, vectors=held.get(row["id"], 0)) for row in rows]


def space(connection: Connection, name: str | int) -> SpaceRow:
    """The space with that id or fingerprint. Raises NotFound."""
    for row in spaces(connection):
        if name in (row.id, row.fingerprint):
            return row
    raise NotFound(f"the store has no space {str(name)[:16]}")


def known_sources(
    connection: Connection,
    paths: Iterable[str],
    image_space: int | None,
    text_space: int | None,
    site: str | None,
) -> dict[str, SourceRow]:
    """Those of the paths the store has met."""
    wanted = [("image", image_space), ("report", text_space)]
    kinds = [kind for kind, space_id in wanted if space_id is not None]
    in_its_space = or_(*(and_(Item.kind == kind, Vector.space_id == space_id) for kind, space_id in wanted))
    lacking = and_(Item.kind.in_(kinds), Vector.id.is_(None))
    nowhere = and_(Item.id.is_not(None), Item.site.is_(None))
    other = Item.site != site if site is not None else false()
    query = (
        select(
            Source.__table__,
            func.count(Item.id).label("items"),
            *(func.sum(case((one, 1), else_=0)) for one in (lacking, nowhere, other)),
        )
        .outerjoin(ItemSource, ItemSource.source_id == Source.id)
        .outerjoin(Item, Item.id == ItemSource.item_id)
        .outerjoin(Vector, and_(Vector.item_id == Item.id, in_its_space))
        .group_by(*Source.__table__.c)
    )
    found: dict[str, SourceRow] = {}
    for some in chunked(unique(paths)):
        for *columns, _, items, pending, siteless, elsewhere in connection.execute(
            query.where(Source.path.in_(some))
        ):
            names = ("id", "path", "size", "mtime_ns", "sha256", "outcome", "reason", "reader", "complete")
            values: dict[str, Any] = dict(zip(names, columns, strict=True))
            counts = {"items": items, "pending": pending, "siteless": siteless, "elsewhere": elsewhere}
            values.update({name: int(number or 0) for name, number in counts.items()})
            found[values["path"]] = SourceRow(**values)
    return found


def source_sha256(connection: Connection, path: str, size: int, mtime_ns: int) -> str | None:
    """What the bytes of a source were when it was met with this size and time; None when it was not."""
    query = select(Source.sha256).where(Source.path == path, Source.size == size, Source.mtime_ns == mtime_ns)
    found: str | None = connection.execute(query).scalar()
    return found


def missing(connection: Connection, keys: Iterable[ItemKey], space_id: int) -> Missing:
    """Which keys are no item, and which have no vector in the space."""
    wanted = unique(keys)
    ids = find_ids(connection, wanted)
    embedded: set[int] = set()
    for some in chunked(list(ids.values())):
        query = select(Vector.item_id).where(Vector.space_id == space_id, Vector.item_id.in_(some))
        embedded.update(connection.execute(query).scalars())
    return Missing(
        items=frozenset(key for key in wanted if key not in ids),
        vectors=frozenset(key for key in wanted if ids.get(key) not in embedded),
    )


def begin_run(connection: Connection, verb: str, arguments: Mapping[str, Any]) -> int:
    """Record that a verb began; the id of the run."""
    row = {"verb": verb, "arguments": dict(arguments), "started": now()}
    return int(connection.execute(insert(Run).returning(Run.id), [row]).scalar_one())


def end_run(connection: Connection, run_id: int, counts: Mapping[str, Any]) -> None:
    """Record that a verb ended, with its counts."""
    connection.execute(update(Run).where(Run.id == run_id).values(ended=now(), counts=dict(counts)))


def runs(connection: Connection, limit: int | None, verb: str | None = None) -> list[RunRow]:
    """The latest runs, or those of one verb, newest first."""
    of_verb = [Run.verb == verb] if verb is not None else []
    query = select(Run.__table__).where(*of_verb).order_by(Run.id.desc()).limit(limit)
    return [RunRow(**row) for row in connection.execute(query).mappings()]


def counts(connection: Connection) -> Counts:
    """Totals of everything."""
    patients = select(func.count(func.distinct(Item.patient)))
    images = count(connection, Item, Item.kind == "image")
    reports = count(connection, Item, Item.kind == "report")
    regions = count(connection, Item, Item.kind == "region")
    failures = count(connection, ProblemRecord, ProblemRecord.kind == "failure")
    return Counts(
        items=images + reports + regions,
        images=images,
        reports=reports,
        regions=regions,
        sources=count(connection, Source),
        vectors={row.fingerprint: row.vectors for row in spaces(connection)},
        patients=connection.execute(patients.where(Item.patient_known.is_(True))).scalar_one(),
        unknown_patients=connection.execute(patients.where(Item.patient_known.is_(False))).scalar_one(),
        failures=failures,
        skips=count(connection, ProblemRecord) - failures,
        conflicts=count(connection, Conflict),
        links=count(connection, Link),
    )


def problems(connection: Connection, limit: int | None, kind: str | None) -> list[ProblemRow]:
    """Recorded failures and skips, by path and part."""
    of_kind = [ProblemRecord.kind == kind] if kind is not None else []
    names = ("path", "part", "stage", "reason", "kind", "recorded")
    query = select(*(getattr(ProblemRecord, name) for name in names)).where(*of_kind)
    rows = connection.execute(query.order_by(ProblemRecord.path, ProblemRecord.part).limit(limit)).mappings()
    return [ProblemRow(**row) for row in rows]


def conflicts(connection: Connection, limit: int | None) -> list[ConflictRow]:
    """Recorded disagreements, oldest first."""
    query = (
        select(Conflict.item_id, Conflict.field, Conflict.kept, Conflict.other, Source.path)
        .join(Source, Source.id == Conflict.source_id)
        .order_by(Conflict.id)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    paths = paths_of(connection, unique(row.item_id for row in rows))
    return [
        ConflictRow(
            item_id=row.item_id,
            path=next(iter(paths.get(row.item_id, ())), ""),
            field=row.field,
            kept=row.kept,
            other=row.other,
            other_path=row.path,
        )
        for row in rows
    ]
