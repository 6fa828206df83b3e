"""Label and concept shift: how common the classes are now, and whether an image still means the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import I64
from embedstore.engine.drift_rows import ImageRows
from embedstore.engine.heads import column_of
from embedstore.engine.workspace import Workspace
from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64, NO_LABEL
from embedstore.evaluation.concept import Domain, change_of
from embedstore.evaluation.intervals import Estimate
from embedstore.evaluation.priors import estimate_shift, fit_temperature, likelihood_gain
from embedstore.evaluation.proportions import proportion
from embedstore.evaluation.shift_sides import FEWEST_PATIENTS, Sides
from embedstore.evaluation.splits import patient_folds
from embedstore.learning.linear import LogisticHead, encode_labels, fit_logistic
from embedstore.learning.zeroshot import softmax
from embedstore.storage.records import SpaceRow

_FOLDS = 5
_FLOOR = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the labels said; None with the reason in notes."""

    label: Mapping[str, Any] | None = None
    concept: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()


def label_and_concept(
    workspace: Workspace,
    space: SpaceRow,
    reference: ImageRows,
    new: ImageRows,
    label: str | None,
    seed: int,
) -> Told:
    """Shares of the classes and the change of a model's error; the model is fitted on the reference."""
    if label is None:
        return Told(notes=("label and concept shift were not looked at: name a column with --label",))
    known, classes = _labels(workspace, reference, label)
    old, y_old = _drawn_labelled(reference, known, seed)
    _check(classes, old, label)
    model = _Model.fit(space, label, classes, old, y_old, seed)
    fresh = new.drawn(seed)
    labels_new, _ = _labels(workspace, new, label, classes)
    seen, y_seen = _drawn_labelled(new, labels_new, seed)
    shares = _shares(model, classes, (old, y_old), fresh, (seen, y_seen), seed)
    if seen.n_patients < FEWEST_PATIENTS:
        return Told(
            label=shares,
            notes=(
                f"concept shift cannot be told: {seen.n_patients} patients of the new side have a "
                f"'{label}', it takes {FEWEST_PATIENTS}; label the images drawn for it",
            ),
        )
    concept = _concept(model, (old, y_old), (seen, y_seen), seed)
    note = "a change in how common the classes are also shows as concept shift: compare the shares"
    return Told(label=shares, concept=concept, notes=(note,))


def _labels(
    workspace: Workspace, side: ImageRows, label: str, classes: tuple[str, ...] | None = None
) -> tuple[I64, tuple[str, ...]]:
    return encode_labels(workspace.catalog.column(side.items, column_of(label)), classes)


def _drawn_labelled(side: ImageRows, y: I64, seed: int) -> tuple[ImageRows, I64]:
    """Drawn from the rows that have a label."""
    labelled = side.at(y != NO_LABEL)
    drawn = labelled.drawn(seed)
    of_item = dict(zip(side.items.tolist(), y.tolist(), strict=True))
    return drawn, np.array([of_item[int(item)] for item in drawn.items], dtype=np.int64)


def _check(classes: tuple[str, ...], old: ImageRows, label: str) -> None:
    if len(classes) < 2:
        raise UsageError(f"'{label}' has {len(classes)} classes among the reference's images; it takes two")
    if old.n_patients < FEWEST_PATIENTS:
        raise UsageError(f"{old.n_patients} patients of the reference have a '{label}'; it takes more")


