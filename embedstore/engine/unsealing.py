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


def unseal(workspace: Workspace, heads: Sequence[str], items: I64, where: str | None) -> Mapping[str, Any]:
    """Record a look of these heads at held-out items; what is known of all looks, this one included.

    Returns {times, heads, first (UTC), where the looks of this call are: filter}.
    """
    catalog = workspace.catalog

    @cache
    def overlaps(head: str) -> bool:
        try:
            arrays = catalog.models.head_arrays(head)
        except (NotFound, StoreDamaged):
            return True  # it cannot say that it did not look
        held_out = arrays["items"][arrays["in_test"].astype(bool)]
        return bool(np.isin(items, held_out).any())

    with catalog.writing():
        run = catalog.begin_run(VERB, {"heads": list(heads), "filter": where, "images": len(items)})
        catalog.end_run(run, {})
        looks = [one for one in catalog.runs(None, VERB) if _met(one.arguments, overlaps, one.id == run)]
    names = sorted({name for look in looks for name in look.arguments["heads"]})
    return {"times": len(looks), "heads": names, "first": looks[-1].started, "filter": where}


def _met(arguments: Mapping[str, Any], overlaps: Any, this: bool) -> bool:
    return this or any(overlaps(head) for head in arguments.get("heads", ()))
