"""How good zero-shot answers are where the truth is known, what abstaining buys, how much wording matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64
from embedstore.evaluation.intervals import bootstrap
from embedstore.evaluation.metrics import auroc, balanced_accuracy
from embedstore.learning.abstention import abstention_table
from embedstore.learning.prompts import PromptSet
from embedstore.learning.sensitivity import Wording


def judged(
    prompts: PromptSet, scores: F32, probabilities: F32 | None, truth: I64 | None, groups: NDArray[Any]
) -> Mapping[str, Any]:
    """Metrics by class or finding, of the scores and of the probabilities; {} where no truth is known."""
    if truth is None:
        return {}
    if prompts.kind == "classes":
        known = truth >= 0
        said = scores.argmax(axis=1)[known]
        best = bootstrap("balanced_accuracy", balanced_accuracy, truth[known], said, groups[known])
        return {"all": {"balanced_accuracy": best.to_json()}}
    found: dict[str, Any] = {}
    for column, name in enumerate(prompts.classes):
        known = truth[:, column] >= 0
        if known.any():
            ranked = bootstrap("auroc", auroc, truth[known, column], scores[known, column], groups[known])
            found[name] = {"auroc": ranked.to_json()}
            if probabilities is not None and np.isfinite(probabilities[known, column]).all():
                said = (probabilities[known, column] >= 0.5).astype(np.int64)
                share = bootstrap(
                    "balanced_accuracy", balanced_accuracy, truth[known, column], said, groups[known]
                )
                found[name]["balanced_accuracy"] = share.to_json()
    return found


def abstaining(
    prompts: PromptSet, probabilities: F32 | None, truth: I64 | None, groups: NDArray[Any]
) -> Mapping[str, Any]:
    """Risk against coverage by finding, or of the classes ("all"); {} without truth or calibration."""
    if truth is None or probabilities is None:
        return {}
    if prompts.kind == "classes":
        known = truth >= 0
        right = probabilities.argmax(axis=1) == truth
        return {"all": abstention_table(probabilities.max(axis=1)[known], right[known], groups[known])}
    found = {}
    for column, name in enumerate(prompts.classes):
        p = probabilities[:, column]
        known = (truth[:, column] >= 0) & np.isfinite(p)
        if known.any():
            right = (p >= 0.5) == (truth[:, column] == 1)
            found[name] = abstention_table(np.maximum(p, 1 - p)[known], right[known], groups[known])
    return found


def told_wordings(
    prompts: PromptSet, found: Sequence[Wording], truth: I64 | None, groups: NDArray[Any]
) -> tuple[Mapping[str, Any], ...]:
    """Each phrase as a JSON object, with its AUROC where the truth is known."""
    rows = []
    for one in found:
        column = prompts.classes.index(one.label)
        row: dict[str, Any] = {
            "label": one.label,
            "role": one.role,
            "text": one.text,
            "spearman": None if np.isnan(one.spearman) else one.spearman,
            "flipped": one.flipped,
            "n_images": len(one.scores),
            "n_patients": len(np.unique(groups)),
            "auroc": None,
        }
        if truth is not None:
            mine = (
                truth[:, column] if prompts.kind == "findings" else np.where(truth < 0, -1, truth == column)
            )
            known = mine >= 0
            if known.any():
                row["auroc"] = bootstrap(
                    "auroc", auroc, mine[known], one.scores[known], groups[known], resamples=500
                ).to_json()
        rows.append(row)
    return tuple(rows)
