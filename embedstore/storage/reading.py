"""From ids to what a person sees: items, columns, texts, groups. Functions of one connection."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, and_, exists, func, not_, or_, select

from embedstore.contracts.image import I64
from embedstore.contracts.query import Item as ItemRecord
from embedstore.contracts.record import HEADER_COLUMNS
from embedstore.errors import FilterError, NotFound
from embedstore.storage.chunks import chunked, id_array, id_arrays, unique
from embedstore.storage.filter_columns import ATTRIBUTE_PREFIX, COLUMNS_BY_NAME
from embedstore.storage.filter_sql import has_attribute
from embedstore.storage.filters import Where
from embedstore.storage.one_person import all_names, joined_names
from embedstore.storage.records import Pairs
from embedstore.storage.tables import Conflict, Item, ItemSource, Link, Source, Vector

_MANY = 50_000  # from here on reading the whole table beats asking for its rows

_SAMPLE = 1_000  # items whose attributes are looked through for the nearest name
_ID_BITS = 63  # of SQL's integers


def select_items(connection: Connection, where: Where | None, kind: str | None) -> I64:
    """Sorted ids of the items that pass."""
    _refuse_unknown(connection, where)
    return id_array(connection, select(Item.id).where(*_conditions(where, kind)))


def _conditions(where: Where | None, kind: str | None) -> list[ColumnElement[bool]]:
    conditions = [where.clause()] if where is not None else []
    return [*conditions, Item.kind == kind] if kind is not None else conditions


def vector_ids(
    connection: Connection,
    space_id: int,
    where: Where | None,
    kind: str | None,
    exclude_patients: Collection[str],
) -> I64:
    """Sorted ids of the space's vectors whose items pass: the allow-set of a search."""
    _refuse_unknown(connection, where)
    query = select(Vector.id).where(Vector.space_id == space_id)
    conditions = _conditions(where, kind)
    if exclude_patients:
        conditions.append(not_(of_patients(all_names(connection, exclude_patients))))
    if conditions:
        query = query.join(Item, Item.id == Vector.item_id).where(*conditions)
    return id_array(connection, query)


def _refuse_unknown(connection: Connection, where: Where | None) -> None:
    """Raise FilterError for an attribute that no item has: a misspelt one would answer with nothing."""
    for column in where.columns if where is not None else ():
        name = column.removeprefix(ATTRIBUTE_PREFIX)
        if name == column or connection.execute(select(Item.id).where(has_attribute(name)).limit(1)).first():
            continue
        samples = connection.execute(select(Item.extra).limit(_SAMPLE)).scalars()
        near = get_close_matches(name, {key for extra in samples for key in extra}, n=1)
        hint = f"did you mean attr.{near[0]}? " if near else ""
        raise FilterError(
            f"no item of the store has attr.{name}; {hint}'embedstore inspect FILE' shows those of a file"
        )


def of_patients(patients: Collection[str]) -> ColumnElement[bool]:
    """Items of these patients, by patient key, PatientID or group; also those a source merely claims."""
    names = list(patients)
    claims = [Conflict.other.in_(names), *(Conflict.other.like(f"%/{_like(n)}", escape="\\") for n in names)]
    claimed = exists().where(
        Conflict.item_id == Item.id,
        Conflict.field.in_(("patient", "patient_id", "patient_group")),
        or_(*claims),
    )
    return or_(
        Item.patient.in_(names),
        and_(Item.patient_id.is_not(None), Item.patient_id.in_(names)),
        and_(Item.patient_group.is_not(None), Item.patient_group.in_(names)),
        claimed.correlate(Item),
    )


def knows_patient(connection: Connection, patient: str) -> bool:
    """Whether any item is of this patient, by key, PatientID or group, or claimed for one."""
    return connection.execute(select(Item.id).where(of_patients([patient])).limit(1)).first() is not None


def _like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def items(connection: Connection, item_ids: Sequence[int]) -> list[ItemRecord]:
    """Whole items in the order asked. Raises NotFound for an id that is not there."""
    found: dict[int, ItemRecord] = {}
    ids = unique(int(i) for i in item_ids)
    for beyond in (i for i in ids if i.bit_length() > _ID_BITS):
        raise NotFound(f"the store holds no item {beyond}")
    for some in chunked(ids):
        rows = connection.execute(select(Item.__table__).where(Item.id.in_(some))).mappings().all()
        images = [row["id"] for row in rows if row["kind"] == "image"]
        paths, texts = paths_of(connection, some), linked_texts(connection, images)
        for row in rows:
            found[row["id"]] = _item(row, paths.get(row["id"], ()), texts)
    missing = [i for i in ids if i not in found]
    if missing:
        raise NotFound(f"the store holds no item {missing[0]}")
    return [found[int(i)] for i in item_ids]


def _item(row: Any, paths: Sequence[str], texts: dict[int, str]) -> ItemRecord:
    return ItemRecord(
        id=row["id"],
        kind=row["kind"],
        path=paths[0] if paths else "",
        paths=tuple(paths),
        part=row["part"],
        sha256=row["sha256"],
        reader=row["reader"],
        patient=row["patient"],
        patient_known=row["patient_known"],
        columns={name: row[name] for name in HEADER_COLUMNS},
        extra=row["extra"],
        report=row["text"] if row["kind"] == "report" else texts.get(row["id"]),
    )


