"""Fitting a head on stored vectors, and recording it with its split and data digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.engine.admission import DEIDENTIFIED
from embedstore.engine.anchors import Sparing, spared
from embedstore.engine.head_requests import Conformal, HeadRequest
from embedstore.engine.head_rows import HeadRows, Target, labelled
from embedstore.engine.head_texts import class_texts, prompted_for
from embedstore.engine.heads import card_of
from embedstore.engine.prompted import PromptedSpace
from embedstore.engine.requests import HeadCard
from embedstore.engine.workspace import Workspace
from embedstore.errors import UsageError
from embedstore.evaluation.splits import Split, one_sided, split_by_mask, split_by_patient
from embedstore.fingerprint import digest
from embedstore.learning.heads.fit import fit_kind
from embedstore.learning.heads.kinds import info_of
from embedstore.learning.heads.record import FittedHead
from embedstore.learning.heads.rows import FitOptions, Identity
from embedstore.storage.filters import parse_where
from embedstore.storage.records import SpaceRow


def fit_head(workspace: Workspace, request: HeadRequest) -> HeadCard:
    """Fit, with settings chosen inside the training patients, and record with split and data digest.

    Raises UsageError (no labels, one class, unknown column), LeakageRefused, FilterError.
    """
    catalog = workspace.catalog
    _check(request)
    space = workspace.space("image", request.encoder)
    target = Target.of(request, info_of(request.kind).tasks[0])
    rows, classes = labelled(workspace, space, request, target)
    if target.task == "classes":
        target = replace(target, classes=classes)
    prompted = prompted_for(workspace, request) if info_of(request.kind).needs_texts else None
    split = split_of(workspace, rows, request)
    train, calibration = _set_aside(rows, split, request)
    identity = Identity(
        name=request.name or _free_name(request.target, [row.spec.name for row in catalog.models.heads()]),
        space=space.fingerprint,
        target=target.name,
        classes=classes,
        seed=request.seed,
        split={**split.describe(), "where": request.where, "test_where": request.test_where}
        | ({"n_calibration": int(calibration.sum())} if calibration.any() else {}),
    )
    if prompted is not None:
        how = Sparing(
            doing="to be tested on",
            choose="--test-where",
            filters=(request.test_where,),
            named="--bridge" if request.bridge else "",
        )
        spared(prompted.bridge, rows.patients[split.test].tolist(), how)
    head = _fit(rows.at(train), identity, target, request, prompted)
    recorded = {
        "items": rows.items,
        "labels": rows.y,
        "in_test": np.isin(np.arange(len(rows.items)), split.test),
        "in_calibration": calibration,
    }
    with catalog.writing():
        catalog.models.save_head(
            head.spec,
            {**head.arrays, **recorded},
            {
                **_details(workspace, space, rows, target, request),
                "bridge": _bridge_of(prompted),
                "warnings": _one_sided(rows, split, target, classes),
            },
        )
    return card_of(catalog.models.head(identity.name))


def _bridge_of(prompted: PromptedSpace | None) -> str | None:
    return prompted.bridge.name if prompted is not None and prompted.bridge is not None else None


def _check(request: HeadRequest) -> None:
    info = info_of(request.kind)
    if info.on_bags != (request.bag is not None):
        said = "needs --bag: what its images are parts of" if info.on_bags else "asks of each image by itself"
        raise UsageError(f"a head of kind '{request.kind}' {said}")
    if (info.tasks[0] == "anomaly") != (request.healthy is not None):
        raise UsageError("--healthy VALUE is for anomaly scores, and they need it: the target's normal value")
    if request.uncertainty not in info.uncertainties:
        able = " or ".join(one for one in info.uncertainties if one != "none") or "none"
        raise UsageError(f"a head of kind '{request.kind}' knows uncertainty by: {able}")
    if request.also and "findings" not in info.tasks:
        raise UsageError(f"a head of kind '{request.kind}' has one target; several take --kind logistic")


def _fit(
    rows: HeadRows,
    identity: Identity,
    target: Target,
    request: HeadRequest,
    prompted: PromptedSpace | None,
) -> FittedHead:
    texts = None if prompted is None else class_texts(prompted, request.target, identity.classes)
    return fit_kind(
        request.kind,
        rows.vectors if prompted is None else prompted.meeting(rows.vectors),
        rows.y,
        rows.patients,
        identity,
        task=target.task,
        bags=rows.bags,
        texts=texts,
        options=FitOptions(long_tail=request.long_tail, uncertainty=request.uncertainty),
    )


def _free_name(target: str, taken: list[str]) -> str:
    stem = target.removeprefix("attr.").replace(":", "-")
    number = 1
    while f"{stem}-{number}" in taken:
        number += 1
    return f"{stem}-{number}"


def _strata(y: NDArray[Any]) -> NDArray[np.int64] | None:
    if y.dtype.kind != "f":
        return y.astype(np.int64)
    return None if y.ndim == 1 else y.argmax(axis=1).astype(np.int64)


def split_of(workspace: Workspace, rows: HeadRows, request: HeadRequest) -> Split:
    """Training and test rows: by a rule (`test_where`), else patients drawn. Raises LeakageRefused."""
    if request.test_where is None:
        return split_by_patient(
            rows.patients, y=_strata(rows.y), test_fraction=request.test_fraction, seed=request.seed
        )
    chosen = workspace.catalog.select_items(parse_where(request.test_where), "image")
    return split_by_mask(rows.patients, np.isin(rows.items, chosen))


def _one_sided(rows: HeadRows, split: Split, target: Target, classes: tuple[str, ...]) -> list[str]:
    """What a split that could not bring a class to both sides leaves unlearned or unmeasured."""
    strata = _strata(rows.y)
    if target.task not in ("classes", "findings") or strata is None:
        return []
    said = []
    sides = one_sided(split, rows.patients, strata)
    meanings = ("training side only: nothing is measured of it", "test side only: it cannot be learned")
    for found, meaning in zip(sides, meanings, strict=True):
        for value in found:
            has = (strata == value) if strata.ndim == 1 else (strata[:, value] == 1)
            people = len(np.unique(rows.patients[has]))
            noun = "1 patient" if people == 1 else f"{people} patients"
            said.append(f"'{classes[value]}' ({noun}) is on the {meaning}")
    return said


def _sets(request: HeadRequest) -> Conformal | None:
    """Anomaly scores need patients to compare with; other heads have sets when they are asked for."""
    return request.conformal or (Conformal() if request.healthy is not None else None)


def _set_aside(
    rows: HeadRows, split: Split, request: HeadRequest
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rows to fit on, and (n,) which rows are kept for calibration: of training patients, drawn as wholes."""
    calibration = np.zeros(len(rows.items), bool)
    sets = _sets(request)
    if sets is None:
        return split.train, calibration
    inside = rows.at(split.train)
    drawn = split_by_patient(
        inside.patients, y=_strata(inside.y), test_fraction=sets.share, seed=request.seed + 1
    )
    calibration[split.train[drawn.test]] = True
    return split.train[drawn.train], calibration


def _label_file(workspace: Workspace, request: HeadRequest) -> str | None:
    """Where the labels were; a de-identified store learns that there was a file, and not its name."""
    if request.labels is None:
        return None
    return "a file" if workspace.catalog.note(DEIDENTIFIED) is not None else str(request.labels)


def _details(
    workspace: Workspace, space: SpaceRow, rows: HeadRows, target: Target, request: HeadRequest
) -> Mapping[str, Any]:
    return {
        "encoder": space.encoder,
        "labels": digest([list(target.classes), rows.items.tolist(), np.nan_to_num(rows.y, nan=-1).tolist()]),
        "left_out": dict(rows.left_out),
        "label_file": _label_file(workspace, request),
        "target": {**asdict(target), "columns": list(target.columns), "classes": list(target.classes)},
        "truth": request.truth,
        "conformal": asdict(sets) if (sets := _sets(request)) else None,
        "bag": request.bag,
    }
