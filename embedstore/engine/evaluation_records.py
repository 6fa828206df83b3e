"""The evaluation document: one frozen record of which page, Markdown and JSON are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from embedstore.engine.requests import HeadReport
from embedstore.evaluation.calibration import ReliabilityBin
from embedstore.evaluation.comparison import Comparison
from embedstore.evaluation.curves import Curve
from embedstore.evaluation.decisions import NetBenefit
from embedstore.evaluation.intervals import Estimate
from embedstore.evaluation.proportions import OperatingPoint
from embedstore.evaluation.shortcut import Leaning
from embedstore.evaluation.subgroups import Subgroup

ATTRIBUTES = ("sex", "age", "vendor", "site", "view")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """where: only these of the held-out images. by: columns for subgroups and shortcuts.

    prevalence: of the (positive) class where the head will be used, for predictive values and decision
    curves. threshold: a further one on its probability. assume_independent: images without a patient
    identifier are of different patients, on the user's word. without_copies: leave test images out that are
    near-duplicates of training images, in place of refusing. compare_pictures: look for such at all.
    """

    head: str
    where: str | None = None
    by: tuple[str, ...] = ATTRIBUTES
    prevalence: float | None = None
    threshold: float | None = None
    assume_independent: bool = False
    without_copies: bool = False
    compare_pictures: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """point: what deciding at this threshold does. chosen: how it was chosen, never on the test images."""

    chosen: str
    point: OperatingPoint


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingView:
    """One class against the rest, on the test images."""

    name: str
    roc: Curve
    precision_recall: Curve
    reliability: tuple[ReliabilityBin, ...]
    decision: tuple[NetBenefit, ...]
    thresholds: tuple[Threshold, ...]
    subgroups: tuple[Subgroup, ...]
    leaning: tuple[Leaning, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """internal: on patients of the training sites; external: on patients of other sites only.

    difference: external minus internal. None where the store cannot tell, with the reason in the notes.
    """

    internal: Estimate | None
    internal_by: str
    external: Estimate | None
    difference: Comparison | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortcut:
    """A model on metadata alone, fitted and tested on the head's own rows. gain: the head minus it.

    columns: what it was told. encoded: by attribute, how well a model on the vectors tells it, patients
    apart.
    """

    columns: tuple[str, ...]
    baseline: Estimate | None
    gain: Comparison | None
    encoded: tuple[Estimate, ...]


NO_SHORTCUT = Shortcut(columns=(), baseline=None, gain=None, encoded=())


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecklistRow:
    """status: "filled" (answer says it) or "needs author" (answer says what this program knows of it)."""

    guideline: str
    item: str
    topic: str
    status: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationDocument(HeadReport):
    """A head on patients it was not fitted on, with all a reviewer asks.

    trained, tested: on whom and by what. disjointness: what may be said of the split. unsealed: how often
    these held-out images were looked at, by which heads, this time included. smallest_detectable: the true
    difference of the first metric from a fixed number that these patients show 8 times in 10.
    """

    trained: Mapping[str, Any]
    tested: Mapping[str, Any]
    disjointness: Mapping[str, Any]
    unsealed: Mapping[str, Any]
    validation: Validation
    smallest_detectable: float | None
    findings: tuple[FindingView, ...]
    shortcut: Shortcut
    checklist: tuple[ChecklistRow, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON object with all of it; the keys of `HeadReport` are as they were."""
        return {field.name: plain(getattr(self, field.name)) for field in fields(self)}


def plain(value: Any) -> Any:
    """Records, and those in them, as JSON objects; each estimate says by what its number is backed."""
    if hasattr(value, "to_json") and not isinstance(value, EvaluationDocument):
        return value.to_json()
    if hasattr(value, "__dataclass_fields__"):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, tuple | list) else value
