"""Whether the truth is sound: every byte of every segment and array file, and SQL against itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, func, literal_column, select, text

from embedstore.errors import StoreDamaged
from embedstore.fingerprint import file_sha256
from embedstore.storage import overview
from embedstore.storage.catalog import Catalog
from embedstore.storage.database import Database
from embedstore.storage.layout import StoreFolder
from embedstore.storage.segments import SegmentReader, segment_name
from embedstore.storage.tables import Block, Change, Item, ItemSource, Segment, Space, StoreMeta, Vector
from embedstore.storage.vectors import segment_state
from embedstore.storage.wholes import CURRENT, WHOLE_KIND, derived_note, outdated


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong. what: "segment", "arrays", "orphan", "database", "log" or "wholes". file: its path."""

    what: str
    file: str
    detail: str


def verify(catalog: Catalog) -> list[Finding]:
    """Everything that is wrong with the store's truth, [] when it is sound; indexes are not looked at."""
    folder = catalog.folder
    found = [Finding("database", str(catalog.database.where), fault) for fault in _faults(catalog.database)]
    if found:
        return found
    with catalog.database.read() as connection:
        found += _segment_findings(connection, folder)
        found += _log_findings(connection, str(catalog.database.where))
        found += _derived_findings(connection, str(catalog.database.where))
    return found + list(_array_findings(catalog))


def _faults(database: Database) -> list[str]:
    """What the database says of itself."""
    if not database.is_sqlite:
        return []
    try:
        with database.read() as connection:
            rows = connection.execute(text("PRAGMA integrity_check(10)")).scalars().all()
            broken = connection.execute(text("PRAGMA foreign_key_check")).all()
    except StoreDamaged as error:
        return [str(error)]
    faults = [row for row in rows if row != "ok"]
    tables = sorted({str(row[0]) for row in broken})
    return faults + [f"rows of table {table} point at rows that are gone" for table in tables]


def _segment_findings(connection: Connection, folder: StoreFolder) -> Iterator[Finding]:
    query = select(Segment.id, Segment.filename, Segment.space_id).order_by(Segment.id)
    known: dict[str, int] = {}
    for segment_id, filename, space_id in connection.execute(query):
        known[filename] = space_id
        path = str(folder.segments / filename)
        for fault in _segment_faults(connection, folder, segment_id):
            yield Finding("segment", path, fault)
    # What a killed writer left of a segment it was about to begin is not part of the store: no finding.
    spaces = connection.execute(select(Space.id)).scalars()
    begun = {segment_name(s, sum(of == s for of in known.values()) + 1) for s in spaces}
    for stranger in sorted(path.name for path in folder.segments.iterdir() if path.name not in known):
        if stranger not in begun:
            yield Finding("orphan", str(folder.segments / stranger), "belongs to no commit of this store")


def _segment_faults(connection: Connection, folder: StoreFolder, segment_id: int) -> Iterator[str]:
    state, blocks = segment_state(connection, segment_id)
    covered = 0
    for block in blocks:
        if block.first_row != covered:
            yield f"its blocks leave a gap or overlap at row {covered}"
        covered = block.first_row + block.n_rows
    if covered != state.rows:
        yield f"its blocks hold {covered} rows, its record says {state.rows}"
        return
    try:
        reader = SegmentReader(folder.segments, state, blocks)
    except StoreDamaged as error:
        yield str(error)
        return
    for block in reader.damaged_blocks():
        yield f"fails its checksum in rows {block.first_row} to {block.first_row + block.n_rows - 1}"


_CONTRADICTIONS = {
    "{n} vectors lie outside the committed rows of their segment": (
        select(func.count())
        .select_from(Vector)
        .join(Segment, Segment.id == Vector.segment_id)
        .where((Vector.row >= Segment.rows) | (Vector.space_id != Segment.space_id))
    ),
    "{n} vectors are not in the change log as added": (
        select(func.count())
        .select_from(Vector)
        .where(
            ~select(literal_column("1"))
            .where(Change.vector_id == Vector.id, Change.space_id == Vector.space_id, Change.op == "add")
            .correlate(Vector)
            .exists()
        )
    ),
    "{n} vectors that the change log added are gone without a removal": (
        select(func.count())
        .select_from(Change)
        .where(
            Change.op == "add",
            ~select(literal_column("1")).where(Vector.id == Change.vector_id).correlate(Change).exists(),
            Change.vector_id.not_in(select(Change.vector_id).where(Change.op == "remove")),
        )
    ),
    "{n} items were met at no source": (
        select(func.count())
        .select_from(Item)
        .where(~select(literal_column("1")).where(ItemSource.item_id == Item.id).correlate(Item).exists())
    ),
    "{n} segments have another dimension than their space": (
        select(func.count())
        .select_from(Segment)
        .join(Space, Space.id == Segment.space_id)
        .where(Segment.dim != Space.dim)
    ),
    "{n} blocks belong to no segment": (
        select(func.count()).select_from(Block).where(Block.segment_id.not_in(select(Segment.id)))
    ),
}


def _log_findings(connection: Connection, database: str) -> Iterator[Finding]:
    for detail, query in _CONTRADICTIONS.items():
        n = connection.execute(query).scalar_one()
        if n:
            yield Finding("log", database, detail.format(n=n))


def _derived_findings(connection: Connection, database: str) -> Iterator[Finding]:
    """Wholes that do not describe the parts there are, unless they are known to be behind."""
    for space in overview.spaces(connection):
        note = select(StoreMeta.value).where(StoreMeta.key == f"note:{derived_note(space.fingerprint)}")
        if WHOLE_KIND not in space.kinds or connection.execute(note).scalar() != CURRENT:
            continue
        stale = outdated(connection, space)
        if stale:
            pooling = space.spec["derived"]["pooling"]["method"]
            yield Finding("wholes", database, f"{len(stale)} wholes ({pooling}) are not those of their parts")


def _array_findings(catalog: Catalog) -> Iterator[Finding]:
    for name, sha256 in sorted(catalog.models.files().items()):
        path = catalog.folder.arrays / name
        try:
            fault = None if file_sha256(path) == sha256 else "fails its checksum"
        except OSError as error:
            fault = f"cannot be read ({error.strerror})"
        if fault is not None:
            yield Finding("arrays", str(path), fault)
