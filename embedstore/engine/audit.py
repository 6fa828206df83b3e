"""The label audit: which labels are probably wrong, by whom, and what they should be. It changes nothing."""

from __future__ import annotations

import numpy as np

from embedstore.contracts.image import F32, I64
from embedstore.contracts.labels import LabelSet
from embedstore.engine.gold import gold_votes, known_classes
from embedstore.engine.label_requests import AuditCard, AuditRequest, Suspect, Twins
from embedstore.engine.workspace import Workspace
from embedstore.errors import NotFound, UsageError
from embedstore.learning.neighbours import nearest_rows
from embedstore.learning.noise import (
    Doubts,
    confident_learning,
    contradicting_twins,
    disagreeing,
    judged_judges,
    neighbour_shares,
    out_of_fold,
)
from embedstore.learning.vectors import unit_rows
from embedstore.storage.filters import parse_where


def audit_labels(workspace: Workspace, request: AuditRequest) -> AuditCard:
    """Suspected errors by confident learning on patient-grouped folds and by neighbours of other patients;
    and images that are as good as one and carry different labels.

    Raises NotFound (no label set), UsageError (no labels, one class, too few patients).
    """
    catalog = workspace.catalog
    found = catalog.labels.label_set(request.label_set)
    items, given, source = _given(workspace, found, request)
    space = workspace.space("image", request.encoder)
    kept, vectors = catalog.item_vectors(space.id, items)
    label_of = dict(zip(items.tolist(), given.tolist(), strict=True))
    y = np.array([label_of[int(item)] for item in kept], np.int64)
    patients = np.array(catalog.patient_groups(kept))
    if len(np.unique(y)) < 2 or len(np.unique(patients)) < 2:
        raise UsageError(
            f"an audit of '{request.label_set}' needs two classes and two patients; widen --where"
        )
    told = _told(vectors, y, patients, request.seed)
    learned = confident_learning(y, told)
    rows = unit_rows(vectors)
    near, _ = nearest_rows(rows, rows, request.k, (patients, patients))
    shares = neighbour_shares(y, near, len(found.classes))
    beside = disagreeing(y, shares, request.agreement)
    quality = judged_judges(y, told, shares, patients)
    return AuditCard(
        label_set=request.label_set,
        source=source,
        encoder=space.encoder,
        classes=found.classes,
        images=len(kept),
        patients=len(np.unique(patients)),
        suspects=_suspects(workspace, found, kept, y, learned, beside),
        twins=_twins(workspace, found, kept, y, rows, request),
        quality={name: one.estimate.to_json() for name, one in quality.items()},
        warnings=tuple(one.warning for one in quality.values() if one.warning),
    )


def _given(workspace: Workspace, label_set: LabelSet, request: AuditRequest) -> tuple[I64, I64, str]:
    """Items with a label, their class indices, and where the labels come from."""
    catalog = workspace.catalog
    chosen = catalog.select_items(parse_where(request.where) if request.where else None, "image")
    if request.column is not None:
        known = known_classes(workspace, label_set, chosen, request.column)
        source = request.column
    else:
        known, source = _own(workspace, label_set, chosen)
    if known is None or not (known >= 0).any():
        raise UsageError(f"no image has a label of '{label_set.name}' to audit; fuse votes, or name --column")
    return chosen[known >= 0], known[known >= 0], source


def _own(workspace: Workspace, label_set: LabelSet, items: I64) -> tuple[I64, str]:
    labels = workspace.catalog.labels
    try:
        row = labels.label_model(label_set.name)
        said, source = dict(zip(row.items.tolist(), row.labels.tolist(), strict=True)), "fused labels"
    except NotFound:
        table = labels.votes(label_set.name, items)
        gold = gold_votes(table, len(label_set.classes))
        said, source = dict(zip(table.items.tolist(), gold.tolist(), strict=True)), "persons' votes"
    return np.array([said.get(int(item), -1) for item in items], np.int64), source


def _told(vectors: F32, y: I64, patients: np.ndarray, seed: int) -> np.ndarray:
    """Out-of-fold probabilities over all classes up to the largest label; a class nobody has gets none."""
    present, codes = np.unique(y, return_inverse=True)
    found = out_of_fold(vectors, codes, patients, seed=seed)
    told = np.zeros((len(y), int(present.max()) + 1))
    told[:, present] = found
    return told


def _suspects(
    workspace: Workspace, label_set: LabelSet, items: I64, y: I64, learned: Doubts, beside: Doubts
) -> tuple[Suspect, ...]:
    rows = np.flatnonzero(learned.suspect | beside.suspect)
    doubt = np.where(learned.suspect & beside.suspect, 0, 1)
    rows = rows[np.lexsort((learned.score[rows] + beside.score[rows], doubt[rows]))]
    shown = workspace.catalog.columns(items[rows], ["path", "patient"])
    return tuple(
        Suspect(
            id=int(items[row]),
            path=columns["path"],
            patient=columns["patient"],
            given=label_set.classes[y[row]],
            suggested=label_set.classes[(learned if learned.suspect[row] else beside).suggested[row]],
            by=tuple(
                name for name, one in (("classifier", learned), ("neighbours", beside)) if one.suspect[row]
            ),
            probability_of_given=float(learned.score[row]),
            neighbours_with_given=float(beside.score[row]),
        )
        for row, columns in zip(rows.tolist(), shown, strict=True)
    )


def _twins(
    workspace: Workspace, label_set: LabelSet, items: I64, y: I64, rows: F32, request: AuditRequest
) -> tuple[Twins, ...]:
    near, cosines = nearest_rows(rows, rows, request.k + 1)
    pairs = contradicting_twins(y, near, cosines, request.twin)
    paths = workspace.catalog.column(items, "path")
    return tuple(
        Twins(
            ids=(int(items[a]), int(items[b])),
            paths=(paths[a], paths[b]),
            labels=(label_set.classes[y[a]], label_set.classes[y[b]]),
            cosine=float(rows[a] @ rows[b]),
        )
        for a, b in pairs.tolist()
    )
