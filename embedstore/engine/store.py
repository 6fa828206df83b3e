"""The Store: all that shells and notebooks need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from embedstore.contracts.query import Answer, Item, Query
from embedstore.engine import audit as _audit
from embedstore.engine import bridges as _bridges
from embedstore.engine import comparing as _comparing
from embedstore.engine import comparing_heads as _comparing_heads
from embedstore.engine import drift as _drift
from embedstore.engine import evaluating as _evaluating
from embedstore.engine import exporting as _exporting
from embedstore.engine import fusing as _fusing
from embedstore.engine import heads as _heads
from embedstore.engine import ingest as _ingest
from embedstore.engine import label_import as _label_import
from embedstore.engine import labels as _labels
from embedstore.engine import maintain as _maintain
from embedstore.engine import persons as _persons
from embedstore.engine import resolve as _resolve
from embedstore.engine import search as _search
from embedstore.engine import search_wholes as _search_wholes
from embedstore.engine import zeroshot as _zeroshot
from embedstore.engine.admission import DEIDENTIFIED
from embedstore.engine.agreements import Agreements
from embedstore.engine.comparison_records import (
    EncoderComparison,
    EncoderComparisonRequest,
    HeadComparison,
)
from embedstore.engine.drift_records import DriftReport, DriftRequest
from embedstore.engine.evaluation_records import EvaluationDocument, EvaluationRequest
from embedstore.engine.indexing import IndexShelf
from embedstore.engine.label_requests import AuditCard, AuditRequest, FuseRequest, ImportCard, Suggestion
from embedstore.engine.requests import (
    BridgeCard,
    BridgeRequest,
    Finding,
    HeadCard,
    HeadRequest,
    IngestReport,
    IngestRequest,
    LabelSetCard,
    Outcome,
    Progress,
    Status,
    VoteRequest,
    ZeroShotRequest,
    ZeroShotResult,
    silent,
)
from embedstore.engine.thumbnails import Form, Thumbnails
from embedstore.engine.workspace import Workspace
from embedstore.settings import Settings
from embedstore.storage.catalog import Catalog
from embedstore.storage.migrate import upgrade_store
from embedstore.storage.store import create_store, open_store


class Store:
    """An open store; a context manager. Encoders are loaded when they are first needed and kept.

    Reading never waits for a writer. Writing verbs take the writer lease for their duration and raise
    StoreBusy when another process has it.
    """

    def __init__(self, catalog: Catalog) -> None:
        settings = Settings.from_environment()
        self._workspace = Workspace(catalog, IndexShelf(catalog), settings)

    @classmethod
    def create(cls, path: Path, db: str | None = None, deidentified: bool = False) -> Store:
        """Create a store in a new or empty folder, and open it. db: SQLAlchemy URL, default SQLite inside.

        A password in the URL serves now and is not kept: later it comes from PGPASSWORD or ~/.pgpass.

        deidentified: it will take only what passes a privacy profile under a key.
        """
        create_store(path, db, {DEIDENTIFIED: "yes"} if deidentified else None)
        return cls.open(path, db)

    @classmethod
    def open(cls, path: Path, db: str | None = None) -> Store:
        """Open a store. db: in place of the database URL it was created with (moved, or with a password).

        Raises NotFound, SchemaMismatch, StoreDamaged, UsageError (no PostgreSQL URL).
        """
        return cls(open_store(path, db))

    def close(self) -> None:
        """Release files and connections."""
        self._workspace.catalog.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The store's folder."""
        return self._workspace.catalog.folder.path

    def ingest(self, request: IngestRequest, progress: Progress = silent) -> IngestReport:
        """Embed and record what is new under the request's paths; see `engine.ingest`."""
        return _ingest.ingest(self._workspace, request, progress)

    @property
    def agreements(self) -> Agreements:
        """Licences agreed to and weights pinned; see `engine.agreements`."""
        return Agreements(self._workspace.catalog)

    def search(self, query: Query) -> Answer:
        """Answer one query; see `engine.search` and, for wholes, `engine.search_wholes`."""
        if query.within == "wholes":
            return _search_wholes.search_wholes(self._workspace, query)
        return _search.search(self._workspace, query)

    def item(self, item_id: int) -> Item:
        """One image or report. Raises NotFound."""
        return self._workspace.catalog.item(item_id)

    def items(self, where: str | None = None) -> list[Item]:
        """Images and reports that pass a filter, all when there is none."""
        return _search.items_where(self._workspace, where)

    def thumbnail(self, item_id: int, size: int = 160, form: Form = "png") -> bytes | None:
        """PNG or JPEG that fits in size x size pixels; None for a report or when the source is gone."""
        return self._thumbnails.picture(item_id, size, form)

    @cached_property
    def _thumbnails(self) -> Thumbnails:
        return Thumbnails(self._workspace)

    def fit_bridge(self, request: BridgeRequest) -> BridgeCard:
        """Learn a bridge from linked pairs and record it; see `engine.bridges`."""
        return _bridges.fit_bridge_from_store(self._workspace, request)

    def bridges(self) -> tuple[BridgeCard, ...]:
        """Recorded bridges, newest first."""
        models = self._workspace.catalog.models
        return tuple(_bridges.card_of(models.bridge(row.name)) for row in models.bridges())

    def zeroshot(self, request: ZeroShotRequest) -> ZeroShotResult:
        """Score and label images by prompts; see `engine.zeroshot`."""
        return _zeroshot.zeroshot(self._workspace, request)

    def run_votes(self, request: VoteRequest, progress: Progress = silent) -> LabelSetCard:
        """Collect votes of a voters file; see `engine.labels`."""
        return _labels.run_votes(self._workspace, request, progress)

    def label_report(self, label_set: str, truth: str | None = None) -> LabelSetCard:
        """Coverage, overlap, conflict, and accuracy against a truth column."""
        return _fusing.label_report(self._workspace, label_set, truth)

    def fit_label_model(self, label_set: str, truth: str | None = None, **options: Any) -> LabelSetCard:
        """Fuse the active votes of a label set; the majority vote is kept beside the result.

        options: of `FuseRequest`.
        """
        return _fusing.fit_label_model(
            self._workspace, FuseRequest(label_set=label_set, truth=truth, **options)
        )

    def suggest_labels(
        self, label_set: str, n: int = 20, where: str | None = None, seed: int = 0
    ) -> tuple[Suggestion, ...]:
        """Items a person should label next: half at random, half where the fused labels are least sure."""
        return _fusing.suggest(self._workspace, label_set, n, where, seed)

    def audit_labels(self, request: AuditRequest) -> AuditCard:
        """Labels that are probably wrong, and images that are as good as one with different labels."""
        return _audit.audit_labels(self._workspace, request)

    def say_labels(self, label_set: str, told: Mapping[int, str], by: str) -> int:
        """Record what a person says of items (id to class): votes of "person:NAME"."""
        return _persons.say(self._workspace, label_set, told, by)

    def export_labels(self, label_set: str, out: Path, layout: str | None = None) -> int:
        """Write fused labels with provenance and datasheet; returns the labels written.

        A .csv or .parquet file, or a folder of layout "huggingface", "coco", "fiftyone" or "dicom-sr".
        """
        return _exporting.export_labels(self._workspace, label_set, out, layout, self.deidentified)

    def import_labels(self, label_set: str, path: Path, by: str | None = None) -> ImportCard:
        """Record labels of a filled-in list, an exported dataset or another store's provenance as votes."""
        return _label_import.import_labels(self._workspace, label_set, path, by)

    def fit_head(self, request: HeadRequest) -> HeadCard:
        """Fit and record a linear head; see `engine.heads`."""
        return _heads.fit_head(self._workspace, request)

    def evaluate_head(
        self, name: str, where: str | None = None, progress: Progress = silent, **options: Any
    ) -> EvaluationDocument:
        """Judge a head on patients it was not fitted on; the look at them is counted.

        options: of `EvaluationRequest`.
        """
        request = EvaluationRequest(head=name, where=where, **options)
        return _evaluating.evaluate_document(self._workspace, request, progress)

    def compare_heads(
        self, first: str, second: str, where: str | None = None, progress: Progress = silent, **options: Any
    ) -> HeadComparison:
        """Paired differences of two heads on the held-out images they share; see `engine.comparing_heads`."""
        return _comparing_heads.compare_heads(
            self._workspace, (first, second), where, progress=progress, **options
        )

    def compare_encoders(
        self, request: EncoderComparisonRequest, progress: Progress = silent
    ) -> EncoderComparison:
        """Rank the encoders whose vectors the store holds; see `engine.comparing`."""
        return _comparing.compare_encoders(self._workspace, request, progress)

    def apply_head(self, name: str, where: str | None = None, encoder: str | None = None) -> int:
        """Write a head's predictions into SQL; returns how many."""
        return _heads.apply_head(self._workspace, name, where, encoder)

    def heads(self) -> tuple[HeadCard, ...]:
        """Recorded heads."""
        return tuple(_heads.card_of(row) for row in self._workspace.catalog.models.heads())

    def drift(self, request: DriftRequest, progress: Progress = silent) -> DriftReport:
        """Compare new images with a reference: do they look otherwise, do they mean something else?"""
        return _drift.drift(self._workspace, request, progress)

    def resolve(self, paths: Sequence[Path], key: Path) -> tuple[_resolve.Resolved, ...]:
        """The names under which a de-identified store knows files; see `engine.resolve`."""
        return _resolve.resolve(self._workspace, paths, key)

    def pseudonym(self, number: str, issuer: str, key: Path) -> str:
        """What stands for a PatientID of an issuer ("" when headers name none)."""
        return _resolve.pseudonym(self._workspace, number, issuer, key)

    @property
    def deidentified(self) -> bool:
        """Whether the store takes only what passed a privacy profile."""
        return self._workspace.catalog.note(DEIDENTIFIED) is not None

    def status(self) -> Status:
        """The store at a glance."""
        return _maintain.status(self._workspace)

    def failures(self) -> tuple[Outcome, ...]:
        """Sources and parts that could not be read or encoded."""
        return self._problems("failure")

    def skips(self) -> tuple[Outcome, ...]:
        """Sources and parts that are no images."""
        return self._problems("skip")

    def _problems(self, kind: Any) -> tuple[Outcome, ...]:
        rows = self._workspace.catalog.failures(kind=kind)
        return tuple(Outcome(path=row.path, part=row.part, reason=row.reason) for row in rows)

    def conflicts(self) -> tuple[Mapping[str, Any], ...]:
        """Where two sources of the same bytes, or a table and a file, disagree."""
        names = ("item_id", "path", "field", "kept", "other", "other_path")
        rows = self._workspace.catalog.conflicts()
        return tuple({name: getattr(row, name) for name in names} for row in rows)

    def verify(self) -> tuple[Finding, ...]:
        """What is damaged or inconsistent; () when the store is sound."""
        return _maintain.verify(self._workspace)

    def reindex(self, progress: Progress = silent) -> tuple[Mapping[str, Any], ...]:
        """Rebuild every index from the stored vectors."""
        return _maintain.reindex(self._workspace, progress)


def migrate(path: Path, db: str | None = None) -> tuple[str | None, str]:
    """Bring a store's schema up to this program; returns the old and new revision. db: see `Store.open`."""
    done = upgrade_store(path, db)
    return done.old, done.new
