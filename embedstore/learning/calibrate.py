"""From zero-shot scores to probabilities, when there are labelled examples to learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedstore.contracts.image import F32, I64
from embedstore.contracts.labels import ABSTAIN
from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64, Groups, finite_or_none, group_codes
from embedstore.evaluation.intervals import bootstrap
from embedstore.evaluation.metrics import auroc, macro_auroc
from embedstore.learning.prompts import PromptKind
from embedstore.learning.zeroshot import softmax

FEWEST_EXAMPLES = 10
FEWEST_PER_CLASS = 2
ENOUGH_EXAMPLES = 50
_CHANCE = 0.5
_TAKES = f"it takes {FEWEST_EXAMPLES} with {FEWEST_PER_CLASS} of each"
_WRONG_WAY = "higher scores do not mean likelier in the examples; do not trust its probabilities"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Calibration:
    """Maps scores to probabilities.

    Findings: P(present) = 1 / (1 + exp(-(slope * score + intercept))), one pair per finding (Platt, 1999);
    NaN for a finding that had too few examples, or that the scores are not shown to tell. Classes:
    softmax(slope * scores + intercepts), one slope (the inverse temperature; Guo et al., ICML 2017), an
    intercept per class. n_examples: per finding or class. prior: class shares (or P(present)) the
    probabilities assume; those of the examples unless given.
    """

    kind: PromptKind
    slope: F64
    intercept: F64
    prior: F64
    n_examples: tuple[int, ...]
    notes: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether it gives any probability."""
        return bool(np.isfinite(self.slope).any())

    def probabilities(self, scores: NDArray[Any]) -> F32:
        """(n, c) scores to (n, c) probabilities."""
        z = np.asarray(scores, dtype=np.float64) * self.slope + self.intercept
        if self.kind == "classes":
            return softmax(z)
        with np.errstate(over="ignore"):
            return np.asarray(1.0 / (1.0 + np.exp(-z)), dtype=np.float32)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        numbers = {
            name: [finite_or_none(float(x)) for x in getattr(self, name)]
            for name in ("slope", "intercept", "prior")
        }
        return {"kind": self.kind, **numbers, "n_examples": list(self.n_examples), "notes": list(self.notes)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Calibration:
        """The calibration that gave this JSON object."""
        slope, intercept, prior = (
            np.array([np.nan if x is None else x for x in plain[name]], dtype=np.float64)
            for name in ("slope", "intercept", "prior")
        )
        return cls(
            kind=plain["kind"],
            slope=slope,
            intercept=intercept,
            prior=prior,
            n_examples=tuple(plain["n_examples"]),
            notes=tuple(plain["notes"]),
        )


def fit_calibration(
    kind: PromptKind,
    scores: NDArray[Any],
    y: ArrayLike,
    *,
    prior: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    patients: Groups | None = None,
) -> Calibration:
    """Learn probabilities from labelled examples.

    scores: (n, c). y: (n,) class indices for classes, (n, c) of 1 and 0 for findings; -1 is unknown. prior:
    class shares (c,), or P(present) per finding, where the probabilities will be used; it replaces the
    examples' shares (Saerens et al., Neural Computation 14:21, 2002). names: of the columns, for the notes.
    Use examples of patients who are not scored later. patients: (n,) whose they are; then patients are
    counted and not images, and scores whose AUROC among them is not shown to lie above one half give no
    probabilities: those would be but the base rate, in the dress of an answer.
    Raises UsageError when there are too few examples.
    """
    found, truth = np.asarray(scores, dtype=np.float64), np.asarray(y, dtype=np.int64)
    wanted = found.shape[:1] if kind == "classes" else found.shape
    if found.ndim != 2 or truth.shape != wanted:
        raise UsageError(f"calibration of {kind}: scores {found.shape} and labels {truth.shape} do not fit")
    new = None if prior is None else np.asarray(prior, dtype=np.float64)
    if new is not None and (new.shape != found.shape[1:] or not ((new > 0) & (new < 1)).all()):
        raise UsageError("a prior has one share for each class, between 0 and 1")
    people = None if patients is None else group_codes(patients)
    if kind == "classes":
        return _fit_classes(found, truth, new, people)
    return _fit_findings(found, truth, new, names or [f"finding {c}" for c in range(found.shape[1])], people)


def doubts(
    kind: PromptKind, scores: NDArray[Any], y: I64, names: Sequence[str], patients: Groups
) -> tuple[str, ...]:
    """A note for each finding (or for the classes) that the scores are not shown to tell; see
    `fit_calibration`, which leaves those without probabilities when it is given the patients."""
    people = group_codes(patients)
    if kind == "classes":
        asked = [("", y != ABSTAIN, scores, y)]
    else:
        asked = [(f"{name}: ", y[:, c] != ABSTAIN, scores[:, c], y[:, c]) for c, name in enumerate(names)]
    said = [
        (name, _untold(x[known], truth[known], people[known]))
        for name, known, x, truth in asked
        if known.any()
    ]
    return tuple(f"{name}{doubt}" for name, doubt in said if doubt)


def _fit_findings(
    scores: F64, truth: I64, prior: F64 | None, names: Sequence[str], people: I64 | None
) -> Calibration:
    slope, intercept, share = (np.full(scores.shape[1], np.nan) for _ in range(3))
    notes: list[str] = []
    known = truth != ABSTAIN
    for c, name in enumerate(names):
        y, x = truth[known[:, c], c], scores[known[:, c], c]
        whose = None if people is None else people[known[:, c]]
        sides = _counts(y, 2, whose)
        total = len(y) if whose is None else len(np.unique(whose))
        if total < FEWEST_EXAMPLES or min(sides) < FEWEST_PER_CLASS:
            notes.append(
                f"{name} is not calibrated: {sides[1]} present and {sides[0]} absent {_noun(whose)}, {_TAKES}"
            )
            continue
        if doubt := _untold(x, y, whose):
            notes.append(f"{name} is not calibrated: {doubt}")
            continue
        if len(y) < ENOUGH_EXAMPLES:
            notes.append(f"{name}: calibrated on {len(y)} examples; about {ENOUGH_EXAMPLES} are needed")
        slope[c], intercept[c] = _platt(x, y)
        present = int(y.sum())
        share[c] = present / len(y)
        if prior is not None:
            intercept[c] += _logit(prior[c]) - _logit(share[c])
            share[c] = prior[c]
        if slope[c] <= 0:
            notes.append(f"{name}: {_WRONG_WAY}")
    if not np.isfinite(slope).any() and all(_TAKES in note for note in notes):
        raise UsageError("; ".join(notes))
    counts = tuple(int(count) for count in known.sum(axis=0))
    return Calibration(
        kind="findings", slope=slope, intercept=intercept, prior=share, n_examples=counts, notes=tuple(notes)
    )


def _counts(y: I64, n_classes: int, people: I64 | None) -> list[int]:
    """Examples of each class: images, or the patients they are of."""
    return [
        int((y == c).sum()) if people is None else len(np.unique(people[y == c])) for c in range(n_classes)
    ]


def _noun(people: I64 | None) -> str:
    return "examples" if people is None else "patients"


def _untold(scores: NDArray[Any], y: I64, people: I64 | None) -> str:
    """Why the scores are not shown to tell the classes, "" where they are (or nobody asks)."""
    if people is None:
        return ""
    name, metric = (
        ("AUROC", auroc) if scores.ndim == 1 else ("mean AUROC of one against the rest", macro_auroc)
    )
    found = bootstrap(name, metric, y, scores, people)
    if found.low > _CHANCE:
        return ""
    return f"its scores are not shown to tell the examples apart, {name} {found}"


def _logit(p: float) -> float:
    return float(np.log(p / (1 - p)))


def _platt(x: F64, y: I64) -> tuple[float, float]:
    """Slope and intercept of Platt's sigmoid with his smoothed targets, by maximum likelihood.

    The score is standardised while fitting, so that the optimiser meets numbers of order one.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    positives, negatives = float(y.sum()), float(len(y) - y.sum())
    target = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    centre, spread = float(x.mean()), float(x.std()) or 1.0
    z = (x - centre) / spread

    def loss(theta: F64) -> tuple[float, F64]:
        line = theta[0] * z + theta[1]
        miss = expit(line) - target
        return float(np.sum(np.logaddexp(0, line) - target * line)), np.array([miss @ z, miss.sum()])

    a, b = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B").x
    return float(a / spread), float(b - a * centre / spread)


def _fit_classes(scores: F64, truth: I64, prior: F64 | None, people: I64 | None) -> Calibration:
    from scipy.optimize import minimize

    known = truth != ABSTAIN
    x, y, whose = scores[known], truth[known], None if people is None else people[known]
    counts = np.bincount(y, minlength=scores.shape[1])
    total, rarest = len(y) if whose is None else len(np.unique(whose)), min(_counts(y, len(counts), whose))
    if total < FEWEST_EXAMPLES or rarest < FEWEST_PER_CLASS:
        raise UsageError(
            f"not calibrated: {total} labelled {_noun(whose)}, {rarest} of the rarest class, {_TAKES}"
        )
    if doubt := _untold(x, y, whose):
        return _silent(counts, f"not calibrated: {doubt}")
    x = x - x.mean(axis=1, keepdims=True)
    spread = float(x.std()) or 1.0
    own = np.eye(scores.shape[1])[y]
    penalty = 1e-3  # keeps the slope finite when the examples are separated

    def loss(theta: F64) -> tuple[float, F64]:
        line = theta[0] * x / spread + theta[1:]
        top = line.max(axis=1, keepdims=True)
        log_p = line - top - np.log(np.exp(line - top).sum(axis=1, keepdims=True))
        miss = np.exp(log_p) - own
        slope_gradient = float((miss * x).sum() / spread)
        value = float(-(own * log_p).sum() + penalty * theta @ theta)
        return value, np.concatenate([[slope_gradient], miss.sum(axis=0)]) + 2 * penalty * theta

    theta = minimize(loss, np.r_[1.0, np.zeros(scores.shape[1])], jac=True, method="L-BFGS-B").x
    share = counts / len(y)
    intercept = theta[1:].copy()
    if prior is not None:
        intercept += np.log(prior / prior.sum()) - np.log(share)
        share = prior / prior.sum()
    slope = theta[0] / spread
    few = () if len(y) >= ENOUGH_EXAMPLES else (f"{len(y)} examples; about {ENOUGH_EXAMPLES} are needed",)
    return Calibration(
        kind="classes",
        slope=np.array([slope]),
        intercept=intercept,
        prior=share,
        n_examples=tuple(int(count) for count in counts),
        notes=(*few, *(() if slope > 0 else (_WRONG_WAY,))),
    )


def _silent(counts: I64, note: str) -> Calibration:
    """No probabilities of classes, and why."""
    unknown = np.full(len(counts), np.nan)
    return Calibration(
        kind="classes",
        slope=np.array([np.nan]),
        intercept=unknown,
        prior=unknown,
        n_examples=tuple(int(count) for count in counts),
        notes=(note,),
    )
