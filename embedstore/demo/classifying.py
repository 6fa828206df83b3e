"""The story's chapters on labels that nobody gave: zero-shot scores, and votes of several voters fused."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.demo.anatomy import FINDINGS
from embedstore.demo.stage import Films, Stage, film_tile, interval
from embedstore.engine.requests import BridgeCard, LabelSetCard, VoteRequest, ZeroShotRequest, ZeroShotResult
from embedstore.evaluation.intervals import bootstrap
from embedstore.evaluation.metrics import auroc, balanced_accuracy
from embedstore.pages.records import Forest, ForestRow, Gallery, Interval, Row, Section, Table

PROMPTS, VOTERS = "prompts.yaml", "voters.yaml"
_THRESHOLD, _SHOWN = 0.6, 3
_CHOSEN = (
    "The wording of the prompts and the settings of the voters were chosen on three other synthetic cohorts "
    "(seeds 101, 102 and 103). Nothing was changed after a look at the figures of this cohort."
)


def zero_shot(stage: Stage, films: Films, card: BridgeCard) -> Section:
    """Scores from prompts on patients of site B that taught neither the bridge nor the calibration."""
    stage.progress("zero-shot labels", 0, None)
    result = stage.store.zeroshot(
        ZeroShotRequest(
            classes=stage.folder / PROMPTS,
            where=stage.rest_of_b,
            calibrate_where=stage.labelled_b,
            threshold=_THRESHOLD,
            bridge=card.name,
        )
    )
    position = films.position()
    rows = np.array([position[row.id] for row in result.rows])
    forest: list[ForestRow] = []
    table = []
    for finding in FINDINGS:
        found = result.metrics[finding]
        truth, patients, grey = films.truth[finding][rows], films.patients[rows], films.grey[finding][rows]
        theirs = interval(bootstrap("auroc", auroc, truth, grey, patients))
        ours = interval(found["auroc"])
        forest.append(ForestRow(group=finding, label="zero-shot", series="encoder", interval=ours))
        forest.append(ForestRow(group=finding, label="pixel baseline", series="baseline", interval=theirs))
        said = [row.findings[finding] for row in result.rows]
        table.append(
            (
                finding,
                int(truth.sum()),
                ours,
                theirs,
                interval(found["balanced_accuracy"]) if "balanced_accuracy" in found else None,
                sum(word == "present" for word in said),
                sum(word == "absent" for word in said),
                sum(word is None for word in said),
            )
        )
    patients_scored = len(set(films.patients[rows].tolist()))
    return Section(
        title="Zero-shot labels",
        lead=(
            "No classifier is trained. Each finding is described in words, present and absent; a film is "
            f"scored by which description it is nearer to, over the bridge of site A. Scored: {len(rows)} "
            f"films of {patients_scored} patients of site B; another {stage.n_labelled} patients turned "
            f"scores into probabilities, and below {_THRESHOLD} the program abstains."
        ),
        command=(
            f'embedstore zeroshot --classes {PROMPTS} --where "{stage.rest_of_b}" '
            f'--calibrate-where "{stage.labelled_b}" '
            f"--threshold {_THRESHOLD}"
        ),
        galleries=(_surest(stage, films, result),),
        forests=(Forest(title="AUROC with 95 % interval, site B", axis="AUROC", rows=tuple(forest)),),
        tables=(
            Table(
                columns=(
                    "finding",
                    "positives",
                    "AUROC",
                    "pixel baseline: AUROC",
                    "balanced accuracy at 0.5",
                    "called present",
                    "called absent",
                    "abstained",
                ),
                rows=tuple(table),
                caption=f"Against the truth, {len(rows)} films, {patients_scored} patients",
            ),
        ),
        notes=(_CHOSEN,),
    )


def _surest(stage: Stage, films: Films, result: ZeroShotResult) -> Gallery:
    position = films.position()
    tiles = []
    for finding in FINDINGS:
        shown = [row for row in result.rows if row.probabilities is not None]
        shown.sort(key=lambda row: -(row.probabilities or {})[finding])
        for row in shown[:_SHOWN]:
            item = films.items[position[row.id]]
            tile = film_tile(
                item, stage.picture(item), wanted=finding, score=(row.probabilities or {})[finding]
            )
            tiles.append(tile)
    return Gallery(
        title="Highest probability of each finding",
        text="Three films each of " + ", ".join(FINDINGS) + "; the number is the calibrated probability.",
        tiles=tuple(tiles),
    )


def weak_labels(stage: Stage, films: Films) -> Section:
    """Votes of report rules, prompts and neighbours on site B, fused; the truth only judges."""
    forest: list[ForestRow] = []
    fused: list[Row] = []
    voters: list[Row] = []
    for finding in FINDINGS:
        request = VoteRequest(voters=stage.folder / VOTERS, label_set=finding, where=stage.rest_of_b)
        stage.store.run_votes(request, stage.progress)
        card = stage.store.fit_label_model(finding, f"attr.{finding}")
        labels = stage.folder / "labels" / f"{finding}.csv"
        labels.parent.mkdir(exist_ok=True)
        stage.store.export_labels(finding, labels)
        stage.store.export_labels(finding, labels.with_suffix(".parquet"))
        ours, majority, grey, ranked = _judged(labels, films, finding)
        forest.append(ForestRow(group=finding, label="fused", series="encoder", interval=ours))
        forest.append(ForestRow(group=finding, label="pixel baseline", series="baseline", interval=grey))
        fused.append((finding, card.items, ours, majority, grey, ranked))
        voters += _voter_rows(card)
    return Section(
        title="A weakly labelled dataset",
        lead=(
            "Three fallible voters label site B: rules that read the reports (of which one statement in "
            "ten is wrong and many are missing), the prompts above, and the nearest of "
            f"{stage.n_labelled} labelled "
            "patients. A label model (Dawid and Skene) learns from their agreement alone how far to trust "
            "each. The truth is used to judge only."
        ),
        command=(
            f'embedstore label run {VOTERS} --label-set effusion --where "{stage.rest_of_b}" && '
            "embedstore label model effusion && embedstore label export effusion --out effusion.csv"
        ),
        forests=(
            Forest(
                title="Balanced accuracy with 95 % interval, site B",
                axis="balanced accuracy",
                rows=tuple(forest),
            ),
        ),
        tables=(
            Table(
                columns=(
                    "finding",
                    "films",
                    "fused label",
                    "majority (a tie is absent)",
                    "pixel baseline",
                    "fused probability: AUROC",
                ),
                rows=tuple(fused),
                caption="Balanced accuracy against the truth (chance is 0.5)",
            ),
            Table(
                columns=(
                    "finding",
                    "voter",
                    "voted on",
                    "of films",
                    "disagrees with another",
                    "accuracy where it voted",
                ),
                rows=tuple(voters),
                caption="The voters",
            ),
        ),
        notes=(
            _CHOSEN,
            "The labels, with each one's probability and the votes behind it, are in the folder 'labels'.",
        ),
    )


def _judged(labels: Path, films: Films, finding: str) -> tuple[Interval, Interval, Interval, Interval]:
    """Balanced accuracy of fused label, majority vote (a tie is absent), pixel baseline; AUROC of the fused
    probability."""
    with labels.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    position = films.position()
    at = np.array([position[int(row["id"])] for row in rows])
    truth, patients = films.truth[finding][at], films.patients[at]

    def judge(said: NDArray[Any]) -> Interval:
        return interval(
            bootstrap("balanced_accuracy", balanced_accuracy, truth, said.astype(np.int64), patients)
        )

    fused = judge(np.array([row["label"] == "present" for row in rows]))
    majority = judge(np.array([row["majority"] == "present" for row in rows]))
    share = films.truth[finding][films.rows("A")].mean()
    probability = np.array([float(row["p_present"]) for row in rows])
    ranked = interval(bootstrap("auroc", auroc, truth, probability, patients))
    return fused, majority, judge(films.grey[finding][at] >= share), ranked


def _voter_rows(card: LabelSetCard) -> list[Row]:
    return [
        (
            card.label_set,
            voter.voter,
            voter.voted,
            voter.coverage,
            voter.conflict,
            interval(voter.accuracy) if isinstance(voter.accuracy, Mapping) else None,
        )
        for voter in card.voters
    ]
