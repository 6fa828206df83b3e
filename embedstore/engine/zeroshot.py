"""Zero-shot labels: prompts against stored image vectors, over a bridge where the encoder reads no text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from embedstore.contracts.image import F32, I64
from embedstore.contracts.labels import LabelSet, Vote
from embedstore.engine.anchors import Sparing, spared
from embedstore.engine.prompted import PromptedSpace, prompt, template_in
from embedstore.engine.requests import ZeroShotRequest, ZeroShotResult, ZeroShotRow
from embedstore.engine.truth import truth_of
from embedstore.engine.workspace import Workspace
from embedstore.engine.zeroshot_report import abstaining, judged, told_wordings
from embedstore.errors import UsageError
from embedstore.fingerprint import digest
from embedstore.learning.calibrate import Calibration, doubts, fit_calibration
from embedstore.learning.prompts import PromptSet, find_prompts, load_prompts
from embedstore.learning.sensitivity import wordings
from embedstore.learning.zeroshot import Decisions, decide
from embedstore.storage.filters import parse_where


def zeroshot(workspace: Workspace, request: ZeroShotRequest) -> ZeroShotResult:
    """Score images against a prompt set, and label those that may be labelled.

    Raises BridgeMissing, LeakageRefused (scored patients taught the bridge), BadInputFile, FilterError.
    """
    prompted = prompt(
        workspace,
        load_prompts(find_prompts(request.classes), template_in(workspace, request.encoder)),
        request.encoder,
        request.bridge,
    )
    calibration, calibrated_on = calibration_for(workspace, prompted, request)
    items, vectors, patients = _scored(workspace, prompted, request, calibrated_on)
    scores = prompted.scores(vectors)
    calibrated = calibration is not None and calibration.usable
    probabilities = calibration.probabilities(scores) if calibration and calibrated else None
    decisions = decide(prompted.prompts.kind, scores, probabilities, request.threshold)
    shown = workspace.catalog.columns(items, ["path", "patient"])
    rows = _rows(prompted.prompts, items, shown, scores, probabilities, decisions)
    truth = truth_of(workspace, prompted.prompts, items, request.truth)
    groups = np.array(patients)
    sensitivity: tuple[Mapping[str, Any], ...] = ()
    if request.sensitivity:
        found = wordings(prompted.prompts, prompted.texts, prompted.meeting(vectors))
        sensitivity = told_wordings(prompted.prompts, found, truth, groups)
    saved = (
        _save(workspace, prompted, request, items, decisions, probabilities, calibration)
        if request.save
        else 0
    )
    return ZeroShotResult(
        classes=prompted.prompts.classes,
        calibrated=calibrated,
        space=prompted.space.fingerprint,
        bridge=prompted.bridge.summary if prompted.bridge else None,
        rows=rows,
        metrics=judged(prompted.prompts, scores, probabilities, truth, groups),
        saved_votes=saved,
        use="ranking and labels" if calibrated else "ranking only",
        calibration=calibration.to_json() if calibration else None,
        abstention=abstaining(prompted.prompts, probabilities, truth, groups),
        sensitivity=sensitivity,
    )


def _scored(
    workspace: Workspace, prompted: PromptedSpace, request: ZeroShotRequest, calibrated_on: frozenset[str]
) -> tuple[I64, F32, list[str]]:
    found = _embedded(workspace, prompted, request.where)
    found = found.at([patient not in calibrated_on for patient in found.patients])
    if not len(found.items):
        raise UsageError("no image is left to score; widen --where")
    how = Sparing(
        doing="to be scored",
        choose="--where",
        filters=(request.where,),
        exclude=request.exclude_anchors,
        named="--bridge" if request.bridge else "",
    )
    found = found.at(spared(prompted.bridge, found.patients, how))
    return found.items, found.vectors, found.patients


@dataclass(frozen=True, slots=True, eq=False)
class _Embedded:
    """Images with their vectors, and whose they are."""

    items: I64
    vectors: F32
    patients: list[str]

    def at(self, kept: ArrayLike) -> _Embedded:
        rows = np.flatnonzero(np.asarray(kept, dtype=bool))
        return _Embedded(self.items[rows], self.vectors[rows], [self.patients[row] for row in rows])


def _embedded(workspace: Workspace, prompted: PromptedSpace, where: str | None) -> _Embedded:
    catalog = workspace.catalog
    chosen = catalog.select_items(parse_where(where) if where else None, "image")
    items, vectors = catalog.item_vectors(prompted.space.id, chosen)
    return _Embedded(items, vectors, catalog.patient_groups(items))


def calibration_for(
    workspace: Workspace,
    prompted: PromptedSpace,
    request: ZeroShotRequest,
    prevalence: float | None = None,
    *,
    voter: bool = False,
) -> tuple[Calibration | None, frozenset[str]]:
    """The calibration the request asks for, and the patients it was learned from; (None, nobody) without.

    prevalence: of each finding (each class) in place of the one among the labelled images. voter: a weak
    voter may vote, a label model learns how far to trust it: what its scores are not shown to tell is noted.
    Else it stays uncalibrated.
    """
    if request.calibrate_where is None:
        return None, frozenset()
    found = _embedded(workspace, prompted, request.calibrate_where)
    how = Sparing(
        doing="to calibrate on",
        choose="'calibrate_where'" if voter else "--calibrate-where",
        filters=(request.calibrate_where,) if voter else (request.where, request.calibrate_where),
        exclude=None if voter else request.exclude_anchors,
        named=("'bridge'" if voter else "--bridge") if request.bridge else "",
    )
    found = found.at(spared(prompted.bridge, found.patients, how))
    truth = truth_of(workspace, prompted.prompts, found.items, request.truth)
    if truth is None or not (truth >= 0).any():
        raise UsageError(
            "none of the images to calibrate on has a known truth; name its column with --truth, or ingest "
            "labels with --metadata CSV (a column per finding, 0 or 1)"
        )
    prompts, scores = prompted.prompts, prompted.scores(found.vectors)
    fitted = fit_calibration(
        prompts.kind,
        scores,
        truth,
        prior=None if prevalence is None else np.full(len(prompts.classes), prevalence),
        names=prompts.classes,
        patients=None if voter else found.patients,
    )
    if voter:
        doubted = doubts(prompts.kind, scores, truth, prompts.classes, found.patients)
        fitted = replace(fitted, notes=(*fitted.notes, *doubted))
    return fitted, frozenset(found.patients)


def _rows(
    prompts: PromptSet,
    items: I64,
    shown: list[dict[str, Any]],
    scores: F32,
    probabilities: F32 | None,
    decisions: Decisions,
) -> tuple[ZeroShotRow, ...]:
    rows = []
    for n, (item, columns) in enumerate(zip(items.tolist(), shown, strict=True)):
        row = ZeroShotRow(
            id=item,
            path=columns["path"],
            patient=columns["patient"],
            scores=_by_class(prompts, scores[n]),
            probabilities=None if probabilities is None else _by_class(prompts, probabilities[n]),
            label=None,
            reason="",
        )
        labels, reasons = np.atleast_1d(decisions.labels[n]), np.atleast_1d(decisions.reasons[n])
        rows.append(_named(prompts, row, labels, reasons))
    return tuple(rows)


def _named(prompts: PromptSet, row: ZeroShotRow, labels: I64, reasons: Any) -> ZeroShotRow:
    if prompts.kind == "classes":
        label = prompts.classes[labels[0]] if labels[0] >= 0 else None
        return replace(row, label=label, reason=str(reasons[0]))
    words = {1: "present", 0: "absent", -1: None}
    findings = {name: words[int(label)] for name, label in zip(prompts.classes, labels, strict=True)}
    if (labels < 0).all():
        return replace(row, reason=str(reasons[0]), findings=findings)
    present = ", ".join(name for name, word in findings.items() if word == "present")
    unsure = ", ".join(name for name, word in findings.items() if word is None)
    return replace(row, label=present, reason=f"abstains on {unsure}" if unsure else "", findings=findings)


def _by_class(prompts: PromptSet, values: F32) -> dict[str, float]:
    return {name: float(value) for name, value in zip(prompts.classes, values, strict=True)}


def _save(
    workspace: Workspace,
    prompted: PromptedSpace,
    request: ZeroShotRequest,
    items: I64,
    decisions: Decisions,
    probabilities: F32 | None,
    calibration: Calibration | None,
) -> int:
    """Write decided labels as votes: one label set per finding, one for a set of classes."""
    prompts = prompted.prompts
    version = digest(
        {
            "prompts": prompts.sha256,
            "bridge": prompted.bridge.name if prompted.bridge else None,
            "calibration": calibration.to_json() if calibration else None,
            "threshold": request.threshold,
        }
    )[:16]
    finding = prompts.kind == "findings"
    sets = [LabelSet(name=name, classes=("absent", "present")) for name in prompts.classes]
    sets = sets if finding else [LabelSet(name=prompts.name, classes=prompts.classes)]
    labels = decisions.labels if finding else decisions.labels[:, None]
    votes = []
    for column, label_set in enumerate(sets):
        for row in np.flatnonzero(labels[:, column] >= 0):
            value = int(labels[row, column])
            votes.append(
                Vote(
                    item_id=int(items[row]),
                    label_set=label_set.name,
                    value=value,
                    voter=f"zeroshot:{prompts.name}",
                    voter_version=version,
                    probability=_probability(probabilities, int(row), column, value, finding),
                    input_sha256=prompted.space.fingerprint,
                )
            )
    with workspace.catalog.writing():
        run = workspace.catalog.begin_run("zeroshot", {"prompts": prompts.sha256, "where": request.where})
        for label_set in sets:
            workspace.catalog.labels.ensure_label_set(label_set)
        saved: int = workspace.catalog.labels.save_votes(votes, run)
        workspace.catalog.end_run(run, {"votes": saved})
    return saved


def _probability(probabilities: F32 | None, row: int, column: int, value: int, finding: bool) -> float | None:
    if probabilities is None:
        return None
    if not finding:
        return float(probabilities[row, value])
    present = float(probabilities[row, column])
    return present if value == 1 else 1 - present
