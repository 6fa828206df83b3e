"""The schema: SQLAlchemy models of every table. Migrations must arrive at exactly this (a test says so)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, MetaData, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from embedstore.storage.types import Count, Id, Json, Number, PathText, PlainText

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """`str` is text ordered by code point, `int` has 64 bits, `float` is a double, the rest JSON."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it as a class attribute
        str: PlainText,
        int: Count,
        float: Number,
        dict[str, Any]: Json,
        dict[str, Any] | None: Json,
        list[Any]: Json,
    }


def _id() -> Mapped[int]:
    return mapped_column(Id, primary_key=True, autoincrement=True)


#: Ids are never used twice, even after the highest row is gone.
NEVER_REUSED = {"sqlite_autoincrement": True}


class StoreMeta(Base):
    """Facts about the store itself, such as its id."""

    __tablename__ = "store_meta"
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


class Space(Base):
    """A vector space: one encoder with its weights and recipe. `kinds`: which towers answer in it."""

    __tablename__ = "space"
    __table_args__ = NEVER_REUSED
    id: Mapped[int] = _id()
    fingerprint: Mapped[str] = mapped_column(unique=True)
    encoder: Mapped[str]
    kinds: Mapped[list[Any]]
    dim: Mapped[int]
    metric: Mapped[str]
    spec: Mapped[dict[str, Any]]
    created: Mapped[str]


class Source(Base):
    """A file, or a member of an archive, and its fate. `complete`: no part of it is still to come."""

    __tablename__ = "source"
    __table_args__ = NEVER_REUSED
    id: Mapped[int] = _id()
    path: Mapped[str] = mapped_column(PathText, unique=True)
    size: Mapped[int]
    mtime_ns: Mapped[int]
    sha256: Mapped[str | None]
    outcome: Mapped[str]
    reason: Mapped[str]
    reader: Mapped[str]
    complete: Mapped[bool]
    recorded: Mapped[str]


class Item(Base):
    """An image, a region of one, or a report: one part of one sequence of bytes, wherever those were met.

    The header columns hold the first assertion of any source (see `item_source`, `conflict`).
    patient: what the field calls a patient here (see `merge.patient_key`). patient_code and study_code: the
    same as 63-bit integers, for grouping without strings.
    """

    __tablename__ = "item"
    __table_args__ = (
        UniqueConstraint("sha256", "part"),
        CheckConstraint("kind IN ('image', 'report', 'region')", name="kind"),
        Index(None, "patient"),
        Index(None, "study_uid"),
        Index(None, "sop_uid"),
        Index(None, "modality"),
        Index(None, "label"),
        Index(None, "patient_id"),
        NEVER_REUSED,
    )
    id: Mapped[int] = _id()
    sha256: Mapped[str]
    part: Mapped[str]
    kind: Mapped[str]
    reader: Mapped[str]
    patient: Mapped[str]
    patient_known: Mapped[bool]
    patient_code: Mapped[int]
    study_code: Mapped[int]
    text: Mapped[str | None]
    about_path: Mapped[str | None] = mapped_column(PathText)
    patient_id: Mapped[str | None]
    patient_issuer: Mapped[str | None]
    patient_group: Mapped[str | None]
    study_uid: Mapped[str | None]
    series_uid: Mapped[str | None]
    sop_uid: Mapped[str | None]
    sop_class: Mapped[str | None]
    transfer_syntax: Mapped[str | None]
    instance_number: Mapped[int | None]
    frame: Mapped[int | None]
    modality: Mapped[str | None]
    body_part: Mapped[str | None]
    laterality: Mapped[str | None]
    view: Mapped[str | None]
    study_date: Mapped[str | None]
    study_description: Mapped[str | None]
    series_description: Mapped[str | None]
    age: Mapped[float | None]
    sex: Mapped[str | None]
    manufacturer: Mapped[str | None]
    model: Mapped[str | None]
    institution: Mapped[str | None]
    site: Mapped[str | None]
    label: Mapped[str | None]
    split: Mapped[str | None]
    rows: Mapped[int | None]
    columns: Mapped[int | None]
    spacing_row_mm: Mapped[float | None]
    spacing_col_mm: Mapped[float | None]
    acquisition_date: Mapped[str | None]
    slice_thickness_mm: Mapped[float | None]
    kvp: Mapped[float | None]
    field_strength_t: Mapped[float | None]
    sequence: Mapped[str | None]
    contrast: Mapped[str | None]
    whole: Mapped[str | None] = mapped_column(index=True)
    part_number: Mapped[int | None]
    position_mm: Mapped[float | None]
    time_s: Mapped[float | None]
    tile_x: Mapped[int | None]
    tile_y: Mapped[int | None]
    mpp: Mapped[float | None]
    magnification: Mapped[float | None]
    licence: Mapped[str | None]
    extra: Mapped[dict[str, Any]]


