"""Weak labels: votes collected, fused by a label model beside the majority vote, exported with both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embedstore.contracts.image import I64
from embedstore.contracts.labels import ABSTAIN, LabelBatch, LabelSet, Vote
from embedstore.engine.grouping import in_groups
from embedstore.engine.label_files import LabelRow, write_labels
from embedstore.engine.requests import LabelSetCard, Progress, VoterCard, VoteRequest
from embedstore.engine.voters import Voter, load_voters
from embedstore.engine.workspace import Workspace
from embedstore.engine.zeroshot import present_absent
from embedstore.errors import NotFound, UsageError
from embedstore.evaluation.intervals import bootstrap
from embedstore.evaluation.metrics import accuracy
from embedstore.fingerprint import digest
from embedstore.learning.labelmodel import fit_dawid_skene, majority_vote
from embedstore.learning.linear import encode_labels
from embedstore.learning.votes import BINARY, describe_votes
from embedstore.storage.filters import parse_where
from embedstore.storage.learned import NewLabelModel, VoteTable

_TOGETHER = 4096
METADATA = ("patient", "path", "modality", "body_part", "laterality", "view", "label", "site", "split")


def run_votes(workspace: Workspace, request: VoteRequest, progress: Progress) -> LabelSetCard:
    """Let every voter of the file vote on the images; votes keep who, which version and on what."""
    catalog = workspace.catalog
    label_set, voters = load_voters(workspace, request.voters, request.label_set, request.encoder)
    where = parse_where(request.where) if request.where else None
    items = catalog.select_items(where, "image")
    if not len(items):
        raise UsageError("no image to vote on; widen --where")
    with catalog.writing():
        catalog.labels.ensure_label_set(label_set)
        run = catalog.begin_run(
            "label run", {"label_set": label_set.name, "voters": [v.name for v in voters]}
        )
        saved = 0
        for group in in_groups(items.tolist(), _TOGETHER):
            for voter in voters:
                saved += catalog.labels.save_votes(
                    _cast(workspace, label_set.name, voter, group, request.encoder), run
                )
            progress("voting", saved, None)
        catalog.end_run(run, {"votes": saved})
    return label_report(workspace, label_set.name, None)


def _cast(
    workspace: Workspace, label_set: str, voter: Voter, group: list[int], encoder: str | None
) -> list[Vote]:
    """Votes on a group of items, abstentions included: that a voter looked is part of the record."""
    items = np.array(group, np.int64)
    function = voter.function
    vectors = None
    if "vectors" in function.needs:
        items, vectors = workspace.catalog.item_vectors(workspace.space("image", encoder).id, items)
    if not len(items):
        return []
    texts = workspace.catalog.texts(items)
    columns = _columns(workspace, items, function)
    batch = LabelBatch(item_ids=items, texts=texts, columns=columns, vectors=vectors)
    values = np.asarray(function(batch)).copy()
    if voter.barred:
        own = [patient in voter.barred for patient in workspace.catalog.patient_groups(items)]
        values[np.array(own, bool)] = ABSTAIN
    asked = getattr(function, "probabilities", None)
    probabilities = asked(batch) if asked is not None else None
    return [
        Vote(
            item_id=int(item),
            label_set=label_set,
            value=int(value),
            voter=voter.name,
            voter_version=function.version,
            probability=None if probabilities is None or value == ABSTAIN else float(probabilities[n]),
            input_sha256=digest(texts[n]) if "report" in function.needs else "",
        )
        for n, (item, value) in enumerate(zip(items, values, strict=True))
    ]


def _columns(workspace: Workspace, items: I64, function: Any) -> Sequence[Mapping[str, Any]]:
    if "metadata" not in function.needs:
        return [{}] * len(items)
    asked = getattr(function, "column", None)
    names = [*METADATA, *([asked] if asked and asked not in METADATA else [])]
    columns = workspace.catalog.columns(items, names)
    # A patient, to a voter, is whom a split may not divide.
    groups = workspace.catalog.patient_groups(items)
    return [{**row, "patient": patient} for row, patient in zip(columns, groups, strict=True)]


def label_report(workspace: Workspace, label_set: str, truth: str | None) -> LabelSetCard:
    """Who voted how much, where voters meet and disagree, how often they are right where truth is known."""
    labels = workspace.catalog.labels
    found = labels.label_set(label_set)
    table = labels.votes(label_set)
    known = _truth(workspace, found, table.items, truth)
    summaries = describe_votes(table.values, table.voters, len(found.classes)) if len(table.items) else ()
    voters = tuple(
        VoterCard(
            voter=summary.name,
            version=table.versions[column],
            voted=int((table.values[:, column] >= 0).sum()),
            coverage=summary.coverage,
            overlap=summary.overlap,
            conflict=summary.conflict,
            accuracy=_accuracy(workspace, table, column, known),
        )
        for column, summary in enumerate(summaries)
    )
    return LabelSetCard(
        label_set=label_set,
        classes=found.classes,
        items=len(table.items),
        voters=voters,
        model=_model_summary(workspace, found, truth),
    )


def _truth(workspace: Workspace, label_set: LabelSet, items: I64, column: str | None) -> I64 | None:
    if column is None or not len(items):
        return None
    values = workspace.catalog.column(items, column)
    known = (
        present_absent(values) if label_set.classes == BINARY else encode_labels(values, label_set.classes)[0]
    )
    if not (known >= 0).any():
        raise UsageError(f"column '{column}' has no label of '{label_set.name}' for any voted image")
    return known


def _accuracy(
    workspace: Workspace, table: VoteTable, column: int, truth: I64 | None
) -> Mapping[str, Any] | None:
    if truth is None:
        return None
    said = table.values[:, column]
    return _agreement(workspace, table.items, said, truth)


def _agreement(workspace: Workspace, items: I64, said: I64, truth: I64) -> Mapping[str, Any] | None:
    both = (said >= 0) & (truth >= 0)
    if not both.any():
        return None
    groups = np.array(workspace.catalog.patient_groups(items[both]))
    return bootstrap("accuracy", accuracy, truth[both], said[both], groups).to_json()


def fit_label_model(workspace: Workspace, label_set: str, truth: str | None = None) -> LabelSetCard:
    """Fuse the active votes by Dawid and Skene (1979), with the majority vote kept beside it.

    An item nobody voted on gets no label. Raises NotFound, and UsageError with no votes.
    """
    labels = workspace.catalog.labels
    found = labels.label_set(label_set)
    table = labels.votes(label_set)
    voted = (table.values >= 0).any(axis=1) if len(table.items) else np.zeros(0, bool)
    if not voted.any():
        raise UsageError(f"nobody has voted on '{label_set}'; run: embedstore label run")
    model = fit_dawid_skene(table.values[voted], len(found.classes))
    probabilities = model.predict(table.values[voted]).astype(np.float32)
    majority, _ = majority_vote(table.values[voted], len(found.classes))
    with workspace.catalog.writing():
        labels.save_label_model(
            NewLabelModel(
                label_set=label_set,
                kind="dawid-skene",
                params={**model.to_json(table.voters), "versions": list(table.versions)},
                items=table.items[voted],
                probabilities=probabilities,
                majority=majority,
                labels=probabilities.argmax(axis=1).astype(np.int64),
            )
        )
    return label_report(workspace, label_set, truth)


def _model_summary(workspace: Workspace, label_set: LabelSet, truth: str | None) -> Mapping[str, Any] | None:
    try:
        row = workspace.catalog.labels.label_model(label_set.name)
    except NotFound:
        return None
    summary: dict[str, Any] = {
        "kind": row.kind,
        "created": row.created,
        "items": len(row.items),
        "labels": {name: int((row.labels == n).sum()) for n, name in enumerate(label_set.classes)},
        "majority": {name: int((row.majority == n).sum()) for n, name in enumerate(label_set.classes)},
        "majority_undecided": int((row.majority < 0).sum()),
        "majority_coverage": float((row.majority >= 0).mean()) if len(row.items) else 0.0,
        "notes": list(row.params.get("notes", ())),
    }
    known = _truth(workspace, label_set, row.items, truth)
    if known is not None:
        summary["accuracy"] = _agreement(workspace, row.items, row.labels, known)
        # The majority skips its ties, which are the hard ones: only what it decided can be compared.
        decided = np.where(row.majority >= 0, row.labels, ABSTAIN)
        summary["accuracy_where_majority_decided"] = _agreement(workspace, row.items, decided, known)
        summary["majority_accuracy"] = _agreement(workspace, row.items, row.majority, known)
    return summary


def export_labels(workspace: Workspace, label_set: str, out: Path) -> int:
    """Write the fused labels with their probabilities and every vote behind them; returns the rows written.

    .csv or .parquet by suffix. Raises UsageError for another suffix, NotFound before a model was fitted.
    """
    labels = workspace.catalog.labels
    found = labels.label_set(label_set)
    try:
        model = labels.label_model(label_set)
    except NotFound:
        raise NotFound(
            f"'{label_set}' has no fused labels; run: embedstore label model {label_set}"
        ) from None
    table = labels.votes(label_set, model.items)
    position = {int(item): n for n, item in enumerate(table.items)}
    items = workspace.catalog.items(model.items.tolist())
    rows = [
        LabelRow(
            item=item,
            label=found.classes[int(model.labels[n])],
            probabilities={c: float(p) for c, p in zip(found.classes, model.probabilities[n], strict=True)},
            majority=found.classes[int(model.majority[n])] if model.majority[n] >= 0 else None,
            votes=_votes_of(found, table, position.get(item.id)),
        )
        for n, item in enumerate(items)
    ]
    provenance = {"label_set": label_set, "model": model.kind, "created": model.created}
    return write_labels(
        out, found, rows, {**provenance, "voters": dict(zip(table.voters, table.versions, strict=True))}
    )


def _votes_of(label_set: LabelSet, table: VoteTable, row: int | None) -> dict[str, str]:
    if row is None:
        return {}
    return {
        voter: label_set.classes[int(value)]
        for voter, value in zip(table.voters, table.values[row], strict=True)
        if value >= 0
    }
