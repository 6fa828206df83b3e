"""A folder, archive or DICOMDIR at a glance: how many of what kind, and what cannot be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from embedstore.contracts.record import Asset, Cut, Report, Skip, Source
from embedstore.engine.requests import Progress, silent
from embedstore.engine.units import unit_of
from embedstore.errors import ReadFailure
from embedstore.readers.choose import ReaderSet
from embedstore.readers.walk import Unreachable
from embedstore.settings import Limits

_EXAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRow:
    """Files that hold one kind of thing.

    unit: of their items, "" for reports. wholes: volumes, loops and slides that the items are parts of.
    """

    reader: str
    modality: str | None
    unit: str
    files: int
    items: int
    wholes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonRow:
    """Why files are no items. examples: the first paths."""

    reason: str
    files: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderCard:
    """files: how many were looked at. complete: False when there are more than the limit."""

    path: str
    files: int
    items: int
    complete: bool
    kinds: tuple[KindRow, ...]
    skips: tuple[ReasonRow, ...]
    failures: tuple[ReasonRow, ...]


class _Tally:
    def __init__(self) -> None:
        self.files: Counter[tuple[str, str | None, str]] = Counter()
        self.items: Counter[tuple[str, str | None, str]] = Counter()
        self.wholes: dict[tuple[str, str | None, str], set[str]] = {}
        self.skips: dict[str, list[str]] = {}
        self.failures: dict[str, list[str]] = {}

    def take(self, found: Iterable[Asset | Report | Skip], path: str) -> None:
        met: set[tuple[str, str | None, str]] = set()
        reasons: set[str] = set()
        for one in found:
            if isinstance(one, Skip):
                reasons.add(one.reason)
                continue
            kind = _kind(one)
            met.add(kind)
            self.items[kind] += 1
            if one.header.whole is not None:
                self.wholes.setdefault(kind, set()).add(one.header.whole)
        self.files.update(met)
        for reason in reasons:
            self.skips.setdefault(reason, []).append(path)


def _kind(found: Asset | Report) -> tuple[str, str | None, str]:
    if isinstance(found, Report):
        return "report", found.header.modality, ""
    header = found.header
    placed = {"whole": header.whole, "position_mm": header.position_mm, "tile_x": header.tile_x}
    return found.reader, header.modality, unit_of(found.part, placed)


def inspect_sources(
    path: str,
    sources: Iterable[Source | Unreachable],
    cut: Cut,
    most: int,
    limits: Limits,
    progress: Progress = silent,
) -> FolderCard:
    """Describe at most `most` sources from their headers; one that fails is a counted reason."""
    readers, tally = ReaderSet.installed(limits), _Tally()
    seen, complete = 0, True
    for source in sources:
        if seen == most:
            complete = False
            break
        seen += 1
        progress("looking", seen, None)
        reason = source.reason if isinstance(source, Unreachable) else _take(readers, source, cut, tally)
        if isinstance(source, Unreachable) and source.rightly:
            tally.skips.setdefault(reason, []).append(source.path)
        elif reason:
            tally.failures.setdefault(reason, []).append(source.path)
    return FolderCard(
        path=path,
        files=seen,
        items=sum(tally.items.values()),
        complete=complete,
        kinds=_kinds(tally),
        skips=_reasons(tally.skips),
        failures=_reasons(tally.failures),
    )


def _take(readers: ReaderSet, source: Source, cut: Cut, tally: _Tally) -> str:
    """Count a source; "" or the reason why it cannot be read."""
    try:
        tally.take(readers.describe(source, cut), source.path)
    except ReadFailure as failure:
        return failure.reason
    except OSError as error:
        return f"cannot be read: {error.strerror or type(error).__name__}"
    except MemoryError:
        return "too large for this machine's memory"
    except Exception as error:  # a parser's own message may quote the file: only its kind is kept
        return f"damaged: its header cannot be read ({type(error).__name__})"
    return ""


def _kinds(tally: _Tally) -> tuple[KindRow, ...]:
    ordered = sorted(tally.files, key=lambda kind: (-tally.files[kind], str(kind)))
    return tuple(
        KindRow(
            reader=kind[0],
            modality=kind[1],
            unit=kind[2],
            files=tally.files[kind],
            items=tally.items[kind],
            wholes=len(tally.wholes.get(kind, ())),
        )
        for kind in ordered
    )


def _reasons(reasons: dict[str, list[str]]) -> tuple[ReasonRow, ...]:
    rows = (
        ReasonRow(reason=reason, files=len(paths), examples=tuple(paths[:_EXAMPLES]))
        for reason, paths in reasons.items()
    )
    return tuple(sorted(rows, key=lambda row: (-row.files, row.reason)))
