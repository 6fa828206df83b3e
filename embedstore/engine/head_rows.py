"""The labelled images a head is fitted on or judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64
from embedstore.engine.gold import known_classes
from embedstore.engine.head_labels import labels_from_file
from embedstore.engine.head_requests import HeadRequest
from embedstore.engine.target_columns import LABEL_PREFIX, refuse_empty
from embedstore.engine.truth import present_absent
from embedstore.engine.workspace import Workspace
from embedstore.errors import UsageError
from embedstore.evaluation.arrays import NO_LABEL
from embedstore.learning.heads.kinds import Task
from embedstore.learning.heads.labels import encode_labels
from embedstore.storage.filter_columns import ATTRIBUTE_PREFIX, COLUMNS_BY_NAME
from embedstore.storage.filters import parse_where
from embedstore.storage.records import SpaceRow

FUSED_AT_LEAST = 0.5
BAG_COLUMNS = {"path": "path", "series": "series_uid", "study": "study_uid"}


@dataclass(frozen=True, slots=True, eq=False)
class HeadRows:
    """Images with a vector and a label. y: as `learning.heads.rows.Rows` wants it; patients: split groups.

    bags: (n,) the whole each image is part of, for heads on bags.
    """

    items: I64
    vectors: F32
    y: NDArray[Any]
    patients: NDArray[Any]
    left_out: Mapping[str, int]
    bags: NDArray[Any] | None = None

    def at(self, rows: Any) -> HeadRows:
        """Some of them."""
        bags = None if self.bags is None else self.bags[rows]
        return HeadRows(
            self.items[rows], self.vectors[rows], self.y[rows], self.patients[rows], self.left_out, bags
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a head learns: columns (one, or a finding each), or fused labels. Kept with the head as JSON.

    classes: of a target with exclusive ones, in the order of its codes; () until they were met. healthy: the
    value that an anomaly score takes for the norm.
    """

    columns: tuple[str, ...]
    task: Task
    classes: tuple[str, ...] = ()
    label_set: str | None = None
    soft: bool = False
    healthy: str | None = None

    @classmethod
    def of(cls, request: HeadRequest, task: Task) -> Target:
        """Raises UsageError for what does not go together."""
        columns = (request.target, *request.also)
        fused = request.target.startswith(LABEL_PREFIX)
        if request.also and (fused or request.labels):
            raise UsageError("several targets are several columns; leave out --labels and label:SET")
        if request.soft and not fused:
            raise UsageError("soft labels are those of a fused label set; give --target label:SET")
        return cls(
            columns=columns,
            task="findings" if request.also else task,
            label_set=request.target.removeprefix(LABEL_PREFIX) if fused else None,
            soft=request.soft,
            healthy=request.healthy,
        )

    @property
    def name(self) -> str:
        """As the head's card shows it."""
        return ", ".join(self.columns)


def labelled(
    workspace: Workspace, space: SpaceRow, request: HeadRequest, target: Target
) -> tuple[HeadRows, tuple[str, ...]]:
    """Embedded images with a label of the target, and the classes met. Raises UsageError, FilterError."""
    catalog = workspace.catalog
    where = parse_where(request.where) if request.where else None
    items, vectors = catalog.item_vectors(space.id, catalog.select_items(where, "image"))
    if not len(items):
        raise UsageError("no embedded image to learn from; widen --where")
    bad = contested(workspace, target.columns, items)
    if request.labels is not None:
        values = labels_from_file(request.labels, catalog.items(items.tolist()))
        y, classes = _coded(target, values, items)
    else:
        for one in target.columns if target.label_set is None else ():
            refuse_empty(workspace, one, column_of(one), items)
        y, classes = values_of(workspace, target, items)
    y = np.where(bad if y.ndim == 1 else bad[:, None], missing_of(y), y)
    known = has_label(y)
    left_out = {"unlabelled": int((~known & ~bad).sum()), "contested_label": int(bad.sum())}
    bags = bags_of(workspace, request.bag, items)
    patients = np.array(catalog.patient_groups(items))
    return HeadRows(items, vectors, y, patients, left_out, bags).at(known), classes


