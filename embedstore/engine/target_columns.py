"""What could be a target, for one who named a column that has no value."""

from __future__ import annotations

from embedstore.contracts.image import I64
from embedstore.engine.workspace import Workspace
from embedstore.errors import UsageError, did_you_mean
from embedstore.storage.filter_columns import ATTRIBUTE_PREFIX

LABEL_PREFIX = "label:"
_SAMPLE, _LISTED = 1_000, 30


def refuse_empty(workspace: Workspace, target: str, column: str, items: I64) -> None:
    """Raise UsageError, with the columns and label sets there are, when no item has a value in the column."""
    if any(str(value).strip() for value in workspace.catalog.column(items, column) if value is not None):
        return
    sets = [f"{LABEL_PREFIX}{one.name}" for one in workspace.catalog.labels.label_sets()]
    columns = _columns(workspace, items)
    bare = target.removeprefix(ATTRIBUTE_PREFIX)
    if LABEL_PREFIX + bare in sets:
        raise UsageError(
            f"'{target}' is a label set and no column with values; for its fused labels give "
            f"{LABEL_PREFIX}{bare} (after: embedstore label model {bare})"
        )
    hint = did_you_mean(bare, [*(one.removeprefix(ATTRIBUTE_PREFIX) for one in columns), *sets])
    raise UsageError(
        f"none of {len(items)} images has a value in column '{target}'; {hint}columns with several values: "
        f"{_list(columns)}; label sets: {_list(sets)}"
    )


def _columns(workspace: Workspace, items: I64) -> list[str]:
    """Columns in which a sample of the images has several values, but not one for each."""
    values: dict[str, set[str]] = {}
    sample = workspace.catalog.items(items[:_SAMPLE].tolist())
    for item in sample:
        told = [*item.columns.items(), *((ATTRIBUTE_PREFIX + name, one) for name, one in item.extra.items())]
        for name, value in told:
            if value not in (None, ""):
                values.setdefault(name, set()).add(str(value))
    return [name for name, met in values.items() if 1 < len(met) < max(3, len(sample))]


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more if names else "none"
