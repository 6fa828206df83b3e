"""Heads: opened, judged on patients they have not seen, applied to the store. `engine.head_fit` fits them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64
from embedstore.engine.bridges import bridge_between
from embedstore.engine.head_rows import HeadRows, Target, bags_of, gold_of, has_label, missing_of, values_of
from embedstore.engine.requests import HeadCard
from embedstore.engine.workspace import Workspace
from embedstore.errors import UsageError
from embedstore.evaluation.arrays import group_codes
from embedstore.evaluation.splits import refuse_leakage
from embedstore.learning.heads.record import FittedHead, check_space
from embedstore.storage.filters import parse_where
from embedstore.storage.learned import StoredHead
from embedstore.storage.records import SpaceRow


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
        warnings=tuple(row.details.get("warnings", ())),
    )


@dataclass(frozen=True, slots=True, eq=False)
class OpenHead:
    """A recorded head with the labels it was fitted and is tested on. labels: by item, as at the fit."""

    row: StoredHead
    head: FittedHead
    space: SpaceRow
    items: I64
    labels: NDArray[Any]
    in_test: NDArray[np.bool_]
    in_calibration: NDArray[np.bool_]

    @property
    def fitted_on(self) -> I64:
        """Items whose patients taught it, or calibrate its sets."""
        return self.items[~self.in_test]

    @property
    def target(self) -> Target:
        """What it learned."""
        told = self.row.details.get("target")
        if told is None:  # recorded before there were other targets than columns and label sets
            name = self.row.spec.target
            fused = name.removeprefix("label:") if name.startswith("label:") else None
            return Target(columns=(name,), task="classes", classes=self.row.spec.classes, label_set=fused)
        return Target(**{**told, "columns": tuple(told["columns"]), "classes": tuple(told["classes"])})

    def rows(self, workspace: Workspace, items: I64) -> HeadRows:
        """Those of `items` that have a label: as recorded at the fit, else as the store knows it today."""
        found, vectors = self.vectors(workspace, items)
        place = {int(item): number for number, item in enumerate(self.items)}
        at = np.array([place.get(int(item), -1) for item in found], np.int64)
        y = self.labels[np.maximum(at, 0)].copy()
        new = at < 0
        y[new] = missing_of(y)
        if new.any() and not self.row.details.get("label_file"):
            y[new] = values_of(workspace, self.target, found[new])[0]
        patients = np.array(workspace.catalog.patient_groups(found))
        return HeadRows(found, vectors, y, patients, {}, self.bags(workspace, found)).at(has_label(y))

    def judged_rows(self, workspace: Workspace, items: I64) -> HeadRows:
        """Like `rows`, but of a head on fused labels with gold in their place: no machine is gold."""
        if self.target.label_set is None:
            return self.rows(workspace, items)
        found, vectors = self.vectors(workspace, items)
        y = gold_of(workspace, self.target, found, self.row.details.get("truth"))
        patients = np.array(workspace.catalog.patient_groups(found))
        return HeadRows(found, vectors, y, patients, {}, self.bags(workspace, found)).at(has_label(y))

    def vectors(self, workspace: Workspace, items: I64) -> tuple[I64, F32]:
        """Those of the items that have a vector of the head's space, and what the head is given of them."""
        found, vectors = workspace.catalog.item_vectors(self.space.id, items)
        bridge = self.row.details.get("bridge")
        if bridge is None:
            return found, vectors
        return found, bridge_between(workspace, self.space, bridge).bridge.images_to_joint(vectors)

    def anchors(self, workspace: Workspace) -> frozenset[str]:
        """Patients that taught the bridge over which its images meet words."""
        bridge = self.row.details.get("bridge")
        if bridge is None:
            return frozenset()
        return bridge_between(workspace, self.space, bridge).anchor_patients

    def bags(self, workspace: Workspace, items: I64) -> NDArray[Any] | None:
        """(n,) wholes that the items are parts of; None for a head that asks of each by itself."""
        return bags_of(workspace, self.row.details.get("bag"), items)


def open_head(workspace: Workspace, name: str) -> OpenHead:
    """Raises NotFound, StoreDamaged."""
    row = workspace.catalog.models.head(name)
    arrays = dict(workspace.catalog.models.head_arrays(name))
    items, labels, in_test = (arrays.pop(one) for one in ("items", "labels", "in_test"))
    aside = arrays.pop("in_calibration", np.zeros(len(items), bool))
    spec = {field: getattr(row.spec, field) for field in row.spec.__dataclass_fields__}
    head = FittedHead.restore(spec, arrays)
    space = workspace.catalog.space(row.spec.space)
    return OpenHead(row, head, space, items, labels, in_test.astype(bool), aside.astype(bool))


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A recorded head with the rows it was fitted on and those it is judged on."""

    row: StoredHead
    head: FittedHead
    space: SpaceRow
    train: HeadRows
    test: HeadRows
    held_out: I64
    calibration: HeadRows


def judged(workspace: Workspace, name: str, where: str | None) -> Judged:
    """A head and its held-out patients, or those of `where`.

    Raises LeakageRefused when a patient of the test side, by the names known today, was fitted on;
    UsageError when nothing is left.
    """
    found = open_head(workspace, name)
    held_out = found.items[found.in_test]
    chosen = held_out if where is None else workspace.catalog.select_items(parse_where(where), "image")
    test = found.judged_rows(workspace, chosen)
    # By all items it was fitted on, whether or not they still have a vector: a table may have told since
    # the fit that an image of the test side is of a patient of theirs.
    taught = np.array([*workspace.catalog.patient_groups(found.fitted_on), *found.anchors(workspace)])
    refuse_leakage(taught, test.patients, what=f"head '{name}' and its evaluation, as they are known today")
    if not len(test.items) and found.target.label_set is not None:
        raise UsageError(
            f"head '{name}' learned from fused labels, and no test image has a gold label to judge it by; "
            "fit with --truth COLUMN, or have a person label some (label suggest, label import)"
        )
    if not len(test.items):
        raise UsageError(f"no labelled image of a patient that '{name}' was not fitted on; widen --where")
    train = found.rows(workspace, found.items[~found.in_test & ~found.in_calibration])
    calibration = found.judged_rows(workspace, found.items[found.in_calibration])
    return Judged(found.row, found.head, found.space, train, test, held_out, calibration)


def answers(head: FittedHead, rows: HeadRows) -> F32:
    """(n, outputs) what the head says of rows."""
    return head.predict(rows.vectors, None if rows.bags is None else group_codes(rows.bags))


def apply_head(
    workspace: Workspace, name: str, where: str | None, encoder: str | None = None, out: Path | None = None
) -> int:
    """Write the head's answers for images into SQL, and with `out` into a CSV; returns how many.

    Raises SpaceMismatch when `encoder` names another space than the head's.
    """
    found = open_head(workspace, name)
    if encoder is not None:
        there = workspace.space("image", encoder).fingerprint
        check_space(found.head.spec.space, there, f"head '{name}'")
    catalog = workspace.catalog
    chosen = catalog.select_items(parse_where(where) if where else None, "image")
    items, vectors = found.vectors(workspace, chosen)
    if not len(items):
        raise UsageError(
            f"no image has a vector of '{found.space.encoder}' to apply '{name}' to; widen --where"
        )
    bags = found.bags(workspace, items)
    told = found.head.predict(vectors, None if bags is None else group_codes(bags))
    if out is not None:
        from embedstore.engine.head_answers import write_answers

        write_answers(workspace, found, items, vectors, told, out)
    with catalog.writing():
        written: int = catalog.models.save_predictions(name, items, told)
    return written
