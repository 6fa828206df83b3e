"""Voters that look at vectors and metadata, and the matrix of everybody's votes.

Each voter is a `LabelingFunction`; besides its votes it can say how sure it is (`probabilities`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64
from embedstore.contracts.labels import ABSTAIN, LabelBatch, LabelSet, Votes
from embedstore.errors import UsageError
from embedstore.evaluation.arrays import Groups, same_length
from embedstore.fingerprint import digest
from embedstore.learning.calibrate import Calibration
from embedstore.learning.neighbours import nearest_rows
from embedstore.learning.prompts import PromptKind, Prototypes
from embedstore.learning.vectors import arrays_sha256, checked_rows, unit_rows
from embedstore.learning.zeroshot import class_scores, decide

BINARY = ("absent", "present")
_VERSION_DIGITS = 12


def finding_set(finding: str) -> LabelSet:
    """The label set of a finding: 0 absent, 1 present."""
    return LabelSet(name=finding, classes=BINARY)


def _vectors(batch: LabelBatch, name: str) -> F32:
    if batch.vectors is None:
        raise UsageError(f"the voter '{name}' needs vectors, and the batch has none")
    return batch.vectors


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ZeroShotVoter:
    """Votes by prompts.

    prototypes: in the space that `to_joint` leads to (identity for a dual encoder's own space). column: which
    finding of a findings prompt set is voted on; None for classes. version: of prompts and bridge together.
    Without a calibration, `threshold` applies to scores; with neither it abstains throughout.
    """

    label_set: LabelSet
    version: str
    prototypes: Prototypes
    column: int | None = None
    calibration: Calibration | None = None
    threshold: float | None = None
    to_joint: Callable[[F32], F32] | None = None
    name: str = "zeroshot"
    needs: frozenset[str] = frozenset({"vectors"})

    def __call__(self, batch: LabelBatch) -> Votes:
        """(n,) class indices, -1 below the threshold."""
        scores, probabilities = self._judge(batch)
        kind: PromptKind = "classes" if self.column is None else "findings"
        labels = decide(kind, scores, probabilities, self.threshold).labels
        return labels if self.column is None else labels[:, self.column]

    def probabilities(self, batch: LabelBatch) -> F32 | None:
        """(n,) probability of the likeliest class, which is the one voted for; None if uncalibrated."""
        found = self._judge(batch)[1]
        if found is None:
            return None
        own = found if self.column is None else np.stack([1 - found, found], axis=2)[:, self.column]
        return np.asarray(own.max(axis=1), dtype=np.float32)

    def _judge(self, batch: LabelBatch) -> tuple[F32, F32 | None]:
        vectors = _vectors(batch, self.name)
        scores = class_scores(self.prototypes, self.to_joint(vectors) if self.to_joint else vectors)
        return scores, self.calibration.probabilities(scores) if self.calibration else None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class KnnVoter:
    """Votes as the k nearest labelled neighbours of *other* patients do, when enough of them agree.

    vectors: (m, dim), labels: (m,) class indices (-1 rows are dropped), patients: (m,). agreement: share of
    the k that must name one class, else it abstains. balanced: a neighbour counts the more the rarer its
    class is among the labelled rows, so that a rare finding can win a vote at all; what base rate there is,
    the label model adds. A batch says whose each row is in its column "patient".
    """

    label_set: LabelSet
    vectors: F32
    labels: I64
    patients: Groups
    k: int = 5
    agreement: float = 0.8
    balanced: bool = False
    name: str = "knn"
    needs: frozenset[str] = frozenset({"vectors", "metadata"})

    def __post_init__(self) -> None:
        checked_rows(self.vectors, self.name)
        same_length(vectors=self.vectors, labels=self.labels, patients=self.patients)
        if self.k < 1 or not 0.5 < self.agreement <= 1:
            raise UsageError("a neighbour voter needs k of at least 1 and an agreement above .5, at most 1")

    @property
    def version(self) -> str:
        """Changes with the neighbours, their labels, k and the agreement."""
        known = arrays_sha256(np.asarray(self.vectors, dtype=np.float32), np.asarray(self.labels))
        told = [known, self.k, self.agreement, *(["balanced"] if self.balanced else [])]
        return digest(told)[:_VERSION_DIGITS]

    def __call__(self, batch: LabelBatch) -> Votes:
        """(n,) class indices; -1 when the neighbours disagree or there are fewer than k."""
        shares = self._shares(batch)
        # A share like 4/5 is compared with .8 in floating point: leave room for rounding.
        agreed = shares.max(axis=1) >= self.agreement - 1e-9
        return np.where(agreed, shares.argmax(axis=1), ABSTAIN).astype(np.int64)

    def probabilities(self, batch: LabelBatch) -> F32:
        """(n,) share of the neighbours that name the winning class, with Laplace's one for each class."""
        counts = self._shares(batch).max(axis=1) * self.k
        return np.asarray((counts + 1) / (self.k + len(self.label_set.classes)), dtype=np.float32)

    def _shares(self, batch: LabelBatch) -> F32:
        n_classes = len(self.label_set.classes)
        labels, people = np.asarray(self.labels), np.array([str(p) for p in self.patients])
        known = labels != ABSTAIN
        labels, people, near = labels[known], people[known], unit_rows(self.vectors[known])
        vectors = checked_rows(_vectors(batch, self.name), self.name, near.shape[1])
        asked, own = unit_rows(vectors), self._patients(batch)
        shares = np.zeros((len(asked), n_classes), dtype=np.float32)
        if len(near) < self.k:
            return shares
        best, _ = nearest_rows(asked, near, self.k, (own, people))
        counts = (labels[best][:, :, None] == np.arange(n_classes)).mean(axis=1)
        if self.balanced:
            counts = counts / np.maximum(np.bincount(labels, minlength=n_classes), 1)
            counts /= counts.sum(axis=1, keepdims=True)
        enough = np.asarray((best >= 0).all(axis=1))
        return np.asarray(counts * enough[:, None], dtype=np.float32)

    def _patients(self, batch: LabelBatch) -> NDArray[np.str_]:
        try:
            return np.array([str(columns["patient"]) for columns in batch.columns])
        except KeyError as error:
            raise UsageError(f"the voter '{self.name}' needs the column 'patient' of each item") from error


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PredictionVoter:
    """Votes as a head predicted, where it is sure enough; silent on items it has not been applied to.

    items: (m,) sorted. predicted: (m, classes) probabilities. version: of the head, by its data and seed.
    """

    label_set: LabelSet
    version: str
    items: I64
    predicted: F32
    threshold: float = 0.0
    name: str = "head"
    needs: frozenset[str] = frozenset()

    def __call__(self, batch: LabelBatch) -> F32:
        """(n, classes) probabilities, zeros where it abstains."""
        answer = np.zeros((len(batch.item_ids), len(self.label_set.classes)), np.float32)
        if len(self.items):
            at = np.minimum(np.searchsorted(self.items, batch.item_ids), len(self.items) - 1)
            found = self.items[at] == batch.item_ids
            answer[found] = self.predicted[at[found]]
        return np.where(answer.max(axis=1, keepdims=True) >= self.threshold, answer, np.float32(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class VoterSummary:
    """coverage: share of items voted on; overlap: and by somebody else too; conflict: and otherwise.

    counts: votes per class. (Ratner et al., Snorkel, VLDB 2017, use the same three words.)
    """

    name: str
    coverage: float
    overlap: float
    conflict: float
    counts: tuple[int, ...]


def vote_matrix(votes: Sequence[NDArray[Any]]) -> Votes:
    """(n, voters) from each voter's (n,) votes."""
    if not votes:
        raise UsageError("no voter has voted")
    same_length(**{f"voter {number}": one for number, one in enumerate(votes)})
    return np.stack([np.asarray(one, dtype=np.int64) for one in votes], axis=1)


def describe_votes(matrix: NDArray[Any], names: Sequence[str], n_classes: int) -> tuple[VoterSummary, ...]:
    """Coverage, overlap and conflict of each voter of an (n, m) matrix."""
    votes = np.asarray(matrix, dtype=np.int64)
    spoke = votes != ABSTAIN
    summaries = []
    for m, name in enumerate(names):
        mine, others = spoke[:, m], np.delete(votes, m, axis=1)
        heard = others != ABSTAIN
        differ = heard & (others != votes[:, m : m + 1])
        summaries.append(
            VoterSummary(
                name=name,
                coverage=_share(mine),
                overlap=_share(mine & heard.any(axis=1)),
                conflict=_share(mine & differ.any(axis=1)),
                counts=tuple(int(np.sum(votes[:, m] == c)) for c in range(n_classes)),
            )
        )
    return tuple(summaries)


def _share(rows: NDArray[np.bool_]) -> float:
    return float(rows.mean()) if len(rows) else 0.0
