"""Linear heads: fitted on stored vectors, judged on patients they have not seen, applied to the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedstore.contracts.image import F32, I64
from embedstore.engine.head_labels import labels_from_file
from embedstore.engine.requests import HeadCard, HeadReport, HeadRequest
from embedstore.engine.workspace import Workspace
from embedstore.errors import UsageError
from embedstore.evaluation import metrics
from embedstore.evaluation.control import shuffle_control
from embedstore.evaluation.intervals import Estimate
from embedstore.evaluation.report import evaluate
from embedstore.evaluation.splits import Split, refuse_leakage, split_by_mask, split_by_patient
from embedstore.fingerprint import digest
from embedstore.learning.linear import LogisticHead, check_space, encode_labels, fit_logistic
from embedstore.learning.shuffled import shuffled_predictions
from embedstore.storage.filter_columns import ATTRIBUTE_PREFIX, COLUMNS_BY_NAME
from embedstore.storage.filters import parse_where
from embedstore.storage.learned import StoredHead
from embedstore.storage.records import SpaceRow

LABEL_PREFIX = "label:"
FUSED_AT_LEAST = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Images with a vector: labels are class indices, -1 when missing; patients are split groups."""

    items: I64
    vectors: F32
    y: I64
    patients: np.ndarray[Any, Any]
    left_out: Mapping[str, int]

    def at(self, rows: Any) -> _Rows:
        return _Rows(self.items[rows], self.vectors[rows], self.y[rows], self.patients[rows], self.left_out)


def fit_head(workspace: Workspace, request: HeadRequest) -> HeadCard:
    """Fit, with C chosen inside the training patients, and record with its split and data digest.

    Raises UsageError (no labels, one class, unknown column), LeakageRefused, FilterError.
    """
    catalog = workspace.catalog
    space = workspace.space("image", request.encoder)
    rows, classes = labelled(workspace, space, request)
    split = split_of(workspace, rows, request)
    train = rows.at(split.train)
    name = request.name or _free_name(request.target, [row.spec.name for row in catalog.models.heads()])
    described = {**split.describe(), "where": request.where, "test_where": request.test_where}
    head = fit_logistic(
        train.vectors,
        train.y,
        train.patients,
        name=name,
        space=space.fingerprint,
        target=request.target,
        classes=classes,
        seed=request.seed,
        split=described,
    )
    details = {
        "encoder": space.encoder,
        "labels": _digest_labels(rows, classes),
        "left_out": dict(rows.left_out),
        "label_file": str(request.labels) if request.labels else None,
    }
    in_test = np.zeros(len(rows.items), bool)
    in_test[split.test] = True
    arrays = {**head.arrays(), "items": rows.items, "labels": rows.y, "in_test": in_test}
    with catalog.writing():
        catalog.models.save_head(head.spec, arrays, details)
    return card_of(catalog.models.head(name))


def _free_name(target: str, taken: list[str]) -> str:
    stem = target.removeprefix("attr.").replace(":", "-")
    number = 1
    while f"{stem}-{number}" in taken:
        number += 1
    return f"{stem}-{number}"


def card_of(row: StoredHead) -> HeadCard:
    """A recorded head as a shell shows it."""
    spec = row.spec
    return HeadCard(
        name=spec.name,
        target=spec.target,
        classes=spec.classes,
        space=spec.space,
        encoder=str(row.details.get("encoder", "?")),
        data_sha256=spec.data_sha256,
        seed=spec.seed,
        split=spec.split,
        fit={**spec.params, "left_out": row.details.get("left_out", {})},
        created=row.created,
    )


def labelled(workspace: Workspace, space: SpaceRow, request: HeadRequest) -> tuple[_Rows, tuple[str, ...]]:
    """The images that have a vector and a label that nobody contests, and the classes, sorted."""
    catalog = workspace.catalog
    where = parse_where(request.where) if request.where else None
    items, vectors = catalog.item_vectors(space.id, catalog.select_items(where, "image"))
    if not len(items):
        raise UsageError("no embedded image to learn from; widen --where")
    values = _values(workspace, items, request)
    contested = _contested(workspace, request.target, items)
    y, classes = encode_labels([None if bad else v for v, bad in zip(values, contested, strict=True)])
    if len(classes) < 2:
        met = f"only '{classes[0]}'" if classes else "no value"
        raise UsageError(
            f"target '{request.target}' has {met} among {len(items)} images; a head needs two classes"
        )
    missing = int((y < 0).sum()) - int(contested.sum())
    left_out = {"unlabelled": missing, "contested_label": int(contested.sum())}
    rows = _Rows(items, vectors, y, np.array(catalog.patient_groups(items)), left_out)
    return rows.at(y >= 0), classes


def _values(workspace: Workspace, items: I64, request: HeadRequest) -> list[Any]:
    catalog = workspace.catalog
    if request.labels is not None:
        return labels_from_file(request.labels, catalog.items(items.tolist()))
    if not request.target.startswith(LABEL_PREFIX):
        return catalog.column(items, column_of(request.target))
    name = request.target.removeprefix(LABEL_PREFIX)
    model = catalog.labels.label_model(name)
    classes = catalog.labels.label_set(name).classes
    sure = model.probabilities.max(axis=1) > FUSED_AT_LEAST
    said = {int(i): classes[int(c)] for i, c, s in zip(model.items, model.labels, sure, strict=True) if s}
    return [said.get(int(item)) for item in items]


def column_of(target: str) -> str:
    """The filter column a target names; any other name is a column of the user's own tables."""
    documented = target in COLUMNS_BY_NAME or target.startswith(ATTRIBUTE_PREFIX)
    return target if documented else f"{ATTRIBUTE_PREFIX}{target}"