@dataclass(frozen=True, slots=True, eq=False)
class _Model:
    """A head on the reference, its probabilities for the reference out of fold, and their temperature."""

    head: LogisticHead
    held_out: F64
    temperature: float
    prior: F64

    @classmethod
    def fit(
        cls, space: SpaceRow, label: str, classes: tuple[str, ...], rows: ImageRows, y: I64, seed: int
    ) -> _Model:
        def fitted(train: Any, **fixed: Any) -> LogisticHead:
            return fit_logistic(
                rows.vectors[train],
                y[train],
                rows.patients[train],
                name="drift",
                space=space.fingerprint,
                target=label,
                classes=classes,
                seed=seed,
                **fixed,
            )

        head = fitted(slice(None))
        fixed = {"scaling": head.spec.params["scaling"], "grid": (float(head.spec.params["C"]),)}
        fold_of = patient_folds(rows.patients, min(_FOLDS, rows.n_patients), y=y, seed=seed)
        held_out = np.empty((len(y), len(classes)))
        for fold in np.unique(fold_of):
            held = fold_of == fold
            held_out[held] = fitted(~held, **fixed).predict(rows.vectors[held])
        logits = np.log(np.maximum(held_out, _FLOOR))
        prior = np.bincount(y, minlength=len(classes)) / len(y)
        temperature = fit_temperature(logits, y)
        return cls(head, _tempered(held_out, temperature), temperature, prior)

    def probabilities(self, rows: ImageRows) -> F64:
        """(n, K) for images of the new side."""
        return _tempered(self.head.predict(rows.vectors), self.temperature)


def _tempered(prob: NDArray[Any], temperature: float) -> F64:
    return softmax(np.log(np.maximum(prob, _FLOOR)) / temperature).astype(np.float64)


def _shares(
    model: _Model,
    classes: tuple[str, ...],
    reference: tuple[ImageRows, I64],
    new: ImageRows,
    labelled: tuple[ImageRows, I64],
    seed: int,
) -> dict[str, Any]:
    """Per class: its share in the reference, estimated among the new, observed where they have labels.

    What was observed decides whether a share has moved; else the estimate, of a model that knows the classes.
    """
    rows, y = reference
    gain = likelihood_gain(model.held_out, y, rows.patients, seed=seed)
    knows = bool(gain.low > 0)
    estimated = estimate_shift(model.probabilities(new), model.prior, new.patients, seed=seed)
    seen = labelled[0].n_patients >= FEWEST_PATIENTS
    found = []
    for c, name in enumerate(classes):
        before = proportion("share", y == c, rows.patients)
        observed = proportion("share", labelled[1] == c, labelled[0].patients) if len(labelled[1]) else None
        now = observed if seen else estimated[c] if knows else None
        found.append(
            {
                "class": name,
                "reference": before.to_json(),
                "estimated": estimated[c].to_json() if knows else None,
                "observed": observed.to_json() if observed else None,
                "moved": _apart(before, now),
            }
        )
    moved = {row["moved"] for row in found}
    return {
        "shifted": True in moved,
        "told": moved != {None},
        "model_knows": knows,
        "decided_by": "observed" if seen else "estimated" if knows else None,
        "gain": gain.to_json(),
        "classes": found,
    }


def _apart(before: Estimate, now: Estimate | None) -> bool | None:
    """Whether two intervals do not meet; None where one is missing."""
    if now is None or np.isnan([before.low, before.high, now.low, now.high]).any():
        return None
    return now.low > before.high or now.high < before.low


def _concept(
    model: _Model, reference: tuple[ImageRows, I64], new: tuple[ImageRows, I64], seed: int
) -> dict[str, Any]:
    """The change of the Brier score and, for two classes, of the residual (class minus probability)."""
    (old, y_old), (seen, y_seen) = reference, new
    sides = Sides.of(old.vectors, seen.vectors, old.patients, seen.patients)
    y = np.concatenate([y_old, y_seen])
    prob = np.vstack([model.held_out, model.probabilities(seen)])
    domain = Domain.of(sides, seed=seed)
    own = np.eye(prob.shape[1])[y]
    measures = {"brier": ((prob - own) ** 2).sum(axis=1)}
    binary = prob.shape[1] == 2
    if binary:
        measures["residual"] = own[:, 1] - prob[:, 1]
    changes = [
        change_of(name, values, domain, n_positives=int(y.sum()) if binary else None)
        for name, values in measures.items()
    ]
    verdicts = {change.concept_verdict for change in changes}
    return {
        "shifted": "changed" in verdicts,
        "told": "cannot be told" not in verdicts,
        "changes": [change.to_json() for change in changes],
    }
