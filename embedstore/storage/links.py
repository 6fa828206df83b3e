"""Which report speaks about which image: by the path it came with, then SOP, study, patient."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    exists,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
    tuple_,
)
from sqlalchemy.orm import aliased

from embedstore.storage.tables import Item, ItemSource, Link, Source

_Report = aliased(Item, name="report")
_Image = aliased(Item, name="image")
_BY = ("path", "sop", "study", "patient")


def link_reports(connection: Connection) -> int:
    """Link what can be linked now; by how many links there are more.

    A report keeps only its most certain kind of link: one about a path is about that image alone, and one
    of a study is about all of that study's images. Two known patients are never linked. By patient only
    when all images of that patient are of one study. A link goes when it no longer holds, since a table may
    tell later whose an image is.
    """
    before = _links(connection)
    for rank, via in enumerate(_BY):
        pairs = _candidates(via).where(_Report.kind == "report")
        reports = pairs.with_only_columns(_Report.id)
        connection.execute(delete(Link).where(Link.rank > rank, Link.report_id.in_(reports)))
        if via != "path":  # a path is what the report came with, whoever it is about
            holds = tuple_(Link.image_id, Link.report_id).in_(pairs)
            connection.execute(delete(Link).where(Link.rank == rank, not_(holds)))
        surer = exists().where(Link.report_id == _Report.id, Link.rank < rank)
        there = exists().where(Link.report_id == _Report.id, Link.image_id == _Image.id)
        new = pairs.where(not_(surer), not_(there)).add_columns(literal(via), literal(rank)).distinct()
        connection.execute(insert(Link).from_select(["image_id", "report_id", "via", "rank"], new))
    return _links(connection) - before


def _links(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(Link)).scalar_one())


def _candidates(via: str) -> Select[*tuple[Any, ...]]:
    """(image id, report id) of the pairs that belong together in one way; each join goes by an index."""
    ids = select(_Image.id, _Report.id).select_from(_Report)
    if via == "path":
        return (
            ids.join(Source, Source.path == _Report.about_path)
            .join(ItemSource, ItemSource.source_id == Source.id)
            .join(_Image, and_(_Image.id == ItemSource.item_id, _Image.kind == "image"))
        )
    same = {
        "sop": _Report.sop_uid == _Image.sop_uid,
        "study": _Report.study_uid == _Image.study_uid,
        "patient": _Report.patient == _Image.patient,
    }[via]
    further = _one_study() if via == "patient" else _not_two_patients()
    unbound = _Report.about_path.is_(None)
    return ids.join(_Image, and_(_Image.kind == "image", same)).where(unbound, further)


def _one_study() -> ColumnElement[bool]:
    """A report without study or object, of a known patient whose images are all of one study (or of none)."""
    other = aliased(Item)
    studies = (
        select(func.count(func.distinct(func.coalesce(other.study_uid, ""))))
        .where(other.kind == "image", other.patient == _Report.patient)
        .correlate(_Report)
        .scalar_subquery()
    )
    return and_(_Report.patient_known, _Report.study_uid.is_(None), _Report.sop_uid.is_(None), studies == 1)


def _not_two_patients() -> ColumnElement[bool]:
    return or_(
        _Report.patient == _Image.patient,
        _Report.patient_id == _Image.patient_id,
        not_(_Report.patient_known),
        not_(_Image.patient_known),
    )