def _contested(workspace: Workspace, target: str, items: I64) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Images whose sources disagree about the target: no label of theirs can be trusted."""
    fields = {target, target.removeprefix("attr."), f"attr.{target}"}
    contested = {row.item_id for row in workspace.catalog.conflicts() if row.field in fields}
    return np.array([int(item) in contested for item in items], bool)


def split_of(workspace: Workspace, rows: _Rows, request: HeadRequest) -> Split:
    """By the rule for the test images, else by drawn patients."""
    if request.test_where is None:
        return split_by_patient(
            rows.patients, y=rows.y, test_fraction=request.test_fraction, seed=request.seed
        )
    chosen = workspace.catalog.select_items(parse_where(request.test_where), "image")
    return split_by_mask(rows.patients, np.isin(rows.items, chosen))


def _digest_labels(rows: _Rows, classes: tuple[str, ...]) -> str:
    return digest([list(classes), rows.items.tolist(), rows.y.tolist()])


@dataclass(frozen=True, slots=True, eq=False)
class _Fitted:
    """A recorded head with the labels it was fitted and is tested on."""

    row: StoredHead
    head: LogisticHead
    space: SpaceRow
    items: I64
    labels: I64
    in_test: np.ndarray[Any, np.dtype[np.bool_]]

    def rows(self, workspace: Workspace, items: I64) -> _Rows:
        """Those of `items` that have a label, with vectors."""
        known = {int(item): int(label) for item, label in zip(self.items, self.labels, strict=True)}
        wanted = np.array([item for item in items.tolist() if item in known], np.int64)
        found, vectors = workspace.catalog.item_vectors(self.space.id, wanted)
        y = np.array([known[int(item)] for item in found], np.int64)
        return _Rows(found, vectors, y, np.array(workspace.catalog.patient_groups(found)), {})


def _open(workspace: Workspace, name: str) -> _Fitted:
    row = workspace.catalog.models.head(name)
    arrays = workspace.catalog.models.head_arrays(name)
    head = LogisticHead.restore(_plain(row), arrays)
    space = workspace.catalog.space(row.spec.space)
    return _Fitted(row, head, space, arrays["items"], arrays["labels"], arrays["in_test"].astype(bool))


def _plain(row: StoredHead) -> dict[str, Any]:
    spec = row.spec
    return {field: getattr(spec, field) for field in spec.__dataclass_fields__}


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A recorded head with the rows it was fitted on and those it is judged on."""

    row: StoredHead
    head: LogisticHead
    space: SpaceRow
    train: _Rows
    test: _Rows
    held_out: I64


def judged(workspace: Workspace, name: str, where: str | None) -> Judged:
    """A head and its held-out patients, or those of `where`.

    Raises LeakageRefused when a patient of `where` was fitted on, UsageError when nothing is left.
    """
    fitted = _open(workspace, name)
    held_out = fitted.items[fitted.in_test]
    test_items = held_out
    if where is not None:
        test_items = workspace.catalog.select_items(parse_where(where), "image")
    test = fitted.rows(workspace, test_items)
    train = fitted.rows(workspace, fitted.items[~fitted.in_test])
    refuse_leakage(train.patients, test.patients, what=f"head '{name}' and its evaluation")
    if not len(test.items):
        raise UsageError(f"no labelled image of a patient that '{name}' was not fitted on; widen --where")
    return Judged(fitted.row, fitted.head, fitted.space, train, test, held_out)


def report_of(judged: Judged) -> HeadReport:
    """The metrics of a head on its test rows.

    Beside it, the same fit on labels shuffled between patients, many times.
    """
    head, train, test = judged.head, judged.train, judged.test
    found = evaluate(
        test.y, head.predict(test.vectors), test.patients, head.spec.classes, seed=head.spec.seed
    )
    first = found.estimates[0]
    control, without = _control(head, train, test, first)
    return HeadReport(
        head=head.spec.name,
        classes=head.spec.classes,
        counts={
            "images": first.n_images,
            "patients": first.n_patients,
            "positives": first.n_positives or 0,
            "dropped": found.dropped,
        },
        metrics={estimate.metric: estimate.to_json() for estimate in found.estimates},
        reliability=tuple(bin.to_json() for bin in found.reliability),
        shuffled=control,
        split=head.spec.split,
        notes=(*found.notes, *without),
    )


def _control(
    head: LogisticHead, train: _Rows, test: _Rows, observed: Estimate
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The first metric of fits of the same C to labels shuffled between training patients, and a note."""
    try:
        told = shuffled_predictions(head, train.vectors, train.y, train.patients, test.vectors)
    except UsageError as error:
        return {}, (f"no control: {error}",)
    binary = len(head.spec.classes) == 2
    scores = told[:, :, 1] if binary else told
    metric = metrics.auroc if binary else metrics.macro_auroc
    found = shuffle_control(observed.metric, metric, test.y, observed.value, scores, test.patients)
    return found.to_json(), ()


def apply_head(workspace: Workspace, name: str, where: str | None, encoder: str | None = None) -> int:
    """Write the head's probabilities for images into SQL; returns how many.

    Raises SpaceMismatch when `encoder` names another space than the head's.
    """
    fitted = _open(workspace, name)
    head, space = fitted.head, fitted.space
    if encoder is not None:
        check_space(head.spec.space, workspace.space("image", encoder).fingerprint, f"head '{name}'")
    catalog = workspace.catalog
    chosen = catalog.select_items(parse_where(where) if where else None, "image")
    items, vectors = catalog.item_vectors(space.id, chosen)
    if not len(items):
        raise UsageError(f"no image has a vector of '{space.encoder}' to apply '{name}' to; widen --where")
    with catalog.writing():
        written: int = catalog.models.save_predictions(name, items, head.predict(vectors))
    return written
