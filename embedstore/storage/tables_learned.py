"""The schema, second half: what was learned from the items (votes, label models, bridges, heads)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from embedstore.storage.tables import NEVER_REUSED, Base, _id


class LabelSetRow(Base):
    """What is labelled, and its mutually exclusive classes in the order of the vote values."""

    __tablename__ = "label_set"
    __table_args__ = (UniqueConstraint("name"), NEVER_REUSED)
    id: Mapped[int] = _id()
    name: Mapped[str]
    classes: Mapped[list[Any]]


class VoteRow(Base):
    """One voter's word on one item; `superseded_by`: the later vote of that voter, None while active."""

    __tablename__ = "vote"
    __table_args__ = (Index(None, "label_set_id", "voter", "item_id"), NEVER_REUSED)
    id: Mapped[int] = _id()
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"), index=True)
    label_set_id: Mapped[int] = mapped_column(ForeignKey("label_set.id"))
    value: Mapped[int]
    probability: Mapped[float | None]
    voter: Mapped[str]
    voter_version: Mapped[str]
    input_sha256: Mapped[str]
    created: Mapped[str]
    run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id"))
    superseded_by: Mapped[int | None] = mapped_column(ForeignKey("vote.id"))


class LabelModel(Base):
    """A model that fused the votes of one label set."""

    __tablename__ = "label_model"
    __table_args__ = NEVER_REUSED
    id: Mapped[int] = _id()
    label_set_id: Mapped[int] = mapped_column(ForeignKey("label_set.id"), index=True)
    kind: Mapped[str]
    params: Mapped[dict[str, Any]]
    created: Mapped[str]


class FusedLabel(Base):
    """What a label model says of an item. majority and label are class indices, -1 for none."""

    __tablename__ = "fused_label"
    model_id: Mapped[int] = mapped_column(ForeignKey("label_model.id"), primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"), primary_key=True)
    probabilities: Mapped[list[Any]]
    majority: Mapped[int]
    label: Mapped[int]


class Bridge(Base):
    """A learned map that joins an image space and a text space; its arrays lie in a file of `arrays/`."""

    __tablename__ = "bridge"
    __table_args__ = (UniqueConstraint("name"), NEVER_REUSED)
    id: Mapped[int] = _id()
    name: Mapped[str]
    image_space: Mapped[str]
    text_space: Mapped[str]
    kind: Mapped[str]
    spec: Mapped[dict[str, Any]]
    anchors_sha256: Mapped[str]
    arrays: Mapped[str]
    arrays_sha256: Mapped[str]
    quality: Mapped[dict[str, Any]]
    created: Mapped[str]


class BridgeAnchor(Base):
    """An image a bridge was learned from, and its patient at that time."""

    __tablename__ = "bridge_anchor"
    bridge_id: Mapped[int] = mapped_column(ForeignKey("bridge.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))
    patient: Mapped[str]


class HeadRow(Base):
    """A head fitted on the vectors of one space; its arrays lie in a file of `arrays/`."""

    __tablename__ = "head"
    __table_args__ = (UniqueConstraint("name"), NEVER_REUSED)
    id: Mapped[int] = _id()
    name: Mapped[str]
    space: Mapped[str]
    target: Mapped[str]
    classes: Mapped[list[Any]]
    spec: Mapped[dict[str, Any]]
    details: Mapped[dict[str, Any]]
    arrays: Mapped[str]
    arrays_sha256: Mapped[str]
    created: Mapped[str]


class Prediction(Base):
    """A head's class probabilities for an item."""

    __tablename__ = "prediction"
    head_id: Mapped[int] = mapped_column(ForeignKey("head.id"), primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"), primary_key=True)
    probabilities: Mapped[list[Any]]
    created: Mapped[str]