def values_of(workspace: Workspace, target: Target, items: I64) -> tuple[NDArray[Any], tuple[str, ...]]:
    """(n,) or (n, k) labels of items by what the store knows today, and the classes."""
    catalog = workspace.catalog
    if target.label_set is not None:
        return _fused(workspace, target, items)
    if target.task == "findings":
        told = [present_absent(catalog.column(items, column_of(one))) for one in target.columns]
        return np.stack(told, axis=1), tuple(one.removeprefix(ATTRIBUTE_PREFIX) for one in target.columns)
    return _coded(target, catalog.column(items, column_of(target.columns[0])), items)


def gold_of(workspace: Workspace, target: Target, items: I64, truth: str | None) -> NDArray[Any]:
    """(n,) gold classes of a head on fused labels, -1 where there is none."""
    assert target.label_set is not None
    label_set = workspace.catalog.labels.label_set(target.label_set)
    found = known_classes(workspace, label_set, items, None if truth is None else column_of(truth))
    return np.full(len(items), NO_LABEL) if found is None else found


def _coded(target: Target, values: list[Any], items: I64) -> tuple[NDArray[Any], tuple[str, ...]]:
    if target.task == "value":
        return np.array([_number(value) for value in values], dtype=np.float64), (target.columns[0],)
    if target.task == "anomaly":
        norm = encode_labels(values, (str(target.healthy),))[0]
        return np.where(encode_labels(values)[0] == NO_LABEL, NO_LABEL, -norm), ("anomaly",)
    y, classes = encode_labels(values, target.classes or None)
    if len(classes) < 2:
        met = f"only '{classes[0]}'" if classes else "no value"
        raise UsageError(
            f"target '{target.columns[0]}' has {met} among {len(items)} images; a head needs two classes"
        )
    return y, classes


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _fused(workspace: Workspace, target: Target, items: I64) -> tuple[NDArray[Any], tuple[str, ...]]:
    catalog = workspace.catalog
    name = str(target.label_set)
    model, classes = catalog.labels.label_model(name), catalog.labels.label_set(name).classes
    row_of = {int(item): row for row, item in enumerate(model.items)}
    rows = np.array([row_of.get(int(item), -1) for item in items])
    told = np.where((rows >= 0)[:, None], model.probabilities[rows].astype(np.float64), np.nan)
    if target.soft:
        return told / told.sum(axis=1, keepdims=True), classes
    sure = np.nan_to_num(told).max(axis=1) > FUSED_AT_LEAST
    return np.where(sure, model.labels[rows], NO_LABEL), classes


def column_of(target: str) -> str:
    """The filter column a target names; any other name is a column of the user's own tables."""
    documented = target in COLUMNS_BY_NAME or target.startswith(ATTRIBUTE_PREFIX)
    return target if documented else f"{ATTRIBUTE_PREFIX}{target}"


def contested(workspace: Workspace, columns: tuple[str, ...], items: I64) -> NDArray[np.bool_]:
    """Images whose sources disagree about a target: no label of theirs can be trusted."""
    fields = {form for one in columns for form in (one, one.removeprefix("attr."), f"attr.{one}")}
    found = {row.item_id for row in workspace.catalog.conflicts() if row.field in fields}
    return np.array([int(item) in found for item in items], bool)


def bags_of(workspace: Workspace, bag: str | None, items: I64) -> NDArray[Any] | None:
    """(n,) names of the wholes the items are parts of; an item that names none is a whole of its own."""
    if bag is None:
        return None
    if bag == "patient":
        return np.array(workspace.catalog.patient_groups(items))
    told = workspace.catalog.column(items, BAG_COLUMNS[bag])
    named = zip(items.tolist(), told, strict=True)
    return np.array([f"item {item}" if one is None else str(one) for item, one in named])


def has_label(y: NDArray[Any]) -> NDArray[np.bool_]:
    """(n,) rows that have one (of findings: at least one)."""
    known = np.isfinite(y) if y.dtype.kind == "f" else y != NO_LABEL
    return np.asarray(known if y.ndim == 1 else known.any(axis=1))


def missing_of(y: NDArray[Any]) -> Any:
    """What stands for no label."""
    return np.nan if y.dtype.kind == "f" else NO_LABEL
