"""What votes say together: who agrees with whom, who is right, and one fused label beside the majority."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from embedstore.contracts.image import F32, I64
from embedstore.contracts.labels import ABSTAIN, LabelSet
from embedstore.engine.gold import gold_votes, is_person, known_classes, seen_votes
from embedstore.engine.label_requests import FuseRequest, Suggestion
from embedstore.engine.requests import LabelSetCard, VoterCard
from embedstore.engine.workspace import Workspace
from embedstore.errors import NotFound, UsageError
from embedstore.evaluation.arrays import group_codes
from embedstore.evaluation.intervals import bootstrap
from embedstore.evaluation.metrics import accuracy
from embedstore.learning.dependence import PairDependence, dependent_pairs, warned
from embedstore.learning.labelmodel import fit_dawid_skene
from embedstore.learning.suggest import draw_for_labelling, entropy
from embedstore.learning.vote_counts import majority_vote, soft_counts
from embedstore.learning.votes import describe_votes
from embedstore.storage.filters import parse_where
from embedstore.storage.learned import LabelModelRow, NewLabelModel, VoteTable

_ENOUGH_GOLD = 50


def label_report(workspace: Workspace, label_set: str, truth: str | None) -> LabelSetCard:
    """Who voted how much, where voters meet, disagree and depend, how often they are right by gold labels.

    truth: a column with gold labels; without one, the votes of persons are gold.
    """
    found = workspace.catalog.labels.label_set(label_set)
    table = workspace.catalog.labels.votes(label_set)
    known = known_classes(workspace, found, table.items, truth)
    summaries = describe_votes(table.values, table.voters, len(found.classes)) if len(table.items) else ()
    voters = tuple(
        VoterCard(
            voter=summary.name,
            version=table.versions[column],
            voted=int((table.values[:, column] >= 0).sum()),
            coverage=summary.coverage,
            overlap=summary.overlap,
            conflict=summary.conflict,
            accuracy=_accuracy(workspace, table, column, known, truth),
        )
        for column, summary in enumerate(summaries)
    )
    pairs = _dependence(workspace, found, table, known)
    return LabelSetCard(
        label_set=label_set,
        classes=found.classes,
        items=len(table.items),
        voters=voters,
        model=_model_summary(workspace, found, truth),
        gold=0 if known is None else int((known >= 0).sum()),
        dependence=tuple(asdict(pair) for pair in pairs),
        warnings=tuple(pair.sentence for pair in warned(pairs)),
    )


def _accuracy(
    workspace: Workspace, table: VoteTable, column: int, known: I64 | None, truth: str | None
) -> Mapping[str, Any] | None:
    if known is None or (truth is None and is_person(table.voters[column])):
        return None  # a person is not judged by what persons said
    return _agreement(workspace, table.items, table.values[:, column], known)


def _agreement(workspace: Workspace, items: I64, said: I64, truth: I64) -> Mapping[str, Any] | None:
    both = (said >= 0) & (truth >= 0)
    if not both.any():
        return None
    groups = np.array(workspace.catalog.patient_groups(items[both]))
    found = bootstrap("accuracy", accuracy, truth[both], said[both], groups).to_json()
    return {**found, "n_positives": int((truth[both] == 1).sum())}


def _dependence(
    workspace: Workspace, label_set: LabelSet, table: VoteTable, known: I64 | None
) -> tuple[PairDependence, ...]:
    """Of the machines: by gold labels where a pair has enough of them, else by the votes alone."""
    machines = [column for column, voter in enumerate(table.voters) if not is_person(voter)]
    if len(machines) < 2:
        return ()
    if known is not None and (known >= 0).sum() < _ENOUGH_GOLD:
        known = None
    said, names = table.values[:, machines], [table.voters[column] for column in machines]
    patients = group_codes(np.array(workspace.catalog.patient_groups(table.items)))
    return dependent_pairs(said, names, len(label_set.classes), patients, known)


def fit_label_model(workspace: Workspace, request: FuseRequest) -> LabelSetCard:
    """Fuse the active votes by Dawid and Skene (1979), with the majority vote kept beside it.

    Where persons have spoken, theirs is the label, and it teaches the model how often the others are right.
    An item nobody voted on gets no label. Raises NotFound, and UsageError with no votes.
    """
    labels = workspace.catalog.labels
    found = labels.label_set(request.label_set)
    table = labels.votes(request.label_set)
    voted = (table.values >= 0).any(axis=1) if len(table.items) else np.zeros(0, bool)
    if not voted.any():
        raise UsageError(f"nobody has voted on '{request.label_set}'; run: embedstore label run")
    n_classes = len(found.classes)
    hard = seen_votes(table)
    votes = soft_counts(hard, table.probabilities, n_classes) if request.soft else hard
    known = gold_votes(table, n_classes)
    model = fit_dawid_skene(
        votes, n_classes, prior=_prior(found, request.prior), known=known, silence=request.silence
    )
    probabilities = _settled(model.predict(votes[voted]).astype(np.float32), known[voted])
    majority, _ = majority_vote(table.values[voted], n_classes)
    told = {
        "versions": list(table.versions),
        "silence": request.silence,
        "soft": request.soft,
        "given_prior": dict(request.prior),
    }
    params = {**model.to_json(table.voters), **told, "gold": int((known >= 0).sum())}
    with workspace.catalog.writing():
        labels.save_label_model(
            NewLabelModel(
                label_set=request.label_set,
                kind=model.kind,
                params=params,
                items=table.items[voted],
                probabilities=probabilities,
                majority=majority,
                labels=probabilities.argmax(axis=1).astype(np.int64),
            )
        )
    return label_report(workspace, request.label_set, request.truth)


def _prior(label_set: LabelSet, told: Mapping[str, float]) -> list[float] | None:
    if not told:
        return None
    if set(told) != set(label_set.classes):
        raise UsageError(f"a prior names each class once: {', '.join(label_set.classes)}")
    return [told[name] for name in label_set.classes]


def _settled(probabilities: F32, known: I64) -> F32:
    """What a person said is certain."""
    rows = np.flatnonzero(known >= 0)
    probabilities[rows] = 0.0
    probabilities[rows, known[rows]] = 1.0
    return probabilities


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
    # Persons' own words are in the fused labels: only a column can judge those.
    known = known_classes(workspace, label_set, row.items, truth) if truth is not None else None
    if known is not None:
        summary["accuracy"] = _agreement(workspace, row.items, row.labels, known)
        # The majority skips its ties, which are the hard ones: only what it decided can be compared.
        decided = np.where(row.majority >= 0, row.labels, ABSTAIN)
        summary["accuracy_where_majority_decided"] = _agreement(workspace, row.items, decided, known)
        summary["majority_accuracy"] = _agreement(workspace, row.items, row.majority, known)
    return summary


def suggest(
    workspace: Workspace, label_set: str, n: int, where: str | None, seed: int
) -> tuple[Suggestion, ...]:
    """Items that no person has labelled: half drawn at random, half where the label model is least sure.

    Raises NotFound (no label set), UsageError (nothing is left to label).
    """
    catalog = workspace.catalog
    found = catalog.labels.label_set(label_set)
    items, probabilities = _beliefs(workspace, found)
    table = catalog.labels.votes(label_set, items)
    told = set(table.items[gold_votes(table, len(found.classes)) >= 0].tolist())
    chosen = set(catalog.select_items(parse_where(where), "image").tolist()) if where else None
    open_ = [
        n for n, item in enumerate(items.tolist()) if item not in told and (chosen is None or item in chosen)
    ]
    if not open_:
        raise UsageError(f"no voted image of '{label_set}' is left to label; widen --where")
    items, probabilities = items[open_], probabilities[open_]
    patients = np.array(catalog.patient_groups(items))
    drawn, doubted = draw_for_labelling(probabilities, patients, n, seed)
    doubt = entropy(probabilities)
    shown = catalog.columns(items, ["path", "patient"])
    return tuple(
        Suggestion(
            id=int(items[row]),
            path=shown[row]["path"],
            patient=shown[row]["patient"],
            why=why,
            entropy=float(doubt[row]),
            probabilities=dict(zip(found.classes, map(float, probabilities[row]), strict=True)),
        )
        for why, rows in (("random", drawn), ("doubt", doubted))
        for row in rows
    )


def _beliefs(workspace: Workspace, label_set: LabelSet) -> tuple[I64, F32]:
    """(n,) items and (n, K) probabilities: of the label model, or shares of votes before there is one."""
    labels = workspace.catalog.labels
    try:
        row: LabelModelRow = labels.label_model(label_set.name)
    except NotFound:
        table = labels.votes(label_set.name)
        n_classes = len(label_set.classes)
        counts = (table.values[:, :, None] == np.arange(n_classes)).sum(axis=1) + 1.0
        return table.items, (counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)
    return row.items, row.probabilities
