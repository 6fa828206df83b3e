"""How much an answer hangs on the wording: each phrase of a prompt set alone, against all together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32
from embedstore.evaluation.arrays import F64
from embedstore.learning.prompts import PromptSet
from embedstore.learning.zeroshot import class_scores


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Wording:
    """One phrase in place of all phrases of its side. role: "present" or "absent".

    spearman: rank correlation of its (n,) scores with those of the whole set, NaN when they are constant.
    flipped: share of images whose answer changes (the sign of a finding's score, the best class).
    """

    label: str
    role: str
    text: str
    spearman: float
    flipped: float
    scores: F64


def wordings(prompts: PromptSet, texts: NDArray[Any], images: NDArray[Any]) -> tuple[Wording, ...]:
    """Every phrase of every class or finding that has more than one, in the file's order.

    texts: (t, dim) vectors of `prompts.texts`; images: (n, dim), where they meet.
    """
    whole = class_scores(prompts.prototypes(texts), images)
    found = []
    for column, label in enumerate(prompts.labels):
        for role, phrases in (("present", label.present), ("absent", label.absent)):
            for phrase in phrases if len(phrases) > 1 else ():
                here = role == "present"
                alone = replace(label, present=(phrase,)) if here else replace(label, absent=(phrase,))
                labels = tuple(alone if other is label else other for other in prompts.labels)
                changed = replace(prompts, labels=labels).prototypes(texts, prompts.texts)
                scores = class_scores(changed, images)
                found.append(_wording(prompts, column, role, phrase, whole, scores))
    return tuple(found)


def _wording(prompts: PromptSet, column: int, role: str, text: str, whole: F32, scores: F32) -> Wording:
    if prompts.kind == "findings":
        flipped = (whole[:, column] > 0) != (scores[:, column] > 0)
    else:
        flipped = whole.argmax(axis=1) != scores.argmax(axis=1)
    mine = np.asarray(scores[:, column], dtype=np.float64)
    return Wording(
        label=prompts.labels[column].name,
        role=role,
        text=text,
        spearman=_spearman(whole[:, column], mine),
        flipped=float(flipped.mean()) if len(flipped) else 0.0,
        scores=mine,
    )


def _spearman(first: NDArray[Any], second: NDArray[Any]) -> float:
    from scipy.stats import rankdata

    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])
