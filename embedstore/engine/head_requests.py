"""What a shell asks of heads: how one is fitted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

LongTail = Literal["none", "balanced", "adjusted"]
Uncertainty = Literal["none", "laplace", "ensemble"]
ConformalBy = Literal["none", "class", "site"]
BagOf = Literal["path", "series", "study", "patient"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conformal:
    """Sets of classes that hold the true one with a chance of 1 - alpha; by: for each class, or each site.

    share: of the training patients, set aside to calibrate on.
    """

    method: Literal["lac", "aps", "raps"] = "lac"
    alpha: float = 0.1
    by: ConformalBy = "none"
    share: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRequest:
    """target: a column, `attr.NAME`, a bare CSV column, or `label:SET` for fused weak labels.

    also: further columns: then each of them is a finding, present, absent or missing. labels: a CSV (path or
    id, label) instead of a column. where: which images take part. test_where: images held out by a rule
    (another site); else `test_fraction` of the patients. kind: see `learning.heads.kinds`. soft: learn from
    the probabilities of fused labels. truth: column of gold labels that a head on fused labels is judged by
    (else: what persons said). prompts: YAML with a phrase set per class, for kinds that use words. healthy:
    the value of the target that an anomaly score takes for the norm. bag: what whole the rows are parts of.
    """

    target: str
    also: tuple[str, ...] = ()
    kind: str = "logistic"
    name: str | None = None
    labels: Path | None = None
    where: str | None = None
    test_where: str | None = None
    test_fraction: float = 0.2
    encoder: str | None = None
    seed: int = 0
    long_tail: LongTail = "none"
    soft: bool = False
    truth: str | None = None
    uncertainty: Uncertainty = "none"
    conformal: Conformal | None = None
    prompts: Path | None = None
    bridge: str | None = None
    healthy: str | None = None
    bag: BagOf | None = None
