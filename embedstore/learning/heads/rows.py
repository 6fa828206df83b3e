"""What a head is fitted on, what a fit gives, and the two joined to a head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedstore.contracts.image import F32, I64
from embedstore.contracts.labels import HeadSpec
from embedstore.errors import UsageError
from embedstore.evaluation.arrays import NO_LABEL, Groups, group_codes, same_length
from embedstore.learning.heads.kinds import Task
from embedstore.learning.heads.record import FittedHead
from embedstore.learning.vectors import arrays_sha256, checked_rows, unit_rows

Scaling = Literal["auto", "unit", "standardise"]
LongTail = Literal["none", "balanced", "adjusted"]
Uncertainty = Literal["none", "laplace", "ensemble"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose head it is. classes: names of the outputs. split: how training rows were told from test rows."""

    name: str
    space: str
    target: str
    classes: tuple[str, ...]
    seed: int = 0
    split: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """grid: candidates for what the kind chooses on patient-grouped folds, None for its own; one: no choice.

    long_tail: "balanced" weighs rows so that classes weigh alike; "adjusted" moves the scores by the log of
    the classes' shares (Menon et al., Long-tail learning via logit adjustment, ICLR 2021). members: of a
    bootstrap ensemble.
    """

    scaling: Scaling = "auto"
    folds: int = 5
    grid: Sequence[Any] | None = None
    long_tail: LongTail = "none"
    uncertainty: Uncertainty = "none"
    members: int = 20


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Rows:
    """Labelled rows. vectors: (n, dim). patients: (n,) codes.

    y, by task: (n,) class indices or (n, K) shares of soft labels; (n, L) of 1, 0 and -1 (missing, which is
    not absent) for findings; (n,) numbers for values. bags: (n,) codes of wholes. texts: (K, dim) what the
    classes look like in words, unit rows.
    """

    vectors: F32
    y: NDArray[Any]
    patients: I64
    classes: tuple[str, ...]
    seed: int
    task: Task = "classes"
    bags: I64 | None = None
    texts: F32 | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def at(self, rows: Any) -> Rows:
        """Some of the rows."""
        bags = None if self.bags is None else self.bags[rows]
        return replace(
            self, vectors=self.vectors[rows], y=self.y[rows], patients=self.patients[rows], bags=bags
        )

    @property
    def n_patients(self) -> int:
        """Distinct ones."""
        return len(np.unique(self.patients))

    def strata(self) -> I64:
        """(n,) classes by which folds are balanced."""
        if self.task == "value":
            return np.zeros(len(self), dtype=np.int64)
        hard = self.y.ndim == 1
        found = self.y if hard else self.y.argmax(axis=1) if self.task == "classes" else self.y.max(axis=1)
        return np.asarray(found, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """What a kind's fit gives: JSON and arrays."""

    params: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]


def labelled_rows(
    vectors: NDArray[Any],
    y: ArrayLike,
    patients: Groups,
    identity: Identity,
    *,
    task: Task = "classes",
    bags: Groups | None = None,
    texts: F32 | None = None,
) -> tuple[Rows, int]:
    """Checked rows that have a label, and how many had none.

    Raises UsageError for shapes that do not fit, a class without a row, fewer than two classes or patients.
    """
    found = checked_rows(vectors, f"head '{identity.name}'")
    told = np.asarray(y)
    people = group_codes(patients)
    wholes = None if bags is None else group_codes(bags)
    same_length(vectors=found, labels=told, patients=people, bags=people if wholes is None else wholes)
    known = _known(told, task)
    rows = Rows(
        vectors=found,
        y=told if told.dtype.kind == "f" else told.astype(np.int64),
        patients=people,
        classes=identity.classes,
        seed=identity.seed,
        task=task,
        bags=wholes,
        texts=texts,
    ).at(known)
    if task in ("classes", "findings"):
        class_counts(rows)
    if rows.n_patients < 2:
        raise UsageError("fitting a head needs labelled rows of at least 2 patients")
    return rows, int(np.sum(~known))


def _known(y: NDArray[Any], task: Task) -> NDArray[np.bool_]:
    if task == "value" or (task == "classes" and y.ndim == 2):
        return np.asarray(np.isfinite(y if y.ndim == 1 else y.sum(axis=1)))
    return np.asarray(y != NO_LABEL if y.ndim == 1 else (y != NO_LABEL).any(axis=1))


def class_counts(rows: Rows) -> dict[str, Any]:
    """Rows per class (soft labels: their sum), or present and absent rows per finding."""
    if rows.task == "findings":
        counts = {
            name: {"present": int((one == 1).sum()), "absent": int((one == 0).sum())}
            for name, one in zip(rows.classes, rows.y.T, strict=True)
        }
        for name, sides in counts.items():
            if not (sides["present"] and sides["absent"]):
                missing = "absent" if sides["present"] else "present"
                raise UsageError(f"no training row has '{name}' {missing}; a head cannot learn it")
        return counts
    if len(rows.classes) < 2:
        raise UsageError("a head needs at least two classes; check the label column and the filter")
    if rows.y.ndim == 2:
        masses = [float(mass) for mass in rows.y.sum(axis=0)]
    else:
        if len(rows) and rows.y.max() >= len(rows.classes):
            raise UsageError(f"a label index is beyond the {len(rows.classes)} classes")
        masses = [int(count) for count in np.bincount(rows.y, minlength=len(rows.classes))]
    for name, count in zip(rows.classes, masses, strict=True):
        if not count:
            raise UsageError(f"no training row is labelled '{name}'; a head cannot learn a class unseen")
    return dict(zip(rows.classes, masses, strict=True))


def shares(rows: Rows) -> NDArray[np.float64]:
    """(n, K) share of each class in each row: soft labels as they are, hard ones 0 and 1."""
    return rows.y.astype(np.float64) if rows.y.ndim == 2 else np.eye(len(rows.classes))[rows.y]


def texts_of(rows: Rows) -> F32:
    """(K, dim) unit rows of what the classes look like in words. Raises UsageError without them."""
    if rows.texts is None or rows.texts.shape != (len(rows.classes), rows.vectors.shape[1]):
        raise UsageError("this kind of head needs a text for each class; give --prompts YAML")
    return unit_rows(rows.texts)


def reference_of(rows: Rows) -> Rows:
    """The rows of class 0, the norm. Raises UsageError when they are of fewer than 2 patients."""
    healthy = rows.at(rows.y == 0)
    if healthy.n_patients < 2:
        raise UsageError("a healthy reference takes images of at least 2 patients; check --healthy")
    return healthy


def head_of(identity: Identity, kind: str, rows: Rows, dropped: int, fitted: Fitted) -> FittedHead:
    """The head, with what is told of every fit: numbers of rows and patients, and a digest of the data."""
    params = {
        "kind": kind,
        "task": rows.task,
        **fitted.params,
        "n": len(rows),
        "n_patients": rows.n_patients,
        "dropped": dropped,
    }
    if rows.task in ("classes", "findings"):
        params["n_per_class"] = class_counts(rows)
    told = [rows.vectors, rows.y, rows.patients, *([] if rows.bags is None else [rows.bags])]
    spec = HeadSpec(
        name=identity.name,
        space=identity.space,
        target=identity.target,
        classes=identity.classes,
        data_sha256=arrays_sha256(*told),
        seed=identity.seed,
        split=dict(identity.split),
        params=params,
    )
    return FittedHead(spec=spec, arrays=fitted.arrays)
