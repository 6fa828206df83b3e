"""Label values as they come from tables, to class indices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from embedstore.contracts.image import I64
from embedstore.evaluation.arrays import NO_LABEL


def encode_labels(values: Sequence[Any], classes: Sequence[str] | None = None) -> tuple[I64, tuple[str, ...]]:
    """(n,) class indices of label values, -1 where a value is missing or not among the classes.

    classes: their order; by default the values met, sorted ("absent"/"no"/"0"-like names are not special).
    """
    texts = [None if value is None or str(value).strip() == "" else _text(value) for value in values]
    known = (
        tuple(classes) if classes is not None else tuple(sorted({text for text in texts if text is not None}))
    )
    index = {name: number for number, name in enumerate(known)}
    y = np.array([NO_LABEL if t is None else index.get(t, NO_LABEL) for t in texts], dtype=np.int64)
    return y, known


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()
