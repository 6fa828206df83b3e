"""What a fitted head is: a card that is JSON, and arrays. Its kind knows how it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64
from embedstore.contracts.labels import HeadSpec
from embedstore.errors import SpaceMismatch, StoreDamaged, UsageError
from embedstore.evaluation.arrays import F64
from embedstore.learning.heads.kinds import Task, kind_of
from embedstore.learning.vectors import checked_rows


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Parts:
    """Uncertainty of (n,) answers (findings: (n, outputs)), taken apart.

    aleatoric: what more training data would not take away; epistemic: what it would. Entropies in nats for
    classes and findings (epistemic: mutual information of answer and model; Depeweg et al., ICML 2018),
    variances in the target's squared unit for values. They add up to the whole.
    """

    aleatoric: F64
    epistemic: F64


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FittedHead:
    """A fitted head. Implements `contracts.labels.Head`.

    spec.params["kind"] names its kind, ["task"] what it answers: "classes" (probabilities that sum to 1),
    "findings" (a probability each), "value" (numbers), "anomaly" (scores, larger is stranger).
    """

    spec: HeadSpec
    arrays: Mapping[str, NDArray[Any]]

    @property
    def kind(self) -> str:
        """See `kinds.KINDS`."""
        return str(self.spec.params["kind"])

    @property
    def task(self) -> Task:
        """What it answers."""
        found: Task = self.spec.params.get("task", "classes")
        return found

    @property
    def dim(self) -> int:
        """Length of the vectors it takes."""
        return int(kind_of(self.kind).dim(self))

    def predict(self, vectors: NDArray[Any], bags: I64 | None = None) -> F32:
        """(n, dim) vectors to (n, outputs).

        bags: (n,) codes of the wholes (slides, studies) the rows are parts of, for a head on bags: each row
        gets the answer for its bag. Without them each row is a bag of its own.
        """
        rows = checked_rows(vectors, f"head '{self.spec.name}'", self.dim)
        return np.asarray(kind_of(self.kind).apply(self, rows, bags), dtype=np.float32)

    def parts(self, vectors: NDArray[Any]) -> Parts | None:
        """Uncertainty taken apart; None for a head fitted without."""
        if self.spec.params.get("uncertainty", "none") == "none":
            return None
        found: Parts = kind_of(self.kind).parts(self, checked_rows(vectors, "vectors", self.dim))
        return found

    def to_json(self) -> dict[str, Any]:
        """The spec as JSON."""
        return asdict(self.spec) | {"classes": list(self.spec.classes)}

    @classmethod
    def restore(cls, spec: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> FittedHead:
        """The head that gave this spec and these arrays. Raises StoreDamaged when they do not fit."""
        try:
            told = HeadSpec(**{**spec, "classes": tuple(spec["classes"])})
            head = cls(spec=told, arrays=arrays)
            fits = kind_of(head.kind).fits(head)
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise StoreDamaged(f"a stored head lacks or garbles {error}; fit it again") from error
        if not fits:
            raise StoreDamaged(f"the stored head '{told.name}' does not fit its arrays; fit it again")
        return head


def check_space(expected: str, given: str, what: str = "the head") -> None:
    """Raise SpaceMismatch unless the vectors given are of the space that `what` was fitted in."""
    if expected != given:
        raise SpaceMismatch(
            f"{what} was fitted in space {expected[:12]} and was given vectors of space {given[:12]}; "
            "use the encoder it was fitted with, or fit a head in this space"
        )
