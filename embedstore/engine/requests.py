"""What shells ask a Store to do and what it answers: frozen records, plain values, nothing heavy imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from embedstore.contracts.record import WHOLE_CUT, Cut
from embedstore.settings import DEFAULT_ENCODER

if TYPE_CHECKING:
    from embedstore.readers.tables import UnreadCells

Progress = Callable[[str, int, int | None], None]
"""Called as `progress(stage, done, total)`; total is None while it is not known.

A stage may bring a remark behind a colon, as in "embedding: bound by decoding": it is the same stage.
"""


def silent(stage: str, done: int, total: int | None) -> None:
    """A Progress that says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderChoice:
    """Which encoder, and how it is loaded (see `LoadRequest`). Profile and precision are part of the space.

    weights: explicit file or folder. threads: 0 lets it choose. runtime: "torch" or "onnx". trust: sha256 of
    a file that is a program.
    """

    name: str = DEFAULT_ENCODER
    weights: Path | None = None
    profile: str = "default"
    precision: str = "fp32"
    threads: int = 0
    runtime: str = "torch"
    device: str = "cpu"
    trust: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Somebody agreed to an encoder's terms for a store. where: the licence's text; when: UTC."""

    encoder: str
    licence: str
    where: str
    by: str
    when: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """Weights by which a store knows an encoder. place: file or folder; when: first loaded, UTC."""

    place: str
    sha256: str
    when: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestRequest:
    """paths: files, folders, zip archives, DICOMDIRs. encoder: None for the store's own (`starter` when new).

    text_encoder: for reports; None for `encoder` when it reads text, else the store's, else `starter`.
    reports, metadata: CSV files. mapping: CSV column to field. site: for items whose file and CSV name none.
    workers: 0 or 1 encodes in this process, more starts that many. deidentify: privacy profile
    with its options (`basic+modified-dates`), with the key's file; keep: attributes that pass although no
    rule names them. pool: how parts become wholes, see `engine.pooling`; poolings that the store has already
    are kept up without being asked for. masks: DICOM segmentations and structure sets, or folders of them,
    whose segments become items beside the images they were drawn on; regions: CSV files of boxes and masks.
    """

    paths: tuple[Path, ...]
    encoder: EncoderChoice | None = None
    text_encoder: EncoderChoice | None = None
    reports: tuple[Path, ...] = ()
    metadata: tuple[Path, ...] = ()
    mapping: Mapping[str, str] = field(default_factory=dict)
    site: str | None = None
    cut: Cut = WHOLE_CUT
    workers: int = 1
    deidentify: str | None = None
    key: Path | None = None
    keep: tuple[str, ...] = ()
    pool: tuple[str, ...] = ()
    masks: tuple[Path, ...] = ()
    regions: tuple[Path, ...] = ()

    @property
    def marked(self) -> bool:
        """Whether regions of interest were given."""
        return bool(self.masks or self.regions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """What was done to the wholes of one pooling. made: rows added or replaced; gone: taken away.

    wholes: how many there are. empty: wholes of which no part counts.
    """

    space: str
    pooling: str
    wholes: int
    made: int
    gone: int
    empty: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A source or part that yielded no item, and why."""

    path: str
    reason: str
    part: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableNews:
    """What came of a CSV. path: "" in a de-identified ingest. unmatched: rows that joined nothing.

    examples: lines of the first of them, with what they name unless de-identified. unread: cells that made no
    sense in their columns; their rows join all the same.
    """

    path: str
    rows: int
    unmatched: int
    examples: tuple[str, ...]
    unread: tuple[UnreadCells, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """seen = added + skipped + failed, counted in items; a file that yields none counts once.

    images, reports, regions: added ones. known: skipped because already in the store. conflicts:
    disagreements recorded in this run. unmatched_rows: CSV rows that joined nothing, tables: by table. moved:
    items of the store that are another patient's now. images_per_s: images and regions embedded per second
    from the first to the last, reports aside.
    notes: what a person should know of the encoders, such as that other weights made a new space.
    """

    run: int
    seen: int
    added: int
    skipped: int
    failed: int
    known: int
    images: int
    reports: int
    conflicts: int
    unmatched_rows: int
    images_per_s: float
    skips: tuple[Outcome, ...]
    failures: tuple[Outcome, ...]
    regions: int = 0
    wholes: tuple[Derived, ...] = ()
    tables: tuple[TableNews, ...] = ()
    moved: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeRequest:
    """Learn a map between the image space and the text space from linked pairs.

    where: which images may be anchors; every pair of theirs is one. kind: "ridge" or "asif". Its quality is
    measured on patient-disjoint folds of the pairs. text_encoder: whose report vectors, None for the store's.
    """

    name: str | None = None
    kind: Literal["ridge", "asif"] = "ridge"
    where: str | None = None
    encoder: str | None = None
    text_encoder: str | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeCard:
    """A recorded bridge. quality: held-out R@10 with interval, chance, shuffled-pair control, counts."""

    name: str
    kind: str
    image_space: str
    text_space: str
    anchors: int
    anchor_patients: int
    anchors_sha256: str
    quality: Mapping[str, Any]
    created: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroShotRequest:
    """classes: YAML of classes and prompts. where: which images are scored.

    truth: column of the true class; for findings each has its own, `attr.NAME` of the finding by default.
    calibrate_where: images with a truth that scores are calibrated on; their patients are not
    scored. threshold: abstain below this probability; scores that are not calibrated decide nothing.
    save: write the labels as votes. exclude_anchors: leave out patients the bridge was learned from
    instead of refusing. sensitivity: score by each phrase alone as well.
    """

    classes: Path
    where: str | None = None
    truth: str | None = None
    calibrate_where: str | None = None
    threshold: float | None = None
    save: bool = False
    encoder: str | None = None
    bridge: str | None = None
    exclude_anchors: bool = False
    sensitivity: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroShotRow:
    """scores and probabilities by class (for findings: of being present).

    label: the class, for findings those present, comma-separated ("" when all are absent); None with the
    reason when it abstains (for findings: on all of them). Without
    probabilities that reason is "uncalibrated". findings: "present", "absent" or None each.
    """

    id: int
    path: str
    patient: str
    scores: Mapping[str, float]
    probabilities: Mapping[str, float] | None
    label: str | None
    reason: str
    findings: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroShotResult:
    """metrics: per class, against the YAML's truth column where the scored images have one.

    use: "ranking only" until there is a calibration. abstention: risk against coverage by finding.
    sensitivity: per phrase, how the answers move when it stands alone.
    """

    classes: tuple[str, ...]
    calibrated: bool
    space: str
    bridge: Mapping[str, Any] | None
    rows: tuple[ZeroShotRow, ...]
    metrics: Mapping[str, Any]
    saved_votes: int = 0
    use: str = "ranking only"
    calibration: Mapping[str, Any] | None = None
    abstention: Mapping[str, Any] = field(default_factory=dict)
    sensitivity: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteRequest:
    """voters: YAML with a label set and its voters (report rules, zero-shot, neighbours, metadata).

    label_set: in place of the one the file names, so that one file serves several findings.
    trust_code: sha256 of Python files named in it that may run.
    """

    voters: Path
    trust_code: tuple[str, ...] = ()
    label_set: str | None = None
    where: str | None = None
    encoder: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VoterCard:
    """One voter's part in a vote matrix; shares are of all items. accuracy needs a truth column."""

    voter: str
    version: str
    voted: int
    coverage: float
    overlap: float
    conflict: float
    accuracy: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSetCard:
    """What is known of a label set: its voters and, when fused, the label model beside the majority vote.

    gold: items whose truth is known, by the truth column or by persons' votes. dependence: pairs of voters,
    the most dependent first. warnings: what a reader of the numbers should know.
    """

    label_set: str
    classes: tuple[str, ...]
    items: int
    voters: tuple[VoterCard, ...]
    model: Mapping[str, Any] | None = None
    gold: int = 0
    dependence: tuple[Mapping[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadCard:
    """A recorded head. split: rule and counts. fit: chosen C, inner score, what was left out and why.

    warnings: classes that stand on one side of the split only.
    """

    name: str
    target: str
    classes: tuple[str, ...]
    space: str
    encoder: str
    data_sha256: str
    seed: int
    split: Mapping[str, Any]
    fit: Mapping[str, Any]
    created: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadReport:
    """Metrics of a head on patients it was not fitted on.

    metrics: name to {value, low, high}; counts: images, patients, positives; reliability: rows of the
    calibration table; confidence is 95 %, clustered by patient. shuffled: the first metric of the same fit on
    labels shuffled between patients, many times: mean, interval over shuffles, p_value; {} when impossible.
    conformal: the sets' achieved coverage and guarantees; uncertainty: mean parts; {} for heads without.
    """

    head: str
    classes: tuple[str, ...]
    counts: Mapping[str, int]
    metrics: Mapping[str, Mapping[str, Any]]
    reliability: tuple[Mapping[str, float], ...]
    shuffled: Mapping[str, Any]
    split: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    conformal: Mapping[str, Any] = field(default_factory=dict)
    uncertainty: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A store at a glance. spaces: one mapping per space with encoder, kind, dim, vectors, index state."""

    path: str
    schema: str
    images: int
    reports: int
    regions: int
    patients: int
    unknown_patients: int
    sources: int
    failures: int
    skips: int
    conflicts: int
    votes: int
    bridges: tuple[str, ...]
    heads: tuple[str, ...]
    spaces: tuple[Mapping[str, Any], ...]
    bytes_on_disk: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something `verify` found wrong. remedy: the command or act that mends it."""

    what: str
    file: str
    detail: str
    remedy: str = ""
