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
