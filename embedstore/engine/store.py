"""The Store: all that shells and notebooks need.

Each verb brings its own modules when it is called: a question of status does not wait for scipy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from embedstore.contracts.query import Answer, Item, Query
from embedstore.contracts.region import Region
from embedstore.engine.agreements import Agreements
from embedstore.engine.indexing import IndexShelf
from embedstore.engine.requests import (
    BridgeCard,
    BridgeRequest,
    Finding,
    HeadCard,
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
from embedstore.engine.workspace import Workspace
from embedstore.settings import Settings
from embedstore.storage.catalog import Catalog
from embedstore.storage.store import create_store, open_store

if TYPE_CHECKING:
    from embedstore.engine.comparison_records import (
        EncoderComparison,
        EncoderComparisonRequest,
        HeadComparison,
    )
    from embedstore.engine.drift_records import DriftReport, DriftRequest
    from embedstore.engine.evaluation_records import EvaluationDocument
    from embedstore.engine.head_requests import HeadRequest
    from embedstore.engine.label_requests import AuditCard, AuditRequest, ImportCard, Suggestion
    from embedstore.engine.resolve import Resolved
    from embedstore.engine.thumbnails import Form, Thumbnails


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
        from embedstore.engine.admission import DEIDENTIFIED

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
        from embedstore.engine.ingest import ingest

        return ingest(self._workspace, request, progress)

    @property
    def agreements(self) -> Agreements:
        """Licences agreed to and weights pinned; see `engine.agreements`."""
        return Agreements(self._workspace.catalog)

    def search(self, query: Query) -> Answer:
        """Answer one query; see `engine.search` and, for wholes, `engine.search_wholes`."""
        from embedstore.engine.search import search
        from embedstore.engine.search_wholes import search_wholes

        if query.within == "wholes":
            return search_wholes(self._workspace, query)
        return search(self._workspace, query)

    def item(self, item_id: int) -> Item:
        """One image or report. Raises NotFound."""
        return self._workspace.catalog.item(item_id)

    def items(self, where: str | None = None) -> list[Item]:
        """Images, regions and reports that pass a filter, all when there is none."""
        from embedstore.engine.search import items_where

        return items_where(self._workspace, where)

    def thumbnail(self, item_id: int, size: int = 160, form: Form = "png") -> bytes | None:
        """PNG or JPEG that fits in size x size pixels; None for a report or when the source is gone."""
        return self._thumbnails.picture(item_id, size, form)

    def picture_of(
        self, path: Path, size: int = 160, form: Form = "png", region: Region | None = None
    ) -> bytes | None:
        """PNG or JPEG of an image file that need not be in the store, as `search` reads it; the region is
        framed.

        None when it cannot be read, and in a de-identified store, whose rules the file has not passed.
        """
        return None if self.deidentified else self._thumbnails.of_file(path, size, form, region)

    @cached_property
    def _thumbnails(self) -> Thumbnails:
        from embedstore.engine.thumbnails import Thumbnails

        return Thumbnails(self._workspace)

    def fit_bridge(self, request: BridgeRequest) -> BridgeCard:
        """Learn a bridge from linked pairs and record it; see `engine.bridges`."""
        from embedstore.engine.bridges import fit_bridge_from_store

        return fit_bridge_from_store(self._workspace, request)

    def bridges(self) -> tuple[BridgeCard, ...]:
        """Recorded bridges, newest first."""
        from embedstore.engine.bridges import card_of

        models = self._workspace.catalog.models
        return tuple(card_of(models.bridge(row.name)) for row in models.bridges())

    def zeroshot(self, request: ZeroShotRequest) -> ZeroShotResult:
        """Score and label images by prompts; see `engine.zeroshot`."""
        from embedstore.engine.zeroshot import zeroshot

        return zeroshot(self._workspace, request)

    def run_votes(self, request: VoteRequest, progress: Progress = silent) -> LabelSetCard:
        """Collect votes of a voters file; see `engine.labels`."""
        from embedstore.engine.labels import run_votes

        return run_votes(self._workspace, request, progress)

    def label_report(self, label_set: str, truth: str | None = None) -> LabelSetCard:
        """Coverage, overlap, conflict, and accuracy against a truth column."""
        from embedstore.engine.fusing import label_report

        return label_report(self._workspace, label_set, truth)

    def fit_label_model(self, label_set: str, truth: str | None = None, **options: Any) -> LabelSetCard:
        """Fuse the active votes of a label set; the majority vote is kept beside the result.

        options: of `FuseRequest`.
        """
        from embedstore.engine.fusing import fit_label_model
        from embedstore.engine.label_requests import FuseRequest

        return fit_label_model(self._workspace, FuseRequest(label_set=label_set, truth=truth, **options))

    def suggest_labels(
        self, label_set: str, n: int = 20, where: str | None = None, seed: int = 0
    ) -> tuple[Suggestion, ...]:
        """Items a person should label next: half at random, half where the fused labels are least sure."""
        from embedstore.engine.fusing import suggest

        return suggest(self._workspace, label_set, n, where, seed)

    def audit_labels(self, request: AuditRequest) -> AuditCard:
        """Labels that are probably wrong, and images that are as good as one with different labels."""
        from embedstore.engine.audit import audit_labels

        return audit_labels(self._workspace, request)

    def say_labels(self, label_set: str, told: Mapping[int, str], by: str) -> int:
        """Record what a person says of items (id to class): votes of "person:NAME"."""
        from embedstore.engine.persons import say

        return say(self._workspace, label_set, told, by)

    def export_labels(self, label_set: str, out: Path, layout: str | None = None) -> int:
        """Write fused labels with provenance and datasheet; returns the labels written.

        A .csv or .parquet file, or a folder of layout "huggingface", "coco", "fiftyone" or "dicom-sr".
        """
        from embedstore.engine.exporting import export_labels

        return export_labels(self._workspace, label_set, out, layout, self.deidentified)

    def import_labels(self, label_set: str, path: Path, by: str | None = None) -> ImportCard:
        """Record labels of a filled-in list, an exported dataset or another store's provenance as votes."""
        from embedstore.engine.label_import import import_labels

        return import_labels(self._workspace, label_set, path, by)

    def fit_head(self, request: HeadRequest) -> HeadCard:
        """Fit and record a head; see `engine.head_fit`."""
        from embedstore.engine.head_fit import fit_head

        return fit_head(self._workspace, request)

    def evaluate_head(
        self, name: str, where: str | None = None, progress: Progress = silent, **options: Any
    ) -> EvaluationDocument:
        """Judge a head on patients it was not fitted on; the look at them is counted.

        options: of `EvaluationRequest`.
        """
        from embedstore.engine.evaluating import evaluate_document
        from embedstore.engine.evaluation_records import EvaluationRequest

        request = EvaluationRequest(head=name, where=where, **options)
        return evaluate_document(self._workspace, request, progress)

    def compare_heads(
        self, first: str, second: str, where: str | None = None, progress: Progress = silent, **options: Any
    ) -> HeadComparison:
        """Paired differences of two heads on the held-out images they share; see `engine.comparing_heads`."""
        from embedstore.engine.comparing_heads import compare_heads

        return compare_heads(self._workspace, (first, second), where, progress=progress, **options)

    def compare_encoders(
        self, request: EncoderComparisonRequest, progress: Progress = silent
    ) -> EncoderComparison:
        """Rank the encoders whose vectors the store holds; see `engine.comparing`."""
        from embedstore.engine.comparing import compare_encoders

        return compare_encoders(self._workspace, request, progress)

    def apply_head(
        self, name: str, where: str | None = None, encoder: str | None = None, out: Path | None = None
    ) -> int:
        """Write a head's predictions into SQL; returns how many. out: a CSV that gets all it can say."""
        from embedstore.engine.heads import apply_head

        return apply_head(self._workspace, name, where, encoder, out)

    def export_head(self, name: str, **ways: Path | None) -> tuple[Path, ...]:
        """Write a head for other programs. ways: folder, onnx or sklearn; see `engine.head_export`."""
        from embedstore.engine.head_export import export_head

        return export_head(self._workspace, name, **ways)

    def heads(self) -> tuple[HeadCard, ...]:
        """Recorded heads."""
        from embedstore.engine.heads import card_of

        return tuple(card_of(row) for row in self._workspace.catalog.models.heads())

    def drift(self, request: DriftRequest, progress: Progress = silent) -> DriftReport:
        """Compare new images with a reference: do they look otherwise, do they mean something else?"""
        from embedstore.engine.drift import drift

        return drift(self._workspace, request, progress)

    def resolve(self, paths: Sequence[Path], key: Path) -> tuple[Resolved, ...]:
        """The names under which a de-identified store knows files; see `engine.resolve`."""
        from embedstore.engine.resolve import resolve

        return resolve(self._workspace, paths, key)

    def pseudonym(self, number: str, issuer: str, key: Path) -> str:
        """What stands for a PatientID of an issuer ("" when headers name none)."""
        from embedstore.engine.resolve import pseudonym

        return pseudonym(self._workspace, number, issuer, key)

    @property
    def deidentified(self) -> bool:
        """Whether the store takes only what passed a privacy profile."""
        from embedstore.engine.admission import DEIDENTIFIED

        return self._workspace.catalog.note(DEIDENTIFIED) is not None

    def status(self) -> Status:
        """The store at a glance."""
        from embedstore.engine.maintain import status

        return status(self._workspace)

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
        from embedstore.engine.maintain import verify

        return verify(self._workspace)

    def reindex(self, progress: Progress = silent) -> tuple[Mapping[str, Any], ...]:
        """Rebuild every index from the stored vectors."""
        from embedstore.engine.maintain import reindex

        return reindex(self._workspace, progress)


def migrate(path: Path, db: str | None = None) -> tuple[str | None, str]:
    """Bring a store's schema up to this program; returns the old and new revision. db: see `Store.open`."""
    from embedstore.storage.migrate import upgrade_store

    done = upgrade_store(path, db)
    return done.old, done.new
