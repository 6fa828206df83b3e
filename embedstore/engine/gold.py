"""Gold labels: what a person said of an item. Machines are judged by them, and never the other way round."""

from __future__ import annotations

import numpy as np

from embedstore.contracts.image import I64
from embedstore.contracts.labels import LabelSet
from embedstore.engine.truth import present_absent
from embedstore.engine.workspace import Workspace
from embedstore.errors import UsageError
from embedstore.learning.heads.labels import encode_labels
from embedstore.learning.vote_counts import UNSEEN, majority_vote
from embedstore.learning.votes import BINARY
from embedstore.storage.learned import VoteTable

PERSON = "person:"


def is_person(voter: str) -> bool:
    """Whether a voter's name says that it is a person ("person:NAME")."""
    return voter.startswith(PERSON)


def seen_votes(table: VoteTable) -> I64:
    """(n, m) votes for a label model: -1 looked and abstained, -2 never looked."""
    return np.where(table.looked, table.values, UNSEEN)


def gold_votes(table: VoteTable, n_classes: int) -> I64:
    """(n,) class that most persons name, -1 where none has spoken or they are divided."""
    people = [column for column, voter in enumerate(table.voters) if is_person(voter)]
    if not people:
        return np.full(len(table.items), -1, np.int64)
    return majority_vote(table.values[:, people], n_classes)[0]


def known_classes(workspace: Workspace, label_set: LabelSet, items: I64, column: str | None) -> I64 | None:
    """(n,) gold class or -1: of a truth column, else the persons' votes; None when there is neither.

    Raises UsageError when the column has no label for any of the items.
    """
    if not len(items):
        return None
    if column is None:
        table = workspace.catalog.labels.votes(label_set.name, items)
        said = dict(
            zip(table.items.tolist(), gold_votes(table, len(label_set.classes)).tolist(), strict=True)
        )
        known = np.array([said.get(int(item), -1) for item in items], np.int64)
        return known if (known >= 0).any() else None
    values = workspace.catalog.column(items, column)
    known = (
        present_absent(values) if label_set.classes == BINARY else encode_labels(values, label_set.classes)[0]
    )
    if not (known >= 0).any():
        raise UsageError(f"column '{column}' has no label of '{label_set.name}' for any voted image")
    return known