class ItemSource(Base):
    """An item met at a source, with the header as that source asserted it.

    overruled: field to value, where a table said otherwise about this source than the file's own header.
    """

    __tablename__ = "item_source"
    __table_args__ = (UniqueConstraint("item_id", "source_id"), NEVER_REUSED)
    id: Mapped[int] = _id()
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))
    source_id: Mapped[int] = mapped_column(ForeignKey("source.id"), index=True)
    header: Mapped[dict[str, Any]]
    overruled: Mapped[dict[str, Any] | None]


class Conflict(Base):
    """Two sources disagree about an item: `kept` is what its column says, `other` what `source_id` says."""

    __tablename__ = "conflict"
    __table_args__ = (UniqueConstraint("item_id", "field", "source_id"), NEVER_REUSED)
    id: Mapped[int] = _id()
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))
    field: Mapped[str] = mapped_column(index=True)
    kept: Mapped[str]
    other: Mapped[str]
    source_id: Mapped[int] = mapped_column(ForeignKey("source.id"), index=True)


class Link(Base):
    """A report that speaks about an image. via: how that is known ("path", "sop", "study", "patient")."""

    __tablename__ = "link"
    image_id: Mapped[int] = mapped_column(ForeignKey("item.id"), primary_key=True)
    report_id: Mapped[int] = mapped_column(ForeignKey("item.id"), primary_key=True, index=True)
    via: Mapped[str]
    rank: Mapped[int]


class Segment(Base):
    """A file of vectors of one space. rows: those committed; bytes behind them don't exist."""

    __tablename__ = "segment"
    __table_args__ = NEVER_REUSED
    id: Mapped[int] = _id()
    space_id: Mapped[int] = mapped_column(ForeignKey("space.id"), index=True)
    filename: Mapped[str] = mapped_column(unique=True)
    dim: Mapped[int]
    rows: Mapped[int]


class Block(Base):
    """The rows of a segment that one commit appended, and their CRC-32."""

    __tablename__ = "block"
    segment_id: Mapped[int] = mapped_column(ForeignKey("segment.id"), primary_key=True)
    first_row: Mapped[int] = mapped_column(primary_key=True)
    n_rows: Mapped[int]
    crc32: Mapped[int]


class Vector(Base):
    """Where an item's vector in a space lies."""

    __tablename__ = "vector"
    __table_args__ = (
        UniqueConstraint("item_id", "space_id"),
        UniqueConstraint("segment_id", "row"),
        Index(None, "space_id", "id"),
        NEVER_REUSED,
    )
    id: Mapped[int] = _id()
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))
    space_id: Mapped[int] = mapped_column(ForeignKey("space.id"))
    segment_id: Mapped[int] = mapped_column(ForeignKey("segment.id"))
    row: Mapped[int]


class Pooled(Base):
    """A derived row: the vector of a volume, loop or slide, made of those of its parts.

    Its vector belongs to the first of the parts, in a derived space. whole: as in `item.whole`. n_parts: how
    many it was made of; parts_sha256: of their vector ids and weights, which tells when it is out of date.
    """

    __tablename__ = "pooled"
    __table_args__ = (UniqueConstraint("space_id", "whole"),)
    vector_id: Mapped[int] = mapped_column(ForeignKey("vector.id"), primary_key=True, autoincrement=False)
    space_id: Mapped[int] = mapped_column(ForeignKey("space.id"))
    whole: Mapped[str]
    n_parts: Mapped[int]
    parts_sha256: Mapped[str]


class Change(Base):
    """The change log: every vector that came ("add") or went ("remove"), in order. Indexes follow it."""

    __tablename__ = "change"
    __table_args__ = (
        CheckConstraint("op IN ('add', 'remove')", name="op"),
        Index(None, "space_id", "seq"),
        NEVER_REUSED,
    )
    seq: Mapped[int] = _id()
    op: Mapped[str]
    vector_id: Mapped[int]
    space_id: Mapped[int] = mapped_column(ForeignKey("space.id"))


class Run(Base):
    """One verb that wrote to the store, with its arguments and counts."""

    __tablename__ = "run"
    __table_args__ = NEVER_REUSED
    id: Mapped[int] = _id()
    verb: Mapped[str]
    arguments: Mapped[dict[str, Any]]
    started: Mapped[str]
    ended: Mapped[str | None]
    counts: Mapped[dict[str, Any] | None]


class ProblemRecord(Base):
    """A file or part that yielded no item: a failure, or rightly skipped. The latest word on each."""

    __tablename__ = "failure"
    __table_args__ = (
        UniqueConstraint("path", "part"),
        CheckConstraint("kind IN ('failure', 'skip')", name="kind"),
        NEVER_REUSED,
    )
    id: Mapped[int] = _id()
    path: Mapped[str] = mapped_column(PathText)
    part: Mapped[str]
    stage: Mapped[str]
    reason: Mapped[str]
    kind: Mapped[str]
    run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id"))
    recorded: Mapped[str]