def paths_of(connection: Connection, item_ids: Sequence[int]) -> dict[int, list[str]]:
    """Every path an item was met at, in the order of meeting."""
    found: dict[int, list[str]] = {}
    for some in chunked(item_ids):
        query = select(ItemSource.item_id, Source.path).join(Source, Source.id == ItemSource.source_id)
        query = query.where(ItemSource.item_id.in_(some)).order_by(ItemSource.id)
        for item_id, path in connection.execute(query):
            found.setdefault(item_id, []).append(path)
    return found


def reports_of(connection: Connection, image_ids: Sequence[int]) -> dict[int, list[int]]:
    """Reports linked to images; an image without one is absent."""
    found: dict[int, list[int]] = {}
    for some in chunked([int(i) for i in image_ids]):
        query = select(Link.image_id, Link.report_id).where(Link.image_id.in_(some))
        for image, report in connection.execute(query.order_by(Link.report_id)):
            found.setdefault(image, []).append(report)
    return found


def linked_texts(connection: Connection, image_ids: Sequence[int]) -> dict[int, str]:
    """The text of the reports linked to images, several joined by an empty line."""
    found: dict[int, list[str]] = {}
    for some in chunked(image_ids):
        query = select(Link.image_id, Item.text).join(Item, Item.id == Link.report_id)
        query = query.where(Link.image_id.in_(some)).order_by(Link.report_id)
        for image, text in connection.execute(query):
            if text and text not in found.setdefault(image, []):
                found[image].append(text)
    return {image: "\n\n".join(texts) for image, texts in found.items() if texts}


def texts(connection: Connection, item_ids: Sequence[int]) -> list[str]:
    """A report's own text, an image's linked text, "" when there is none."""
    ids = [int(i) for i in item_ids]
    own: dict[int, str] = {}
    for some in chunked(unique(ids)):
        query = select(Item.id, Item.text).where(Item.id.in_(some), Item.text.is_not(None))
        own.update((item_id, text or "") for item_id, text in connection.execute(query))
    linked = linked_texts(connection, unique(i for i in ids if i not in own))
    return [own.get(i) or linked.get(i, "") for i in ids]


def columns(connection: Connection, item_ids: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
    """Named columns of items in the order asked. Raises FilterError for an unknown name, NotFound."""
    ids = [int(i) for i in item_ids]
    attributes = [name for name in names if name.startswith("attr.")]
    plain = [name for name in names if name not in attributes]
    for name in plain:
        if name not in COLUMNS_BY_NAME:
            raise FilterError(
                f"there is no column '{name}'; columns: {', '.join(COLUMNS_BY_NAME)}, and attr.NAME"
            )
    selected = [Item.__table__.c[name] for name in plain if name not in {"path", "id"}]
    extra = [Item.extra] if attributes else []
    found: dict[int, dict[str, Any]] = {}
    for some in chunked(unique(ids)):
        paths = paths_of(connection, some) if "path" in plain else {}
        for row in connection.execute(select(Item.id, *selected, *extra).where(Item.id.in_(some))).mappings():
            values = dict(row)
            values["path"] = next(iter(paths.get(row["id"], ())), None)
            values.update({a: (row["extra"] or {}).get(a.removeprefix("attr.")) for a in attributes})
            found[row["id"]] = {name: values[name] for name in names}
    missing = next((i for i in ids if i not in found), None)
    if missing is not None:
        raise NotFound(f"the store holds no item {missing}")
    return [found[i] for i in ids]


def codes(connection: Connection, item_ids: I64) -> tuple[I64, I64]:
    """Codes of patient and study, (n,) each, in the order asked."""
    query = select(Item.id, Item.patient_code, Item.study_code)
    wanted = np.unique(item_ids)
    if len(wanted) > _MANY:
        table = id_arrays(connection, query)
    else:
        parts = [id_arrays(connection, query.where(Item.id.in_(some))) for some in chunked(wanted.tolist())]
        table = np.concatenate(parts, axis=1) if parts else np.empty((3, 0), np.int64)
    table = table[:, np.argsort(table[0])]
    at = np.searchsorted(table[0], item_ids)
    return table[1][at], table[2][at]


def patient_groups(connection: Connection, item_ids: Sequence[int]) -> list[str]:
    """What splits go by: the person, who may stand under several names (see `one_person`)."""
    joined = joined_names(connection)
    return [joined.get(row["patient"], row["patient"]) for row in columns(connection, item_ids, ["patient"])]


def pairs(connection: Connection, image_space: int, text_space: int, where: Where | None) -> Pairs:
    """Linked images and reports that both have their vector; `where` speaks about the images."""
    image, text = Vector.__table__.alias("image_vector"), Vector.__table__.alias("text_vector")
    query = (
        select(Link.image_id, Link.report_id)
        .join(Item, Item.id == Link.image_id)
        .join(image, and_(image.c.item_id == Link.image_id, image.c.space_id == image_space))
        .join(text, and_(text.c.item_id == Link.report_id, text.c.space_id == text_space))
        .where(*_conditions(where, None))
    )
    found = id_arrays(connection, query)
    found = found[:, np.lexsort(found[::-1])]
    return Pairs(found[0], found[1], tuple(patient_groups(connection, found[0].tolist())))


def count(connection: Connection, table: type[Any], *conditions: ColumnElement[bool]) -> int:
    """Rows of a table."""
    return int(connection.execute(select(func.count()).select_from(table).where(*conditions)).scalar_one())
