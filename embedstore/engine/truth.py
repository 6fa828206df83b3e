"""The true classes of images, as far as columns of the store tell them."""

from __future__ import annotations

from typing import Any

import numpy as np

from embedstore.contracts.image import I64
from embedstore.engine.workspace import Workspace
from embedstore.learning.heads.labels import encode_labels
from embedstore.learning.prompts import PromptSet

ABSENT_WORDS = frozenset({"0", "no", "absent", "false", "n"})
PRESENT_WORDS = frozenset({"1", "yes", "present", "true", "y"})


def truth_of(workspace: Workspace, prompts: PromptSet, items: I64, column: str | None) -> I64 | None:
    """What the store knows: (n,) class indices, or (n, findings) of 1, 0, -1 (unknown); None when nothing."""
    catalog = workspace.catalog
    if prompts.kind == "classes":
        if column is None:
            return None
        return encode_labels(catalog.column(items, column), prompts.classes)[0]
    found = [present_absent(catalog.column(items, f"attr.{name}")) for name in prompts.classes]
    truth = np.stack(found, axis=1)
    return truth if (truth >= 0).any() else None


def present_absent(values: list[Any]) -> I64:
    """1, 0 or -1 of column values such as 1, "no", "present"; anything else is unknown."""
    words = [
        str(int(v)) if isinstance(v, float) and v.is_integer() else str(v).strip().lower() for v in values
    ]
    return np.array([1 if w in PRESENT_WORDS else 0 if w in ABSENT_WORDS else -1 for w in words], np.int64)
