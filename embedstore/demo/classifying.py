"""The story's chapters on labels that nobody gave: zero-shot scores, and votes of several voters fused."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedstore.demo.anatomy import FINDINGS
from embedstore.demo.stage import Films, Stage, film_tile
from embedstore.engine.requests import BridgeCard, LabelSetCard, VoteRequest, ZeroShotRequest, ZeroShotResult
from embedstore.evaluation.intervals import Estimate, bootstrap
from embedstore.evaluation.metrics import auroc, balanced_accuracy
from embedstore.pages.measured import MEASURED, Found, interval, measured, resting_on
from embedstore.pages.records import Forest, ForestRow, Gallery, Row, Section, Table

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
    grey = _by_pixels(films, rows)
    patients_scored = len(set(films.patients[rows].tolist()))
    return Section(
        title="Zero-shot labels",
        lead=(
            "No classifier is trained. Each finding is described in words, present and absent; a film is "
            f"scored by which description it is nearer to, over the bridge of site A. Scored: {len(rows)} "
            f"films of {patients_scored} patients of site B; another {stage.n_labelled} patients turned "
            f"scores into probabilities, and below {_THRESHOLD} the program abstains; throughout, where the "
            "scores are not shown to tell those patients apart."
        ),
        command=(
            f'embedstore zeroshot --classes {PROMPTS} --where "{stage.rest_of_b}" '
            f'--calibrate-where "{stage.labelled_b}" '
            f"--threshold {_THRESHOLD}"
        ),
        galleries=(_surest(stage, films, result),),
        forests=(
            _forest(
                "AUROC with 95 % interval, site B",
                "AUROC",
                {name: ("zero-shot", result.metrics[name]["auroc"], grey[name]) for name in FINDINGS},
            ),
        ),
        tables=(
            Table(
                columns=("finding", *MEASURED), rows=_against_truth(result, grey), caption="Against the truth"
            ),
            Table(
                columns=("finding", "called present", "called absent", "abstained"),
                rows=_called(result),
                caption=f"What is called, below {_THRESHOLD} nothing",
            ),
        ),
        notes=(_CHOSEN, *(result.calibration or {}).get("notes", ())),
    )


def _by_pixels(films: Films, rows: NDArray[np.int64]) -> Mapping[str, Estimate]:
    """AUROC of the pixel baseline on the same films, by finding."""
    return {
        name: bootstrap("auroc", auroc, films.truth[name][rows], films.grey[name][rows], films.patients[rows])
        for name in FINDINGS
    }


def _forest(title: str, axis: str, told: Mapping[str, tuple[str, Found, Estimate]]) -> Forest:
    """Finding to (what the encoder's number is called, the number, the pixel baseline's)."""
    rows = []
    for finding, (label, ours, theirs) in told.items():
        rows.append(ForestRow(group=finding, label=label, series="encoder", interval=interval(ours)))
        rows.append(
            ForestRow(group=finding, label="pixel baseline", series="baseline", interval=interval(theirs))
        )
    note = resting_on([(finding, theirs) for finding, (_, _, theirs) in told.items()])
    return Forest(title=title, axis=axis, rows=tuple(rows), note=note)


def _against_truth(result: ZeroShotResult, grey: Mapping[str, Estimate]) -> tuple[Row, ...]:
    rows: list[Row] = []
    for finding in FINDINGS:
        found = result.metrics[finding]
        rows.append(measured(f"{finding}: AUROC", found["auroc"]))
        rows.append(measured(f"{finding}: AUROC, pixel baseline", grey[finding]))
        if "balanced_accuracy" in found:
            rows.append(measured(f"{finding}: balanced accuracy at 0.5", found["balanced_accuracy"]))
    return tuple(rows)


def _called(result: ZeroShotResult) -> tuple[Row, ...]:
    said = {finding: Counter(row.findings[finding] for row in result.rows) for finding in FINDINGS}
    return tuple((name, words["present"], words["absent"], words[None]) for name, words in said.items())


def _surest(stage: Stage, films: Films, result: ZeroShotResult) -> Gallery:
    position = films.position()
    tiles = []
    for finding in FINDINGS:
        told = [(row.probabilities or {}).get(finding, math.nan) for row in result.rows]
        likeliest = sorted(
            (-p, row.id) for p, row in zip(told, result.rows, strict=True) if not math.isnan(p)
        )
        for p, item_id in likeliest[:_SHOWN]:
            item = films.items[position[item_id]]
            tiles.append(film_tile(item, stage.picture(item), wanted=finding, score=-p))
    return Gallery(
        title="Highest probability of each finding",
        text="Three films each of " + ", ".join(FINDINGS) + "; the number is the calibrated probability.",
        tiles=tuple(tiles),
    )


def weak_labels(stage: Stage, films: Films) -> Section:
    """Votes of report rules, prompts and neighbours on site B, fused; the truth only judges."""
    told: dict[str, tuple[str, Found, Estimate]] = {}
    fused: list[Row] = []
    cards: list[LabelSetCard] = []
    for finding in FINDINGS:
        request = VoteRequest(voters=stage.folder / VOTERS, label_set=finding, where=stage.rest_of_b)
        stage.store.run_votes(request, stage.progress)
        card = stage.store.fit_label_model(finding, f"attr.{finding}")
        labels = stage.folder / "labels" / f"{finding}.csv"
        labels.parent.mkdir(exist_ok=True)
        stage.store.export_labels(finding, labels)
        stage.store.export_labels(finding, labels.with_suffix(".parquet"))
        judged = _judged(labels, films, finding)
        told[finding] = ("fused", judged["fused label"], judged["pixel baseline"])
        fused += [measured(f"{finding}: {name}", found) for name, found in judged.items()]
        cards.append(card)
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
            "embedstore label model effusion && embedstore label export effusion effusion.csv"
        ),
        forests=(_forest("Balanced accuracy with 95 % interval, site B", "balanced accuracy", told),),
        tables=(
            Table(
                columns=("finding", *MEASURED),
                rows=tuple(fused),
                caption="Balanced accuracy against the truth (chance is 0.5; a tie of the majority: absent)",
            ),
            *_voter_tables(cards),
        ),
        notes=(
            _CHOSEN,
            "The labels, with each one's probability and the votes behind it, are in the folder 'labels'.",
        ),
    )


def _judged(labels: Path, films: Films, finding: str) -> Mapping[str, Estimate]:
    """Balanced accuracy of fused label, majority vote, pixel baseline; AUROC of the fused probability."""
    with labels.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    position = films.position()
    at = np.array([position[int(row["id"])] for row in rows])
    truth, patients = films.truth[finding][at], films.patients[at]
    share = films.truth[finding][films.rows("A")].mean()
    said = {
        "fused label": np.array([row["label"] == "present" for row in rows]),
        "majority": np.array([row["majority"] == "present" for row in rows]),
        "pixel baseline": films.grey[finding][at] >= share,
    }
    probability = np.array([float(row["p_present"]) for row in rows])
    return {
        name: bootstrap("balanced_accuracy", balanced_accuracy, truth, one.astype(np.int64), patients)
        for name, one in said.items()
    } | {"AUROC of the fused probability": bootstrap("auroc", auroc, truth, probability, patients)}


def _voter_tables(cards: Sequence[LabelSetCard]) -> tuple[Table, Table]:
    votes: list[Row] = []
    right: list[Row] = []
    for card in cards:
        for voter in card.voters:
            name = f"{card.label_set}: {voter.voter}"
            votes.append((name, voter.voted, voter.coverage, voter.conflict))
            right += [measured(name, voter.accuracy)] if voter.accuracy else []
    columns = ("voter", "voted on", "of films", "disagrees with another")
    return (
        Table(columns=columns, rows=tuple(votes), caption="The voters"),
        Table(columns=("voter", *MEASURED), rows=tuple(right), caption="Accuracy of a voter where it voted"),
    )
