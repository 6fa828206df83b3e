"""What shells ask of labels, and what they are answered: frozen records like those of `engine.requests`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class FuseRequest:
    """How votes are fused. prior: known share of each class. silence: whether an abstention is an outcome.

    soft: a vote with a probability counts as much as that lies above chance.
    """

    label_set: str
    truth: str | None = None
    prior: Mapping[str, float] = field(default_factory=dict)
    silence: bool = True
    soft: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """An item a person should label. why: "random" or "doubt". probabilities: what is believed of it now."""

    id: int
    path: str
    patient: str
    why: str
    entropy: float
    probabilities: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportCard:
    """What an import did. votes: how many are new. missing: rows about images that are not in the store."""

    label_set: str
    votes: int
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRequest:
    """Which labels to doubt. column: labels in place of the set's own (fused, else persons' votes).

    k neighbours of other patients contradict a label when `agreement` of them have one other. twin: cosine
    from which two images are one.
    """

    label_set: str
    column: str | None = None
    where: str | None = None
    encoder: str | None = None
    k: int = 10
    agreement: float = 0.6
    twin: float = 0.995
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A label that is probably wrong. by: "classifier" (out of fold), "neighbours", or both.

    probability_of_given: by the classifier. neighbours_with_given: share of the neighbours with that label.
    """

    id: int
    path: str
    patient: str
    given: str
    suggested: str
    by: tuple[str, ...]
    probability_of_given: float
    neighbours_with_given: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Twins:
    """Two images that are as good as one, with different labels."""

    ids: tuple[int, int]
    paths: tuple[str, str]
    labels: tuple[str, str]
    cosine: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditCard:
    """What an audit found, the most suspect first. source: which labels were audited.

    quality: how well the "classifier" and the "neighbours" tell the labels as given, out of fold, as
    estimates. warnings: where they cannot be told from chance, and what they suspect means little.
    """

    label_set: str
    source: str
    encoder: str
    classes: tuple[str, ...]
    images: int
    patients: int
    suspects: tuple[Suspect, ...]
    twins: tuple[Twins, ...]
    quality: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
