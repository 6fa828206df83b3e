"""Wholes: derived rows kept in step with the parts they are made of."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from embedstore.contracts.image import F32
from embedstore.engine.pooling import Pooling
from embedstore.engine.requests import Derived
from embedstore.engine.workspace import Workspace
from embedstore.errors import StoreBusy, UsageError
from embedstore.storage.filters import parse_where
from embedstore.storage.records import SpaceRow
from embedstore.storage.wholes import BEHIND, CURRENT, WHOLE_KIND, Parts, derived_note

_GATHERED_TOGETHER = 8192
_COMMITTED_TOGETHER = 64


def derived_spaces(workspace: Workspace, base: SpaceRow) -> list[SpaceRow]:
    """The derived spaces of a space, oldest first."""
    return [
        row
        for row in workspace.catalog.spaces()
        if WHOLE_KIND in row.kinds and row.spec["derived"]["base"] == base.fingerprint
    ]


def pooling_of(space: SpaceRow) -> Pooling:
    """The rule of a derived space."""
    return Pooling.from_json(space.spec["derived"]["pooling"])


def derived_space(workspace: Workspace, base: SpaceRow, pool: str | None) -> SpaceRow:
    """The derived space a search works in: of the pooling named, else the first one. Raises UsageError."""
    there = derived_spaces(workspace, base)
    if pool is None and there:
        return there[0]
    wanted = Pooling.of(pool or "mean")
    for row in there:
        if pooling_of(row) == wanted:
            return row
    raise UsageError(
        f"the parts embedded by '{base.encoder}' have not been pooled by '{wanted.text}' yet; run: "
        f"embedstore ingest PATH --encoder {base.encoder} --pool {wanted.text}"
    )


def check_pools(pools: tuple[str, ...]) -> None:
    """Raises UsageError for what is no pooling, FilterError for a column that is none or holds no number."""
    for pool in pools:
        weight = Pooling.of(pool).weight
        if weight is not None:
            parse_where(f"{weight} > 0")


def expect_parts(workspace: Workspace, base: SpaceRow) -> None:
    """Note, before parts are added, that wholes may be behind them."""
    for space in derived_spaces(workspace, base):
        workspace.catalog.set_note(derived_note(space.fingerprint), BEHIND)


def derive(workspace: Workspace, base: SpaceRow, pools: tuple[str, ...] = ()) -> tuple[Derived, ...]:
    """Bring every derived space of `base` up to its parts, and make those of `pools` that are not there.

    Nothing is encoded: only stored vectors are read. Safe to interrupt and run again. Raises UsageError,
    FilterError (no such column), StoreBusy.
    """
    with workspace.catalog.writing():
        for pool in pools:
            rule = Pooling.of(pool)
            workspace.catalog.wholes.ensure_space(base, rule.space(base.fingerprint), rule.to_json())
        return tuple(_bring_up(workspace, base, space) for space in derived_spaces(workspace, base))


def catch_up(workspace: Workspace, base: SpaceRow, space: SpaceRow) -> str:
    """Bring one derived space up before it answers; what to say when another process keeps it from that."""
    if workspace.catalog.note(derived_note(space.fingerprint)) == CURRENT:
        return ""
    try:
        with workspace.catalog.writing():
            _bring_up(workspace, base, space)
    except StoreBusy:
        return "wholes do not hold the parts yet that another process is adding"
    return ""


def _bring_up(workspace: Workspace, base: SpaceRow, space: SpaceRow) -> Derived:
    catalog, rule = workspace.catalog, pooling_of(space)
    stored = {row.whole: row.parts_sha256 for row in catalog.wholes.rows(space.id)}
    wholes = catalog.wholes.parts(base.id, rule.weight)
    counting = [parts for parts in wholes if parts.counting]
    gone = sorted(stored.keys() - {parts.whole for parts in counting})
    changed = [parts for parts in counting if stored.get(parts.whole) != parts.sha256]
    if gone:
        catalog.wholes.replace(space.id, [], np.empty((0, space.dim), np.float32), gone)
    made = 0
    for first in range(0, len(changed), _COMMITTED_TOGETHER):
        some = changed[first : first + _COMMITTED_TOGETHER]
        pooled = [(parts, _pooled(workspace, base, parts, rule)) for parts in some]
        kept = [(parts, vector) for parts, vector in pooled if vector is not None]
        void = [parts.whole for parts, vector in pooled if vector is None]  # parts that cancel each other out
        vectors = np.stack([vector for _, vector in kept]) if kept else np.empty((0, space.dim), np.float32)
        catalog.wholes.replace(space.id, [parts for parts, _ in kept], vectors, void)
        made += len(kept)
    catalog.set_note(derived_note(space.fingerprint), CURRENT)
    empty = len(wholes) - len(counting)
    return Derived(
        space=space.fingerprint,
        pooling=rule.text,
        wholes=len(counting),
        made=made,
        gone=len(gone),
        empty=empty,
    )


def _pooled(workspace: Workspace, base: SpaceRow, parts: Parts, rule: Pooling) -> F32 | None:
    def gathered() -> Iterator[F32]:
        for first in range(0, len(parts.vectors), _GATHERED_TOGETHER):
            yield workspace.catalog.vectors(base.id, parts.vectors[first : first + _GATHERED_TOGETHER])

    return rule.pool(gathered(), parts.weights)
