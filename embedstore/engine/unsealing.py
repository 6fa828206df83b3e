"""How often held-out images were looked at: each look lets choices lean on them, and so is counted in SQL.

A look is a run of the verb below. Looks by any head count whose held-out images overlap: another encoder or
another C tried on the same patients is another look at them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from embedstore.contracts.image import I64
from embedstore.engine.workspace import Workspace
from embedstore.errors import NotFound, StoreDamaged

VERB = "unseal test images"


def unseal(
    workspace: Workspace, heads: Sequence[str], items: I64, where: str | None = None, *, by: str = ""
) -> Mapping[str, Any]:
    """Record a look at held-out items; what is known of all looks, this one included.

    heads: who looked; what they hold out is known from them. by: who else (a comparison of encoders), whose
    items are recorded with the look. Returns {times, heads (and others), first (UTC), filter}.
    """
    catalog = workspace.catalog
    asked: dict[str, Any] = {"heads": list(heads), "filter": where, "images": len(items)}
    if by:
        asked.update(by=by, items=items.tolist())

    @cache
    def overlaps(head: str) -> bool:
        try:
            arrays = catalog.models.head_arrays(head)
        except (NotFound, StoreDamaged):
            return True  # it cannot say that it did not look
        return bool(np.isin(items, arrays["items"][arrays["in_test"].astype(bool)]).any())

    def met(look: Mapping[str, Any]) -> bool:
        return bool(np.isin(items, look.get("items", ())).any()) or any(map(overlaps, look["heads"]))

    with catalog.writing():
        run = catalog.begin_run(VERB, asked)
        catalog.end_run(run, {})
        looks = [look for look in catalog.runs(None, VERB) if look.id == run or met(look.arguments)]
    names = {name for look in looks for name in (*look.arguments["heads"], look.arguments.get("by"))}
    return {
        "times": len(looks),
        "heads": sorted(name for name in names if name),
        "first": looks[-1].started,
        "filter": where,
    }
