"""What is asked of a store and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from embedstore.contracts.region import Region

Per = Literal["image", "whole", "study", "patient"]
Kind = Literal["images", "reports", "regions", "wholes"]
Says = Literal["present", "absent", "uncertain", "historical", "not mentioned"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One search. Exactly one of image, text and like is set.

    image: path of an image file. text: free text. like: id of an item in the store. region: the part of
    `image` that is meant, None for all of it.
    within: which items are looked for, None for regions when a region asks, else images; wholes are volumes,
    loops and slides by their pooled vectors. pool: of which pooling, None for the store's first. where:
    filter expression; a whole passes when a part does.
    per: one hit per image, whole (volume, loop or slide), study or patient.
    exclude_patient: patient identifier left out. encoder: name, None for the store's default.
    says: only items whose report says that of the finding named in `text`.
    index: index plugin. bridge: name of the bridge to use, None for the newest that fits.
    """

    image: str | None = None
    text: str | None = None
    like: int | None = None
    region: Region | None = None
    within: Kind | None = None
    k: int = 10
    where: str | None = None
    per: Per = "image"
    exclude_patient: str | None = None
    encoder: str | None = None
    index: str = "faiss"
    bridge: str | None = None
    pool: str | None = None
    says: Says | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An image, region or report in the store, with the metadata a person filters by.

    id: item id. paths: every source the same bytes were met at; `path` is the first. patient_known: False
    when the item had no patient identifier and stands for a patient of its own. report: text for a report,
    for an image the text linked to it if any.
    """

    id: int
    kind: Literal["image", "report", "region"]
    path: str
    paths: tuple[str, ...]
    part: str
    sha256: str
    reader: str
    patient: str
    patient_known: bool
    columns: Mapping[str, Any]
    extra: Mapping[str, Any] = field(default_factory=dict)
    report: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One answer: rank from 1, score (larger is better), the item.

    Of a whole, the item is its best part, part_score how well that part answers by itself, and parts how many
    the whole's vector was made of. says: findings the query names, with what the item's report says of them.
    """

    rank: int
    score: float
    item: Item
    parts: int | None = None
    part_score: float | None = None
    says: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a search found. query: with `within` as it was understood.

    exact: whether every score and the order are those of a full scan. matched: items that pass the filter.
    space: fingerprint of the space that was searched. bridge: the bridge that answered, with its quality.
    note: what a reader of the answer should know besides, or "". read_as: the parts of a text that denies
    something: affirmed, denied, and the cue that tells. warnings: what was asked for and had no effect.
    """

    query: Query
    space: str
    encoder: str
    exact: bool
    matched: int
    hits: tuple[Hit, ...]
    bridge: Mapping[str, Any] | None = None
    note: str = ""
    read_as: Mapping[str, str] | None = None
    warnings: tuple[str, ...] = ()
