"""Pictures that stand on both sides of a split although their files, and often their patients, differ.

The vectors name the candidates, a second look at the pixels decides. Sources are read again for it; a pair
whose source is gone is counted as not looked at, unless the vectors are equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64
from embedstore.engine.requests import Progress, silent
from embedstore.engine.thumbnails import Thumbnails
from embedstore.engine.workspace import Workspace
from embedstore.errors import LeakageRefused
from embedstore.evaluation.duplicates import SAME_PIXELS, SIDE, candidates, likeness
from embedstore.learning.vectors import unit_rows
from embedstore.storage.records import SpaceRow

_NAMED = 3
Pair = tuple[int, int]
_AT_ONCE = 256  # pairs between two words of progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """One picture twice. first, second: item ids. same_pixels: the vectors are equal."""

    first: int
    second: int
    cosine: float
    same_pixels: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossings:
    """pairs: near-duplicates between two sets of images. looked_at: candidate pairs whose pixels were
    compared; not_looked_at: those of which a source could not be read."""

    pairs: tuple[Crossing, ...]
    looked_at: int
    not_looked_at: int


def find_crossings(
    workspace: Workspace, space: SpaceRow, first: I64, second: I64, progress: Progress = silent
) -> Crossings:
    """Near-duplicates between the images `first` (the larger side, training) and `second` (test)."""
    catalog = workspace.catalog
    known, known_vectors = catalog.item_vectors(space.id, np.asarray(first, np.int64))
    asked, asked_vectors = catalog.item_vectors(space.id, np.asarray(second, np.int64))
    of_known, of_asked, cosines = candidates(_units(known_vectors), _units(asked_vectors))
    pairs = list(zip(known[of_known].tolist(), asked[of_asked].tolist(), strict=True))
    equal = cosines >= SAME_PIXELS
    unsure = [pair for pair, same in zip(pairs, equal, strict=True) if not same]
    _look(workspace, unsure, progress)
    seen = workspace.same_pictures
    return Crossings(
        pairs=tuple(
            Crossing(first=pair[0], second=pair[1], cosine=float(cosine), same_pixels=bool(same))
            for pair, cosine, same in zip(pairs, cosines, equal, strict=True)
            if same or seen.get(pair)
        ),
        looked_at=sum(pair in seen for pair in unsure),
        not_looked_at=sum(pair not in seen for pair in unsure),
    )


def _look(workspace: Workspace, pairs: list[Pair], progress: Progress) -> None:
    """Compare the pixels of pairs not compared before, as far as they can be read."""
    seen, small = workspace.same_pictures, _SmallPictures(workspace)
    new = [pair for pair in pairs if pair not in seen]
    for start in range(0, len(new), _AT_ONCE):
        progress("comparing pictures", start, len(new))
        kept, first, second = [], [], []
        for pair in new[start : start + _AT_ONCE]:
            one, two = (small.of(item) for item in pair)
            if one is not None and two is not None:
                kept.append(pair)
                first.append(one)
                second.append(two)
        if kept:
            answers = likeness(np.stack(first), np.stack(second)).same.tolist()
            seen.update(zip(kept, answers, strict=True))


def refuse_crossings(found: Crossings, *, what: str = "the split") -> None:
    """Raise LeakageRefused when a picture stands on both sides. Names item ids, never patients."""
    if not found.pairs:
        return
    named = ", ".join(f"{pair.first} and {pair.second}" for pair in found.pairs[:_NAMED])
    more = f" and {len(found.pairs) - _NAMED} more" if len(found.pairs) > _NAMED else ""
    raise LeakageRefused(
        f"one picture stands on both sides of {what}: items {named}{more}; leave one of each out"
    )


def _units(vectors: F32) -> F32:
    return unit_rows(vectors) if len(vectors) else vectors


class _SmallPictures:
    """Each picture is read once."""

    def __init__(self, workspace: Workspace) -> None:
        self._thumbnails = Thumbnails(workspace)
        self._kept: dict[int, NDArray[np.uint8] | None] = {}

    def of(self, item: int) -> NDArray[np.uint8] | None:
        if item not in self._kept:
            self._kept[item] = self._thumbnails.grey(item, SIDE)
        return self._kept[item]
