"""Answers that look like a real store's, with hostile text in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from embedstore.contracts.query import Answer, Hit, Item, Query
from embedstore.engine.comparison_records import (
    ComparedMetric,
    EncoderComparison,
    EncoderRow,
    HeadComparison,
    Measure,
)
from embedstore.engine.drift_records import DriftReport
from embedstore.engine.evaluation_records import ChecklistRow, EvaluationDocument, Shortcut, Validation
from embedstore.engine.requests import (
    BridgeCard,
    Finding,
    HeadCard,
    IngestReport,
    LabelSetCard,
    Outcome,
    Status,
    TableNews,
    VoterCard,
    ZeroShotResult,
    ZeroShotRow,
)
from embedstore.errors import NotFound
from embedstore.evaluation.comparison import judged
from embedstore.evaluation.intervals import Estimate
from embedstore.readers.tables import UnreadCells

HOSTILE = "\x1b[31mred\x07 [bold]not markup[/bold]\nsecond line"
SPACE = "ab" * 32
QUALITY = {
    "r_at_10": 0.31,
    "interval": (0.25, 0.37),
    "chance": 0.02,
    "shuffled_control": 0.021,
    "pool": 80.0,
    "note": "",
    "n_pairs": 80,
    "n_patients": 78,
}
BRIDGE = BridgeCard(
    name="films",
    kind="ridge",
    image_space=SPACE,
    text_space="cd" * 32,
    anchors=320,
    anchor_patients=300,
    anchors_sha256="ef" * 32,
    quality=QUALITY,
    created="2024-05-31T12:00:00Z",
)
ITEM = Item(
    id=7,
    kind="image",
    path="/data/" + "long folder/" * 8 + "film.dcm",
    paths=("/data/film.dcm", "/copy/film.dcm"),
    part="frame/3",
    sha256="12" * 32,
    reader="dicom",
    patient=HOSTILE,
    patient_known=True,
    columns={"frame": 3, "modality": "CR", "study_uid": "1.2.3", "label": HOSTILE, "age": 61.0},
    extra={"Ward": "A"},
    report=HOSTILE,
)
CONFLICT = {
    "item_id": 7,
    "path": "/data/film.dcm",
    "field": "label",
    "kept": "2",
    "other": HOSTILE,
    "other_path": "/copy/film.dcm",
}
VOTERS = LabelSetCard(
    label_set="effusion",
    classes=("absent", "present"),
    items=100,
    voters=(
        VoterCard(voter="rules", version="1", voted=60, coverage=0.6, overlap=0.5, conflict=0.1),
        VoterCard(voter="zero-shot", version="2", voted=90, coverage=0.9, overlap=0.5, conflict=0.1),
    ),
)
HEAD = HeadCard(
    name="effusion",
    target="label",
    classes=("absent", "present"),
    space=SPACE,
    encoder="starter",
    data_sha256="34" * 32,
    seed=0,
    split={"rule": "patients", "train_patients": 80, "test_patients": 20},
    fit={"c": 0.1},
    created="2024-05-31T12:00:00Z",
)

SHARE = {"value": 0.31, "low": 0.25, "high": 0.37, "n_images": 40, "n_patients": 20}
TEST = {"value": 0.0123, "low": 0.001, "high": 0.02, "p_value": 0.0005, "shifted": True}
SIDE = {"images": 60, "patients": 30, "unknown_patients": 2}
DRIFT = DriftReport(
    space=SPACE,
    encoder="starter",
    reference={"filter": "site = 'A'", **SIDE, **{f"used_{name}": n for name, n in SIDE.items()}},
    new={"filter": "site = 'B'", **SIDE, **{f"used_{name}": n for name, n in SIDE.items()}},
    covariate={
        "shifted": True,
        "p_value": 0.0015,
        "tests": [{"name": name, **TEST} for name in ("mmd2", "classifier_auroc", "ks")],
        "smallest_detectable_shift": 0.61,
    },
    groups=(
        {
            "by": "site",
            "value": HOSTILE,
            "against": "all of the reference",
            **SIDE,
            "p_value": 0.0015,
            "shifted": True,
            "tests": [],
        },
        {
            "by": "vendor",
            "value": "Maker",
            "against": "same",
            **SIDE,
            "insufficient": "fewer than 5 patients",
        },
    ),
    label={
        "shifted": False,
        "told": True,
        "model_knows": True,
        "decided_by": "estimated",
        "gain": SHARE,
        "classes": [
            {"class": HOSTILE, "reference": SHARE, "estimated": SHARE, "observed": None, "moved": False}
        ],
    },
    concept={
        "shifted": True,
        "told": True,
        "changes": [{"measure": "brier", "total": SHARE, "covariate": SHARE, "concept": SHARE}],
    },
    outliers={"n_flagged": 3, "n_images": 60, "fdr": 0.1, "n_calibration": 15, "ids": [7]},
    audit=({"id": 7, "path": ITEM.path, "reason": "random", "p_value": 0.4},),
    notes=("left out of the new side, being in the reference too: 1 patient",),
)


def estimate(metric: str, value: float, low: float, high: float) -> Estimate:
    """Of 40 images of 20 patients, 11 of them positive."""
    return Estimate(
        metric=metric, value=value, low=low, high=high, level=0.95, n_images=40, n_patients=20, n_positives=11
    )


AUROC = estimate("auroc", 0.91, 0.85, 0.96)
EVALUATION = EvaluationDocument(
    head="effusion",
    classes=HEAD.classes,
    counts={"images": 40, "patients": 20, "positives": 11, "unknown_patients": 2},
    metrics={
        "auroc": AUROC.to_json(),
        "brier": estimate("brier", *3 * (float("nan"),)).to_json(),
    },
    reliability=({"low": 0.0, "high": 0.5, "n": 20, "mean_predicted": 0.2, "observed": 0.25},),
    shuffled={
        **estimate("auroc", 0.5, 0.4, 0.6).to_json(),
        "shuffles": 20,
        "p_value": 1 / 21,
    },
    split=HEAD.split,
    notes=("few positives",),
    trained={
        "space": SPACE,
        "encoder": "starter",
        "encoder_version": "1",
        "licence": "Apache-2.0",
        "target": HOSTILE,
        "labels_from": "column label",
        "recipe": {"kind": "logistic", "C": 0.1},
        "data_sha256": "34" * 32,
        "images": 160,
        "patients": 80,
        "per_class": {"absent": 100, "present": 60},
        "sites": {HOSTILE: 160},
        "left_out": {},
    },
    tested={
        "role": "external",
        "filter": None,
        "images": 40,
        "patients": 20,
        "per_class": {"absent": 29, "present": 11},
        "sites": {"B": 40},
        "prevalence": None,
    },
    disjointness={
        "patient_disjoint": False,
        "unknown_train_patients": 0,
        "unknown_test_patients": 2,
        "assumed_independent": False,
        "site_disjoint": True,
        "copies_looked_for": True,
        "copies_left_out": 0,
        "pictures_compared": 12,
        "pictures_not_readable": 0,
        "note": "2 test images came without a patient identifier",
    },
    unsealed={"times": 3, "heads": ["effusion"], "first": "2024-05-31T12:00:00Z", "filter": None},
    validation=Validation(
        internal=estimate("auroc", 0.93, 0.9, 0.96),
        internal_by="training patients, each by a refit without their fold",
        external=AUROC,
        difference=judged(estimate("difference of auroc", -0.02, -0.07, 0.03), 0.91, 0.93, 0.025),
    ),
    smallest_detectable=0.08,
    findings=(),
    shortcut=Shortcut(
        columns=("sex", "age"),
        baseline=estimate("auroc", 0.6, 0.5, 0.7),
        gain=judged(estimate("difference of auroc", 0.31, 0.2, 0.4), 0.91, 0.6, 0.05),
        encoded=(),
    ),
    checklist=(
        ChecklistRow(guideline="CLAIM 2024", item="1", topic="title", status="needs author", answer=HOSTILE),
    ),
)

WORSE = judged(estimate("difference of auroc", -0.2, -0.3, -0.1), 0.7, 0.9, 0.05)
COMPARED_HEADS = HeadComparison(
    first="effusion",
    second=HOSTILE,
    target="label",
    classes=HEAD.classes,
    counts=EVALUATION.counts,
    metrics=(ComparedMetric(metric="auroc", first=AUROC, second=AUROC, comparison=WORSE),),
    unsealed=EVALUATION.unsealed,
)


def encoder_row(rank: int, encoder: str, against: Any) -> EncoderRow:
    names = (("precision_at_k", "precision at 10"), ("neighbours", "auroc of a vote of 10 neighbours"))
    measures = {
        field: Measure(estimate=estimate(metric, 0.9, 0.8, 0.95), against_first=against)
        for field, metric in (*names, ("probe", "auroc of a linear probe"))
    }
    return EncoderRow(
        rank=rank,
        encoder=encoder,
        space=SPACE,
        **measures,
        dim=1280,
        bytes_per_image=5120,
        seconds_per_image=0.02 if rank == 1 else None,
        licence="Apache-2.0",
        forbids="" if rank == 1 else "commercial use",
    )


SIDES = {"images": 40, "patients": 20, "per_class": {"absent": 29, HOSTILE: 11}}
COMPARED_ENCODERS = EncoderComparison(
    target="label",
    classes=HEAD.classes,
    k=10,
    train=SIDES,
    test=SIDES,
    split=HEAD.split,
    rows=(encoder_row(1, "starter", None), encoder_row(2, "retfound-mae", WORSE)),
    verdict="'starter' is better than retfound-mae",
    unsealed=EVALUATION.unsealed,
    notes=(HOSTILE,),
)


class FakeStore:
    asked: ClassVar[list[Any]] = []
    raises: ClassVar[BaseException | None] = None
    home: ClassVar[Path] = Path()
    bridge: ClassVar[Any] = None
    note: ClassVar[str] = ""
    warnings: ClassVar[tuple[str, ...]] = ()
    findings: ClassVar[tuple[Finding, ...]] = ()

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def reset(cls, home: Path) -> None:
        cls.asked = []
        cls.raises = None
        cls.home = home
        cls.bridge = None
        cls.note = ""
        cls.warnings = ()
        cls.findings = ()

    @classmethod
    def create(cls, path: Path, db: str | None = None, deidentified: bool = False) -> Self:
        cls.asked.append((path, db))
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        cls.asked.append(path)
        if path.name == "absent":
            raise NotFound(f"no store in '{path}'; create one with 'embedstore init'")
        return cls(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def _note(self, request: Any) -> None:
        type(self).asked.append(request)
        if self.raises is not None:
            raise self.raises

    def ingest(self, request: Any, progress: Any) -> IngestReport:
        self._note(request)
        progress("embedding", 1, None)
        return IngestReport(
            run=1,
            seen=6,
            added=3,
            skipped=2,
            failed=1,
            known=1,
            images=2,
            reports=1,
            conflicts=1,
            unmatched_rows=4,
            images_per_s=12.5,
            skips=(Outcome(path="a.txt", reason="not an image (plain text)"),),
            failures=(Outcome(path="b.dcm", reason=f"truncated {HOSTILE}"),),
            tables=(
                TableNews(
                    path="/data/table.csv",
                    rows=20,
                    unmatched=4,
                    examples=("line 5: gone.png", f"line 6: {HOSTILE}"),
                    unread=(UnreadCells("Alter", "age", 3, 7, "years (62)"),),
                ),
            ),
            moved=2,
        )

    def search(self, query: Query) -> Answer:
        self._note(query)
        hits = (Hit(rank=1, score=0.987654, item=ITEM),)
        return Answer(
            query=query,
            space=SPACE,
            encoder="starter",
            exact=True,
            matched=9,
            hits=hits,
            bridge=self.bridge,
            note=self.note,
            warnings=self.warnings,
        )

    def thumbnail(self, item_id: int, size: int = 160, form: str = "png") -> bytes | None:
        return None

    def fit_bridge(self, request: Any) -> BridgeCard:
        self._note(request)
        return BRIDGE

    def bridges(self) -> tuple[BridgeCard, ...]:
        return (BRIDGE,)

    def zeroshot(self, request: Any) -> ZeroShotResult:
        self._note(request)
        row = ZeroShotRow(
            id=7,
            path=ITEM.path,
            patient="p",
            scores={"effusion": 0.2},
            probabilities=None,
            label=None,
            reason="uncalibrated",
        )
        return ZeroShotResult(
            classes=("effusion",), calibrated=False, space=SPACE, bridge=self.bridge, rows=(row,), metrics={}
        )

    def run_votes(self, request: Any, progress: Any) -> LabelSetCard:
        self._note(request)
        return VOTERS

    def label_report(self, label_set: str, truth: str | None = None) -> LabelSetCard:
        self._note((label_set, truth))
        return VOTERS

    def fit_label_model(self, label_set: str, truth: str | None = None, **options: Any) -> LabelSetCard:
        self._note((label_set, truth))
        return VOTERS

    def export_labels(self, label_set: str, out: Path, layout: str | None = None) -> int:
        self._note((label_set, out))
        return 12

    def fit_head(self, request: Any) -> HeadCard:
        self._note(request)
        return HEAD

    def evaluate_head(self, name: str, where: str | None, progress: Any, **options: Any) -> Any:
        self._note((name, where, options))
        return EVALUATION

    def compare_heads(self, first: str, second: str, where: str | None, progress: Any, **options: Any) -> Any:
        self._note((first, second, where, options))
        return COMPARED_HEADS

    def compare_encoders(self, request: Any, progress: Any) -> EncoderComparison:
        self._note(request)
        return COMPARED_ENCODERS

    def apply_head(
        self, name: str, where: str | None = None, encoder: str | None = None, out: Any = None
    ) -> int:
        self._note((name, where, encoder))
        return 40

    def export_head(self, name: str, **ways: Any) -> tuple[Path, ...]:
        self._note((name, ways))
        return tuple(path for path in ways.values() if path is not None)

    def drift(self, request: Any, progress: Any) -> DriftReport:
        self._note(request)
        return DRIFT

    def heads(self) -> tuple[HeadCard, ...]:
        return (HEAD,)

    def status(self) -> Status:
        return Status(
            path=str(self.path),
            schema="0001",
            images=2,
            reports=1,
            regions=0,
            patients=2,
            unknown_patients=1,
            sources=4,
            failures=1,
            skips=1,
            conflicts=1,
            votes=0,
            bridges=("films",),
            heads=(),
            spaces=({"space": SPACE, "encoder": "starter", "kind": "image", "dim": 1280, "vectors": 2},),
            bytes_on_disk=123_456,
        )

    def failures(self) -> tuple[Outcome, ...]:
        return (Outcome(path="b.dcm", reason=f"truncated {HOSTILE}"),)

    def skips(self) -> tuple[Outcome, ...]:
        return (Outcome(path="a.txt", reason="not an image (plain text)", part="x"),)

    def conflicts(self) -> tuple[dict[str, Any], ...]:
        return (CONFLICT,)

    def verify(self) -> tuple[Finding, ...]:
        return self.findings

    def reindex(self, progress: Any) -> tuple[dict[str, Any], ...]:
        return ({"space": SPACE[:12], "index": "faiss", "vectors": 2},)
