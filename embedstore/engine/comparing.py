"""Which encoder serves these images best? By its neighbours and a linear probe, beside what it costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from embedstore.contracts.image import Image, ImageInput
from embedstore.engine.comparing_measures import Common, measured, measures, ranking
from embedstore.engine.comparison_records import (
    EncoderComparison,
    EncoderComparisonRequest,
    EncoderRow,
    Measure,
)
from embedstore.engine.head_fit import split_of
from embedstore.engine.head_requests import HeadRequest
from embedstore.engine.head_rows import Target, labelled
from embedstore.engine.leakage import find_crossings, refuse_crossings
from embedstore.engine.requests import Progress, silent
from embedstore.engine.unsealing import unseal
from embedstore.engine.workspace import Workspace
from embedstore.errors import EmbedstoreError, UsageError
from embedstore.evaluation.arrays import I64
from embedstore.storage.records import SpaceRow

_LEVEL = 0.95
_SIDE = 512  # pixels of the made images that the cost is measured with


def compare_encoders(
    workspace: Workspace, request: EncoderComparisonRequest, progress: Progress = silent
) -> EncoderComparison:
    """Rank spaces of the store by a linear probe on held-out patients; P@k and a vote of neighbours beside.

    An image takes part when every space holds it. Raises UsageError (fewer than two spaces, no labels),
    LeakageRefused (a patient or picture on both sides).
    """
    spaces = _spaces(workspace, request.encoders)
    common, notes = _common(workspace, spaces, request)
    common, left_out = _without_crossings(workspace, spaces[0], common, request, progress)
    test = common.items[common.split.test]
    looks = unseal(workspace, (), test, request.test_where, by=f"comparison of {len(spaces)} encoders")
    told = []
    for done, vectors in enumerate(common.vectors):
        progress("comparing encoders", done, len(spaces))
        told.append(measured(common, vectors, request))
    order = ranking(common, told)
    costs = [_seconds(workspace, spaces[place], request.timed) for place in order]
    level = 1 - (1 - _LEVEL) / max(1, len(spaces) - 1)
    rows = tuple(
        _row(rank, spaces[place], measures(common, told[place], told[order[0]], rank, request.k, level), cost)
        for rank, (place, (cost, _)) in enumerate(zip(order, costs, strict=True), 1)
    )
    return EncoderComparison(
        target=request.target,
        classes=common.classes,
        k=request.k,
        train=_counts(common, common.split.train),
        test=_counts(common, common.split.test),
        split={**common.split.describe(), "where": request.where, "test_where": request.test_where},
        rows=rows,
        verdict=_verdict(rows),
        unsealed=looks,
        notes=(*notes, *left_out, *(note for _, note in costs if note)),
    )


def _spaces(workspace: Workspace, encoders: Sequence[str]) -> list[SpaceRow]:
    if encoders:
        found = [workspace.space("image", name) for name in dict.fromkeys(encoders)]
    else:
        found = [row for row in workspace.spaces_of("image") if row.vectors]
    if len(found) < 2:
        raise UsageError(
            "a comparison needs images embedded by two encoders; run: embedstore ingest PATH --encoder NAME"
        )
    return found


def _common(
    workspace: Workspace, spaces: Sequence[SpaceRow], request: EncoderComparisonRequest
) -> tuple[Common, tuple[str, ...]]:
    asked = HeadRequest(
        target=request.target,
        labels=request.labels,
        where=request.where,
        test_where=request.test_where,
        test_fraction=request.test_fraction,
        seed=request.seed,
    )
    target = Target.of(asked, "classes")
    sides = [labelled(workspace, space, asked, target) for space in spaces]
    items = sides[0][0].items
    for rows, classes in sides[1:]:
        if classes != sides[0][1]:
            raise UsageError("the encoders hold images of different classes; embed the same images with each")
        items = np.intersect1d(items, rows.items)
    if not len(items):
        raise UsageError(
            "no labelled image is held by all of these encoders; embed the same images with each"
        )
    missing = max(len(rows.items) for rows, _ in sides) - len(items)
    kept = [rows.at(np.searchsorted(rows.items, items)) for rows, _ in sides]
    common = Common(
        items=items,
        y=kept[0].y,
        patients=kept[0].patients,
        vectors=[rows.vectors for rows in kept],
        classes=sides[0][1],
        split=split_of(workspace, kept[0], asked),
    )
    return common, (f"{missing} images are not held by every encoder and take no part",) if missing else ()


def _without_crossings(
    workspace: Workspace,
    space: SpaceRow,
    common: Common,
    request: EncoderComparisonRequest,
    progress: Progress,
) -> tuple[Common, tuple[str, ...]]:
    split = common.split
    found = find_crossings(workspace, space, common.items[split.train], common.items[split.test], progress)
    if not request.without_copies:
        refuse_crossings(found, what="the comparison (or compare --without-copies)")
    copies = np.unique([pair.second for pair in found.pairs]).astype(np.int64)
    if not len(copies):
        return common, ()
    test = split.test[~np.isin(common.items[split.test], copies)]
    if not len(test):
        raise UsageError("every test image is a copy of a training image; none is left to compare by")
    kept = replace(split, test=test, n_test_patients=len(np.unique(common.patients[test])))
    return replace(common, split=kept), (f"{len(copies)} copies of training images were left out",)


def _row(
    rank: int, space: SpaceRow, measures: tuple[Measure, Measure, Measure], seconds: float | None
) -> EncoderRow:
    terms = space.spec.get("terms") or {}
    return EncoderRow(
        rank=rank,
        encoder=space.encoder,
        space=space.fingerprint,
        precision_at_k=measures[0],
        neighbours=measures[1],
        probe=measures[2],
        dim=space.dim,
        bytes_per_image=4 * space.dim,
        seconds_per_image=seconds,
        licence=str(space.spec.get("licence") or "?"),
        forbids=str(terms.get("forbids") or ""),
    )


def _seconds(workspace: Workspace, space: SpaceRow, count: int) -> tuple[float | None, str]:
    """Per made image, and why there is no such number."""
    if count < 1:
        return None, ""
    try:
        encoder = workspace.encoder_of(space, "image")
    except EmbedstoreError as error:
        return None, f"no cost of '{space.encoder}': {error}"
    tower = encoder.spec.tower("image")
    intensity = tower.wants if tower is not None else "display"
    pixels = np.random.default_rng(0).integers(0, 256, (count, _SIDE, _SIDE, 1))
    kind = np.uint8 if intensity == "display" else np.float32
    inputs = [ImageInput(Image(one.astype(kind), intensity)) for one in pixels]
    encoder.encode_images(inputs[:1])  # what is done once is not the price of an image
    started = time.perf_counter()
    encoder.encode_images(inputs)
    return (time.perf_counter() - started) / count, ""


def _counts(common: Common, rows: I64) -> dict[str, Any]:
    y = common.y[rows]
    return {
        "images": len(rows),
        "patients": len(np.unique(common.patients[rows])),
        "per_class": {name: int((y == number).sum()) for number, name in enumerate(common.classes)},
    }


def _verdict(rows: Sequence[EncoderRow]) -> str:
    first = rows[0].encoder
    beaten = [
        row.encoder
        for row in rows[1:]
        if row.probe.against_first and row.probe.against_first.verdict == "worse"
    ]
    rest = [row.encoder for row in rows[1:] if row.encoder not in beaten]
    said = [f"'{first}' is better than {', '.join(beaten)}"] if beaten else []
    said += [f"'{first}' is not told apart from {', '.join(rest)}"] if rest else []
    return "; ".join(said)
