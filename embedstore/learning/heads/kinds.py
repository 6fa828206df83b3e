"""The kinds of head: which module answers for which name, loaded when it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from embedstore.errors import UsageError

Task = Literal["classes", "findings", "value", "anomaly"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KindInfo:
    """What a shell needs to know of a kind. tasks: the first is meant unless another is said.

    module: has `fit(rows, options) -> Fitted`, `apply`, `dim`, `fits`, and `parts` where it knows
    uncertainty. setting: the parameter that is chosen on patient-grouped folds, "" when nothing is.
    """

    name: str
    module: str
    tasks: tuple[Task, ...]
    about: str
    setting: str = ""
    needs_texts: bool = False
    on_bags: bool = False
    uncertainties: tuple[str, ...] = ("none",)


_HERE = "embedstore.learning.heads"
KINDS: dict[str, KindInfo] = {
    kind.name: kind
    for kind in (
        KindInfo(
            name="logistic",
            module=f"{_HERE}.logistic",
            tasks=("classes", "findings"),
            about="L2-penalised logistic regression",
            setting="C",
            uncertainties=("none", "laplace", "ensemble"),
        ),
        KindInfo(
            name="ridge",
            module=f"{_HERE}.ridge",
            tasks=("value",),
            about="ridge regression for a continuous target",
            setting="penalty",
            uncertainties=("none", "laplace", "ensemble"),
        ),
        KindInfo(
            name="knn",
            module=f"{_HERE}.neighbours",
            tasks=("classes",),
            about="votes of the nearest labelled images",
            setting="k",
        ),
        KindInfo(
            name="tip-adapter",
            module=f"{_HERE}.tip_adapter",
            tasks=("classes",),
            about="few labelled images added to zero-shot scores, untrained",
            setting="scale_alpha_beta",
            needs_texts=True,
        ),
        KindInfo(
            name="lp++",
            module=f"{_HERE}.lp_plus",
            tasks=("classes",),
            about="linear probe blended with the classes' texts, for few images",
            setting="steps",
            needs_texts=True,
        ),
        KindInfo(
            name="anomaly-knn",
            module=f"{_HERE}.anomaly_knn",
            tasks=("anomaly",),
            about="distance to the nearest images of a healthy reference",
        ),
        KindInfo(
            name="mahalanobis",
            module=f"{_HERE}.mahalanobis",
            tasks=("anomaly",),
            about="distance from a healthy reference in units of its shrunk covariance",
        ),
        KindInfo(
            name="bag-mean",
            module=f"{_HERE}.bag_mean",
            tasks=("classes",),
            about="logistic regression on the mean of a slide's or study's images",
            setting="C",
            on_bags=True,
        ),
        KindInfo(
            name="bag-attention",
            module=f"{_HERE}.bags",
            tasks=("classes",),
            about="gated attention over a slide's or study's images",
            setting="penalty",
            on_bags=True,
        ),
    )
}


def info_of(kind: str) -> KindInfo:
    """Raises UsageError with the kinds there are."""
    if kind not in KINDS:
        raise UsageError(f"no kind of head is called '{kind}'; there are: {', '.join(KINDS)}")
    return KINDS[kind]


def kind_of(kind: str) -> Any:
    """The module of a kind. Raises UsageError like `info_of`."""
    return import_module(info_of(kind).module)
