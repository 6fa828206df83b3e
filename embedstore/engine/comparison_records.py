"""What a shell asks of comparisons of heads and of encoders, and what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from embedstore.engine.evaluation_records import plain
from embedstore.evaluation.comparison import Comparison
from embedstore.evaluation.intervals import Estimate


class _Json:
    __slots__ = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON object; undefined numbers are null."""
        return {field.name: plain(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedMetric(_Json):
    """One metric of two heads on the same images. comparison: first minus second, paired."""

    metric: str
    first: Estimate
    second: Estimate
    comparison: Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadComparison(_Json):
    """Two heads on the images that neither was fitted on. counts: images, patients; positives (class 1 of
    two). unsealed: as in `EvaluationDocument`."""

    first: str
    second: str
    target: str
    classes: tuple[str, ...]
    counts: Mapping[str, int]
    metrics: tuple[ComparedMetric, ...]
    unsealed: Mapping[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderComparisonRequest:
    """encoders: whose spaces; () for all that hold images. The rest as in `HeadRequest`.

    k: neighbours. without_copies: as in `EvaluationRequest`. timed: images to measure the cost with; 0: none.
    """

    target: str
    encoders: tuple[str, ...] = ()
    labels: Path | None = None
    where: str | None = None
    test_where: str | None = None
    test_fraction: float = 0.2
    k: int = 10
    seed: int = 0
    without_copies: bool = False
    timed: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure(_Json):
    """estimate: of this encoder. against_first: this minus the first in the ranking, paired; None for itself.

    The intervals of the differences hold together, by Bonferroni.
    """

    estimate: Estimate
    against_first: Comparison | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderRow(_Json):
    """One space. seconds_per_image: preprocessing and forward pass, here and now; None with the reason in
    the notes. bytes_per_image: of the stored vector."""

    rank: int
    encoder: str
    space: str
    precision_at_k: Measure
    neighbours: Measure
    probe: Measure
    dim: int
    bytes_per_image: int
    seconds_per_image: float | None
    licence: str
    forbids: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderComparison(_Json):
    """Encoders by their linear probe on the user's own test images, best first. k: of neighbours.

    train, test: images, patients, images per_class. verdict: in words, what the paired intervals allow.
    """

    target: str
    classes: tuple[str, ...]
    k: int
    train: Mapping[str, Any]
    test: Mapping[str, Any]
    split: Mapping[str, Any]
    rows: tuple[EncoderRow, ...]
    verdict: str
    unsealed: Mapping[str, Any]
    notes: tuple[str, ...] = ()
